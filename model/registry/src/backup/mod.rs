//! The whole bucket in one file, and back.
//!
//! **What a backup is a picture of.** The history is listed first: its newest generation is the one that is backed up. Then
//! everything is listed, then copied, while people go on working. Nothing is locked, because an object is written once and
//! never changed: an object that can be read is the object that was listed. Later promotions and versions are in the next
//! backup.
//!
//! **Nothing in it refers to what is not in it.** Writers store what is referred to before what refers to it: a blob and the
//! shards of a dataset, then manifests, then the record. So whatever a listed referrer names was there when it was listed.
//! Deletions go the other way round: retention deletes a version, and its blob and its dataset at least a day later; of a
//! dataset it deletes the manifest first. The copy therefore reads what is referred to first and what refers to it last
//! ([`kind`]). A referrer that can still be read at that time had everything that it names when that was read. What
//! retention deletes between the listing and the copy is left out, and so is what referred to it: that was deleted before.
//! Two things may still be missing at that moment, because they came back or came late. They are fetched then, and stand in
//! the file before what names them. A referrer whose object is not in the bucket at all is an error that names both: such a
//! backup could not be restored.
//!
//! **A file is declared good** when it was written to its end. It can be checked without a bucket ([`verify_backup`]): every
//! digest, every reference, the index, and that nothing follows.
//!
//! **A restore** checks the whole file before its first write, and writes in the order of the file, a batch of one kind
//! after the other. So whoever looks at the bucket meanwhile finds behind every reference an object; the history comes last,
//! in ascending order. It writes into a bucket that is empty or holds nothing but objects of this backup, byte for byte, so
//! one that was interrupted is run again.

mod copy;
mod file;
mod kind;
mod references;
mod restore;

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

pub use self::{
    copy::{BackedUp, LeftOut},
    file::About,
    restore::Restored,
};
use self::{
    file::{Check, FORMAT, walk},
    kind::{Kind, Place},
    references::References,
};
use crate::{Key, StoreError};

/// Why there is no backup, or no restore.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store did not answer, or an object in it is not what it must be.
    #[error(transparent)]
    Registry(#[from] crate::Error),
    /// An object of the bucket names one that is not there.
    #[error("{referrer} names {object}, which is not in the bucket: there is no backup of a bucket that is not whole")]
    Incomplete {
        /// What names it.
        referrer: String,
        /// What is not there.
        object: String,
    },
    /// The file cannot be read or written.
    #[error(transparent)]
    File(io::Error),
    /// It is something else.
    #[error("it is no backup of threatwatch")]
    NoBackup,
    /// It is of a release that writes another format.
    #[error("it is a backup of format {0}; this program reads format {FORMAT}")]
    Format(u32),
    /// It ends before its end.
    #[error("it is cut short: its end is missing")]
    Truncated,
    /// It is not as it was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It is not the file that was checked.
    #[error("the file changed while it was read")]
    Changed,
    /// The bucket holds something else.
    #[error("the bucket holds {object}, {why}: a backup is restored into an empty bucket")]
    Foreign {
        /// The first object of it, by name.
        object: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Registry(error.into())
    }
}

/// What is in a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// What it says of itself.
    pub about: About,
    /// Objects.
    pub objects: u64,
    /// Their bytes, before compression.
    pub bytes: u64,
    /// Versions.
    pub versions: u64,
    /// Datasets.
    pub datasets: u64,
    /// Decisions of reviewers, every revision.
    pub decisions: u64,
    /// API keys that are not revoked.
    pub keys: u64,
}

impl Contents {
    fn of(about: About, references: &References) -> Self {
        let objects = references.objects();
        let mut counts: BTreeMap<Kind, u64> = BTreeMap::new();
        for name in objects.keys() {
            if let Place::Kept(kind) = Place::at(name) {
                *counts.entry(kind).or_default() += 1;
            }
        }
        let of = |kind| counts.get(&kind).copied().unwrap_or_default();
        let is_active = |path: &&str| {
            let revocation = Key::revocation_of(path);
            revocation.is_some_and(|revocation| !references.has(&revocation))
        };
        Self {
            about,
            objects: objects.len() as u64,
            bytes: objects.values().map(|object| object.bytes).sum(),
            versions: of(Kind::Model),
            datasets: of(Kind::Dataset),
            decisions: of(Kind::Feedback),
            keys: objects.keys().map(|name| &**name).filter(is_active).count() as u64,
        }
    }
}

/// Checks a backup without a bucket, and says what is in it. Blocks.
pub fn verify_backup(file: impl Read) -> Result<Contents, Error> {
    let (about, check) = checked(file)?;
    Ok(Contents::of(about, &check.references))
}

fn checked(file: impl Read) -> Result<(About, Check), Error> {
    let mut check = Check::default();
    let about = walk(file, &mut check)?;
    check.finish(&about)?;
    Ok((about, check))
}
