//! What retention is going to delete: marks, and announcements of current deletions.
//!
//! Retention marks an object a day before it deletes it, and announces a deletion before it reads the mark for the last
//! time. A process that needs an object works in the opposite order: it removes the mark, or refuses a marked object,
//! and then looks for an announcement. So at least one of the two sees the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use model::{Digest, Version};

use crate::{Entry, Error, Key, REQUESTS_AT_ONCE, Registry};

/// A mark stands for a day before its object is deleted, in milliseconds.
pub(crate) const MARKED: i64 = Duration::from_hours(24).as_millis() as i64;
/// How long a promotion may rely on the absence of a mark, in milliseconds.
pub(crate) const RELIANCE: i64 = Duration::from_mins(10).as_millis() as i64;
/// A retention run stops deleting after this time, in milliseconds.
pub(crate) const DELETING: i64 = Duration::from_mins(5).as_millis() as i64;
/// An announcement older than this, in milliseconds, is of a retention run that died.
const ANNOUNCED: i64 = Duration::from_hours(1).as_millis() as i64;
/// A store refuses a request if its signature is off by this, in milliseconds.
const SKEW: i64 = Duration::from_mins(15).as_millis() as i64;

// A request takes effect at most two skews after it was signed: the signer's clock may be ahead by one, and the request
// may be late by another. The clock of a process that compares with the store's time may be off by one skew.
const _: () = assert!(DELETING + 2 * SKEW + SKEW < ANNOUNCED);
const _: () = assert!(RELIANCE + 2 * SKEW + SKEW < MARKED);

/// Deletions that one retention run has announced.
#[derive(Debug)]
pub(crate) struct Announced {
    /// When they were announced, in the store's time: milliseconds since 1970.
    pub(crate) at: i64,
    /// The objects to delete.
    pub(crate) objects: BTreeSet<String>,
    /// The announcements' names.
    names: Vec<String>,
}

impl Registry {
    /// Marks an object. The mark's time is the store's.
    pub(crate) async fn mark(&self, path: &str) -> Result<(), Error> {
        self.store.create(&Key::Retired(path).path(), Bytes::new()).await?;
        Ok(())
    }

    /// Removes a mark, if there is one.
    pub(crate) async fn unmark(&self, path: &str) -> Result<(), Error> {
        Ok(self.store.delete(&Key::Retired(path).path()).await?)
    }

    /// Every marked object, and when it was marked: milliseconds since 1970, by the store's clock.
    pub(crate) async fn marks(&self) -> Result<BTreeMap<String, i64>, Error> {
        let marks = self.store.entries(Key::MARKS).await?.into_iter();
        Ok(marks.filter_map(|mark| Some((Key::retired_of(&mark.name)?.to_owned(), mark.written))).collect())
    }

    /// Protects an object from retention, before a run stores it or names it.
    ///
    /// Within a day the object must be named by a manifest, or the run must be one that retention knows of.
    /// [`Error::BeingDeleted`] if a deletion is under way that may have missed this claim; it ends soon.
    pub(crate) async fn claim(&self, path: &str) -> Result<(), Error> {
        self.unmark(path).await?;
        self.refuse_while_deleted(path).await
    }

    /// Refuses an object that is being deleted.
    pub(crate) async fn refuse_while_deleted(&self, path: &str) -> Result<(), Error> {
        let announcements = self.store.entries(&Key::announcements(path)).await?;
        let now = self.store.now();
        let stands = |announcement: &Entry| now.saturating_sub(announcement.written) < ANNOUNCED;
        if announcements.iter().any(stands) { Err(Error::BeingDeleted { path: path.to_owned() }) } else { Ok(()) }
    }

    /// Refuses a version that is marked or being deleted.
    ///
    /// A version that the history names is never deleted. A mark on it is stale and is removed.
    pub(crate) async fn refuse_retired(&self, version: &Version) -> Result<(), Error> {
        let path = Key::Model(version).path();
        // The order of the two reads matters: see the module.
        let is_marked = self.store.get(&Key::Retired(&path).path()).await?.is_some();
        let announced = self.refuse_while_deleted(&path).await;
        if !is_marked && announced.is_ok() {
            return Ok(());
        }
        if !self.history().await?.iter().any(|promotion| promotion.record.version == *version) {
            return if is_marked { Err(Error::Retired(version.clone())) } else { announced };
        }
        if let Err(error) = self.unmark(&path).await {
            tracing::warn!(model.version = %version, %error, "a stale retention mark cannot be removed");
        }
        Ok(())
    }

    /// Announces that objects will be deleted now.
    pub(crate) async fn announce(&self, objects: BTreeSet<String>) -> Result<Announced, Error> {
        let at = self.store.now();
        let nonce = Digest::of(&rand::random::<[u8; 16]>());
        let create = |path: &String| {
            let name = Key::Deleting(path, nonce.short()).path();
            (name.clone(), async move { self.store.create(&name, Bytes::new()).await })
        };
        let (names, announcements): (Vec<_>, Vec<_>) = objects.iter().map(create).unzip();
        let announced = Announced { at, objects, names };
        let created =
            futures_util::stream::iter(announcements).buffered(REQUESTS_AT_ONCE).try_for_each(|_| ready(Ok(())));
        match created.await {
            Ok(()) => Ok(announced),
            Err(error) => {
                // Nothing will be deleted, so the announcements that were written are not needed.
                self.withdraw(announced).await;
                Err(error.into())
            }
        }
    }

    /// Removes announcements.
    ///
    /// One that stays is ignored after an hour and deleted later with other old objects.
    pub(crate) async fn withdraw(&self, announced: Announced) {
        let withdraw = |name: String| async move {
            let _ = self.store.delete(&name).await;
        };
        futures_util::stream::iter(announced.names).for_each_concurrent(REQUESTS_AT_ONCE, withdraw).await;
    }
}
