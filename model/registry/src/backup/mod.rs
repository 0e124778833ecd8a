//! The whole bucket in one file, and back.
//!
//! # The state that a backup holds
//!
//! The history is listed first. Its newest generation is the generation of the backup. Then the bucket is listed, and
//! then copied, while people go on working. No lock is needed: an object is written once and never changed, so an
//! object that can be read is the object that was listed. Later versions and promotions are in the next backup.
//!
//! # No reference to an object that is not in the file
//!
//! Writers store an object before the object that refers to it: first a blob or the shards of a dataset, then the
//! manifest, then the promotion record. So everything that a listed object refers to existed at that time. Deletions go
//! the other way: retention deletes a version first, and its blob and its dataset at least a day later. Of a dataset,
//! it deletes the manifest first. The copy therefore reads a referenced object first and its referrer last (the order
//! of `Kind`). If a manifest can still be read at that time, everything that it names existed when it was read.
//!
//! - An object that retention deletes between the listing and the copy is left out. Its referrers were deleted earlier,
//!   so they are left out, too.
//! - If a copied object names an object that is not in the file yet, the named object is fetched and written first.
//!   This happens if a dataset is deleted and imported again during the copy.
//! - An object that names an object which is nowhere in the bucket ends the backup with an error that names both.
//!
//! Some names are not such references, because no reader follows them: the base of a dataset, the version that a
//! reviewer saw, older shadow settings. An import of a deleted dataset is left out, unless it is the newest import.
//! Backtests and drift counts of a deleted version are left out.
//!
//! # When a file is good
//!
//! [`verify_backup`] needs no bucket. It checks every digest, every reference, the index, and that nothing follows the
//! end.
//!
//! # Restore
//!
//! [`crate::Registry::restore`] checks the whole file before its first write. It writes only into a bucket that is
//! empty, or that holds only objects of the same backup, byte for byte. So an interrupted restore can be run again. It
//! writes in the order of the file, and ends one kind of object before it begins the next. A reader of the bucket
//! therefore never sees a reference to an object that is not there. The history comes last, in ascending order.
//!
//! # Memory
//!
//! A few batches of objects are in memory at a time. A batch has at most 32 MiB, or one object. The name, length and
//! digest of every object stay in memory: about 200 bytes for each.

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
    /// The store did not answer, or an object is damaged.
    #[error(transparent)]
    Registry(#[from] crate::Error),
    /// An object of the bucket names one that is not there.
    #[error("{referrer} names {object}, which is not in the bucket: such a backup could not be restored")]
    Incomplete {
        /// The object that has the reference.
        referrer: String,
        /// The missing object.
        object: String,
    },
    /// The file cannot be read or written.
    #[error(transparent)]
    File(io::Error),
    /// The file is not a backup.
    #[error("it is not a backup that `threatwatch backup` wrote")]
    NoBackup,
    /// The backup has a format that this program does not read.
    #[error("it is a backup of format {0}; this program reads format {FORMAT}")]
    Format(u32),
    /// The file is incomplete.
    #[error("it is cut short: its end is missing")]
    Truncated,
    /// The content differs from its digests.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The file changed after it was checked.
    #[error("the file changed while it was read")]
    Changed,
    /// The bucket holds an object that is not in the backup.
    #[error("the bucket holds {object}, {why}: a backup is restored into an empty bucket")]
    Foreign {
        /// The first such object, by name.
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
    /// The header of the file.
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

/// Checks a backup without a bucket, and returns its contents. Blocks.
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
