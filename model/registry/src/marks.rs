//! What is going to be deleted, as everybody sees it: marks, and announcements of deletions that are under way.
//!
//! Retention marks an object a day before it deletes it, and announces a deletion before it looks at the mark for the
//! last time. Whoever needs an object looks in the other order: takes the mark away, or refuses what is marked, and then
//! looks for an announcement. So of the two at least one sees the other.

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
/// Whoever saw that a version is not marked may rely on it for so long, in milliseconds.
pub(crate) const RELIANCE: i64 = Duration::from_mins(10).as_millis() as i64;
/// A deleter gives up after this time, in milliseconds.
pub(crate) const DELETING: i64 = Duration::from_mins(5).as_millis() as i64;
/// An announcement that is older, in milliseconds, is of a deleter that died.
const ANNOUNCED: i64 = Duration::from_hours(1).as_millis() as i64;
/// A store refuses a request whose signature is of a quarter of an hour before or after its own time, in milliseconds.
const SKEW: i64 = Duration::from_mins(15).as_millis() as i64;

// A request takes effect at most two skews after it was signed, by a clock that was ahead and late on the way. Whoever
// compares with the store's time may have a clock that is one skew off.
const _: () = assert!(DELETING + 2 * SKEW + SKEW < ANNOUNCED);
const _: () = assert!(RELIANCE + 2 * SKEW + SKEW < MARKED);

/// Deletions that everybody can see coming.
#[derive(Debug)]
pub(crate) struct Announced {
    /// Since when, by the clock of the deleter: milliseconds since 1970.
    pub(crate) at: i64,
    /// What is to be deleted.
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

    /// Takes a mark away, if there is one.
    pub(crate) async fn unmark(&self, path: &str) -> Result<(), Error> {
        Ok(self.store.delete(&Key::Retired(path).path()).await?)
    }

    /// Every marked object, and since when: milliseconds since 1970, by the store's clock.
    pub(crate) async fn marks(&self) -> Result<BTreeMap<String, i64>, Error> {
        let marks = self.store.entries(Key::MARKS).await?.into_iter();
        Ok(marks.filter_map(|mark| Some((Key::retired_of(&mark.name)?.to_owned(), mark.written))).collect())
    }

    /// Keeps an object from retention: for those who are about to store it, or to name it.
    ///
    /// Whoever claims an object must name it in a manifest, or belong to a run that retention knows of, within a day.
    /// [`Error::BeingDeleted`] if a deletion is under way that may not have seen this; it ends soon.
    pub(crate) async fn claim(&self, path: &str) -> Result<(), Error> {
        self.unmark(path).await?;
        self.refuse_while_deleted(path).await
    }

    /// Refuses an object whose deletion is under way.
    pub(crate) async fn refuse_while_deleted(&self, path: &str) -> Result<(), Error> {
        let announcements = self.store.entries(&Key::announcements(path)).await?;
        let now = self.store.now();
        let stands = |announcement: &Entry| now.saturating_sub(announcement.written) < ANNOUNCED;
        if announcements.iter().any(stands) { Err(Error::BeingDeleted { path: path.to_owned() }) } else { Ok(()) }
    }

    /// Refuses a version that may be deleted before it is promoted: one that is marked, or being deleted.
    ///
    /// What the history names is never deleted, whatever marks say; a mark on it is stale and is taken away.
    pub(crate) async fn refuse_retired(&self, version: &Version) -> Result<(), Error> {
        let path = Key::Model(version).path();
        // In this order: see the module.
        let is_marked = self.store.get(&Key::Retired(&path).path()).await?.is_some();
        let announced = self.refuse_while_deleted(&path).await;
        if !is_marked && announced.is_ok() {
            return Ok(());
        }
        if !self.history().await?.iter().any(|promotion| promotion.record.version == *version) {
            return if is_marked { Err(Error::Retired(version.clone())) } else { announced };
        }
        if let Err(error) = self.unmark(&path).await {
            tracing::warn!(model.version = %version, %error, "a stale mark of retention stays");
        }
        Ok(())
    }

    /// Announces that objects are about to be deleted.
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
                // Nothing is deleted that was not announced: those that were there need not stand.
                self.withdraw(announced).await;
                Err(error.into())
            }
        }
    }

    /// Takes announcements back. What stays is ignored when it is old, and deleted with other old things.
    pub(crate) async fn withdraw(&self, announced: Announced) {
        let withdraw = |name: String| async move {
            let _ = self.store.delete(&name).await;
        };
        futures_util::stream::iter(announced.names).for_each_concurrent(REQUESTS_AT_ONCE, withdraw).await;
    }
}
