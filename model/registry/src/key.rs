//! Where things are in the bucket: the only place where a path is spelled.

use std::fmt;

use model::{Digest, Generation, Version};

use crate::Error;

/// The name of an object.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// An artifact's bytes.
    Blob(&'a Digest),
    /// A dataset's manifest.
    Dataset(&'a Digest),
    /// One shard of a dataset's rows.
    Shard(&'a Digest, u32),
    /// The record of an import: milliseconds since 1970, so that names sort by time.
    Import(i64, &'a Digest),
    /// A version's manifest.
    Model(&'a Version),
    /// A promotion record.
    Record(Generation),
    /// A mark on an object that retention is going to delete.
    Retired(&'a str),
    /// The announcement that an object is being deleted, by one deleter.
    Deleting(&'a str, &'a str),
    /// A replica's report that it serves a generation; named by [`crate::ReplicaId`].
    Report(Generation, &'a str),
}

impl Key<'_> {
    /// Prefix of all import records.
    pub const IMPORTS: &'static str = "imports/";
    /// Prefix of all manifests of versions.
    pub const MODELS: &'static str = "models/";
    /// Prefix of all promotion records.
    pub const HISTORY: &'static str = "history/production/";
    /// Prefix of all blobs.
    pub const BLOBS: &'static str = "blobs/sha256/";
    /// Prefix of all datasets.
    pub const DATASETS: &'static str = "datasets/";
    /// Prefix of all reports of replicas.
    pub const REPORTS: &'static str = "serving/";
    /// Prefix of all marks of retention.
    pub const MARKS: &'static str = "retired/";
    /// Prefix of all announcements of deletions.
    pub const ANNOUNCEMENTS: &'static str = "deleting/";
    /// Prefix of what probes write.
    pub(crate) const PROBES: &'static str = "probe/";

    /// The object's name in the bucket.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Blob(digest) => format!("{}{}/{digest}", Self::BLOBS, &digest.as_str()[..2]),
            Self::Dataset(digest) => format!("{}{digest}/manifest.json", Self::DATASETS),
            Self::Shard(digest, number) => format!("{}{digest}/shard-{number:05}.jsonl.zst", Self::DATASETS),
            Self::Import(millis, digest) => format!("{}{millis:014}-{}.json", Self::IMPORTS, digest.short()),
            Self::Model(version) => format!("{}{version}.json", Self::MODELS),
            Self::Record(generation) => format!("{}{:010}.json", Self::HISTORY, generation.0),
            Self::Retired(path) => format!("{}{path}", Self::MARKS),
            Self::Deleting(path, deleter) => format!("{}{deleter}", Self::announcements(path)),
            Self::Report(generation, replica) => format!("{}{replica}", Self::reports(*generation)),
        }
    }

    /// Prefix of the announcements of one object's deletion.
    #[must_use]
    pub fn announcements(path: &str) -> String {
        format!("{}{path}/", Self::ANNOUNCEMENTS)
    }

    /// The object that the mark at a path is on.
    #[must_use]
    pub fn retired_of(path: &str) -> Option<&str> {
        path.strip_prefix(Self::MARKS)
    }

    /// Prefix of the reports of one generation.
    #[must_use]
    pub fn reports(generation: Generation) -> String {
        format!("{}{:010}/", Self::REPORTS, generation.0)
    }

    /// The generation and the replica of the report at a path.
    #[must_use]
    pub fn report_of(path: &str) -> Option<(Generation, &str)> {
        let (generation, replica) = path.strip_prefix(Self::REPORTS)?.split_once('/')?;
        Some((Generation(generation.parse().ok()?), replica))
    }

    /// The blob at a path.
    #[must_use]
    pub fn blob_of(path: &str) -> Option<Digest> {
        Digest::parse(path.strip_prefix(Self::BLOBS)?.split_once('/')?.1).ok()
    }

    /// The dataset that an object at a path belongs to.
    #[must_use]
    pub fn dataset_of(path: &str) -> Option<Digest> {
        Digest::parse(path.strip_prefix(Self::DATASETS)?.split_once('/')?.0).ok()
    }

    /// The version whose manifest stands at a path.
    #[must_use]
    pub fn version_of(path: &str) -> Option<Version> {
        Version::parse(path.strip_prefix(Self::MODELS)?.strip_suffix(".json")?).ok()
    }

    /// The generation whose record stands at a path.
    #[must_use]
    pub fn generation_of(path: &str) -> Option<Generation> {
        let digits = path.strip_prefix(Self::HISTORY)?.strip_suffix(".json")?;
        let is_plain = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| is_plain).map(Generation)
    }

    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Blob(_) => "artifact",
            Self::Dataset(_) => "dataset",
            Self::Shard(..) => "shard of a dataset",
            Self::Import(..) => "import record",
            Self::Model(_) => "model version",
            Self::Record(_) => "promotion record",
            Self::Retired(_) => "mark of retention",
            Self::Deleting(..) => "announcement of a deletion",
            Self::Report(..) => "replica's report",
        }
    }

    pub(crate) fn corrupt(&self, reason: impl fmt::Display) -> Error {
        Error::Corrupt { path: self.path(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_fixed() {
        let digest = Digest::of(b"abc");
        let version = Version::derive(1_795_399_809, "train-1", "run-1", "multinomial_nb");
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Key::Blob(&digest).path(), format!("blobs/sha256/ba/{hex}"));
        assert_eq!(Key::Dataset(&digest).path(), format!("datasets/{hex}/manifest.json"));
        assert_eq!(Key::Shard(&digest, 3).path(), format!("datasets/{hex}/shard-00003.jsonl.zst"));
        assert_eq!(Key::Import(1_795_399_809_123, &digest).path(), "imports/01795399809123-ba7816bf.json");
        assert_eq!(Key::Model(&version).path(), format!("models/{version}.json"));
        assert_eq!(Key::Record(Generation(12)).path(), "history/production/0000000012.json");
        assert_eq!(Key::version_of(&Key::Model(&version).path()), Some(version));
        assert_eq!(Key::generation_of("history/production/0000000012.json"), Some(Generation(12)));
        assert_eq!(Key::version_of("models/../x.json"), None);
        assert_eq!(Key::generation_of("history/production/12.json"), None);
        assert_eq!(Key::Retired("models/a.json").path(), "retired/models/a.json");
        assert_eq!(Key::Report(Generation(12), "api-1").path(), "serving/0000000012/api-1");
        assert_eq!(Key::blob_of(&Key::Blob(&digest).path()), Some(digest.clone()));
        assert_eq!(Key::dataset_of(&Key::Shard(&digest, 3).path()), Some(digest));
    }
}
