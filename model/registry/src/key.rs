//! Object names: the only place where paths in the bucket are made.

use std::fmt;

use model::{Digest, Generation, Version, artifact, backtest::BacktestId, linear};

use crate::Error;

const KEY_ENDING: &str = ".key.json";
const INDEX_ENDING: &str = ".index.json";
const DELETED_ENDING: &str = ".deleted";
const REVOCATION_ENDING: &str = ".revoked.json";
const CASES_ENDING: &str = ".cases-";
const PART: &str = ".part-";

/// The name of an object.
///
/// ```
/// use model::Generation;
/// use registry::Key;
///
/// let path = Key::Record(Generation(12)).path();
/// assert_eq!(path, "history/production/0000000012.json");
/// assert_eq!(Key::generation_of(&path), Some(Generation(12)));
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// An artifact's bytes.
    Blob(&'a Digest),
    /// A dataset's manifest.
    Dataset(&'a Digest),
    /// One shard of a dataset's rows.
    Shard(&'a Digest, u32),
    /// The record of an import: milliseconds since 1970 (names sort by time) and the dataset.
    Import(i64, &'a Digest),
    /// A version's manifest.
    Model(&'a Version),
    /// A promotion record.
    Record(Generation),
    /// The mark on an object that retention is going to delete, by the object's path.
    Retired(&'a str),
    /// The announcement of a deletion: the object's path and the deleter.
    Deleting(&'a str, &'a str),
    /// A replica's report that it serves a generation; named by [`crate::ReplicaId`].
    Report(Generation, &'a str),
    /// An API key: name and id.
    ApiKey(&'a str, &'a str),
    /// The revocation of an API key: name and id.
    KeyRevocation(&'a str, &'a str),
    /// An entry of the audit trail, by its number.
    Audit(u64),
    /// The outcome of an entry of the audit trail, by its number.
    AuditOutcome(u64),
    /// A shadow order, by its number.
    Shadow(u64),
    /// A reviewer's decision: the comment's name, the reviewer, the revision.
    Feedback(&'a str, &'a str, u32),
    /// The mark that a decision was deleted, up to a revision.
    FeedbackDeleted(&'a str, &'a str, u32),
    /// The drift counts of one replica: version, hour since 1970, unique number.
    Drift(&'a Version, u64, u32),
    /// The decisions that a dataset was built from.
    Provenance(&'a Digest),
    /// The report of a backtest of a version.
    Backtest(&'a Version, &'a BacktestId),
    /// What a step of a backtest judged, by its number.
    ///
    /// It is deleted when the report is there.
    Cases(&'a Version, &'a BacktestId, u32),
    /// The index of an encoder's base.
    EncoderBase(&'a Digest),
    /// The index of a checkpoint: the digest of the work, step, unique number.
    Checkpoint(&'a Digest, u64, u32),
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
    /// Prefix of all API keys and their revocations.
    pub const API_KEYS: &'static str = "keys/";
    /// Prefix of the entries of the audit trail.
    pub const AUDIT: &'static str = "audit/";
    /// Prefix of how the deeds of the audit trail ended.
    pub const AUDIT_OUTCOMES: &'static str = "audit-outcomes/";
    /// Prefix of all shadow orders.
    pub const SHADOW: &'static str = "shadow/";
    /// Prefix of all decisions of reviewers.
    pub const FEEDBACK: &'static str = "feedback/";
    /// Prefix of all drift counts.
    pub const DRIFT: &'static str = "drift/";
    /// Prefix of all backtests.
    pub const BACKTESTS: &'static str = "backtests/";
    /// Prefix of the bases of encoders.
    pub const ENCODERS: &'static str = "encoders/";
    /// Prefix of all checkpoints.
    pub const CHECKPOINTS: &'static str = "checkpoints/";
    /// Prefix of the objects that probes write.
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
            Self::ApiKey(name, id) => format!("{}{name}/{id}{KEY_ENDING}", Self::API_KEYS),
            Self::KeyRevocation(name, id) => format!("{}{name}/{id}{REVOCATION_ENDING}", Self::API_KEYS),
            Self::Audit(number) => format!("{}{number:010}.json", Self::AUDIT),
            Self::AuditOutcome(number) => format!("{}{number:010}.json", Self::AUDIT_OUTCOMES),
            Self::Shadow(number) => format!("{}{number:010}.json", Self::SHADOW),
            Self::Feedback(comment, reviewer, revision) => {
                format!("{}{revision:06}.json", Self::feedback_by(comment, reviewer))
            }
            Self::FeedbackDeleted(comment, reviewer, revision) => {
                format!("{}{revision:06}{DELETED_ENDING}", Self::feedback_by(comment, reviewer))
            }
            Self::Drift(version, hour, nonce) => format!("{}{hour:010}-{nonce:08x}.json", Self::drift_of(version)),
            Self::Provenance(digest) => format!("{}{digest}/provenance.json", Self::DATASETS),
            Self::Backtest(version, id) => format!("{}{id}.json", Self::backtests(version)),
            Self::Cases(version, id, number) => format!("{}{number:05}.jsonl.zst", Self::cases(version, id)),
            Self::EncoderBase(digest) => format!("{}{digest}{INDEX_ENDING}", Self::ENCODERS),
            Self::Checkpoint(work, step, nonce) => {
                format!("{}{step:010}-{nonce:08x}{INDEX_ENDING}", Self::checkpoints(work))
            }
        }
    }

    /// Prefix of the drift counts of a version.
    #[must_use]
    pub fn drift_of(version: &Version) -> String {
        format!("{}{version}/", Self::DRIFT)
    }

    /// The hour since 1970 and the number of the drift counts at a path.
    #[must_use]
    pub fn drift_hour_of(path: &str) -> Option<(u64, u32)> {
        let name = path.strip_prefix(Self::DRIFT)?.split_once('/')?.1.strip_suffix(".json")?;
        let (hour, nonce) = name.split_once('-')?;
        Some((hour.parse().ok()?, u32::from_str_radix(nonce, 16).ok()?))
    }

    /// Prefix of the announcements of one object's deletion.
    #[must_use]
    pub fn announcements(path: &str) -> String {
        format!("{}{path}/", Self::ANNOUNCEMENTS)
    }

    /// Prefix of the backtests of a version.
    #[must_use]
    pub fn backtests(version: &Version) -> String {
        format!("{}{version}/", Self::BACKTESTS)
    }

    /// Prefix of the parts that the steps of a backtest judged.
    #[must_use]
    pub fn cases(version: &Version, id: &BacktestId) -> String {
        format!("{}{id}{CASES_ENDING}", Self::backtests(version))
    }

    /// The version of the backtest object at a path, and a report's id.
    #[must_use]
    pub fn backtest_of(path: &str) -> Option<(Version, Option<BacktestId>)> {
        let (version, name) = path.strip_prefix(Self::BACKTESTS)?.split_once('/')?;
        let id = name.strip_suffix(".json").and_then(|id| id.parse().ok());
        Some((Version::parse(version).ok()?, id))
    }

    /// Prefix of the checkpoints of a piece of work.
    #[must_use]
    pub fn checkpoints(work: &Digest) -> String {
        format!("{}{work}/", Self::CHECKPOINTS)
    }

    /// Step and number of the checkpoint whose index is at a path.
    #[must_use]
    pub fn checkpoint_of(path: &str) -> Option<(u64, u32)> {
        let name = path.strip_prefix(Self::CHECKPOINTS)?.split_once('/')?.1.strip_suffix(INDEX_ENDING)?;
        let (step, nonce) = name.split_once('-')?;
        Some((step.parse().ok()?, u32::from_str_radix(nonce, 16).ok()?))
    }

    /// The step of the checkpoint that an object, index or part, belongs to.
    #[must_use]
    pub fn step_of_checkpoint(path: &str) -> Option<u64> {
        path.strip_prefix(Self::CHECKPOINTS)?.split_once('/')?.1.split_once('-')?.0.parse().ok()
    }

    /// The path of a part of a large object, by the path of its index.
    #[must_use]
    pub fn part_of(index: &str, number: u32) -> String {
        format!("{index}{PART}{number:05}")
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

    /// Whether a path is of an API key.
    #[must_use]
    pub fn is_api_key(path: &str) -> bool {
        path.starts_with(Self::API_KEYS) && path.ends_with(KEY_ENDING)
    }

    /// The path of the API key that the revocation at a path revokes.
    #[must_use]
    pub fn revoked_key_of(path: &str) -> Option<String> {
        Some(format!("{}{KEY_ENDING}", path.strip_suffix(REVOCATION_ENDING)?))
    }

    /// The path of the revocation of the API key at a path.
    #[must_use]
    pub fn revocation_of(path: &str) -> Option<String> {
        Some(format!("{}{REVOCATION_ENDING}", path.strip_suffix(KEY_ENDING)?))
    }

    /// The number of the entry of the audit trail at a path.
    #[must_use]
    pub fn audit_of(path: &str) -> Option<u64> {
        path.strip_prefix(Self::AUDIT)?.strip_suffix(".json")?.parse().ok()
    }

    /// The number of the entry of the audit trail whose end is at a path.
    #[must_use]
    pub fn audit_outcome_of(path: &str) -> Option<u64> {
        path.strip_prefix(Self::AUDIT_OUTCOMES)?.strip_suffix(".json")?.parse().ok()
    }

    /// Whether what steps of a backtest judged stands at a path.
    #[must_use]
    pub fn is_cases(path: &str) -> bool {
        Self::backtest_of(path).is_some_and(|(_, report)| report.is_none()) && path.contains(CASES_ENDING)
    }

    /// The index that an object of an encoder's base belongs to: itself, or the one that it is a part of.
    #[must_use]
    pub fn encoder_index_of(path: &str) -> Option<&str> {
        let digest = path.strip_prefix(Self::ENCODERS)?.split_once('.')?.0;
        let index = path.get(..Self::ENCODERS.len() + digest.len() + INDEX_ENDING.len())?;
        let part = &path[index.len()..];
        let is_index = Digest::parse(digest).is_ok() && index.ends_with(INDEX_ENDING);
        (is_index && (part.is_empty() || part.starts_with(PART))).then_some(index)
    }

    /// The number of the shadow order at a path.
    #[must_use]
    pub fn shadow_of(path: &str) -> Option<u64> {
        path.strip_prefix(Self::SHADOW)?.strip_suffix(".json")?.parse().ok()
    }

    /// Prefix of the revisions of one reviewer's decision about a comment.
    #[must_use]
    pub fn feedback_by(comment: &str, reviewer: &str) -> String {
        format!("{}{comment}/{reviewer}/", Self::FEEDBACK)
    }

    /// Comment, reviewer and revision of a decision, and whether it is a deletion mark.
    #[must_use]
    pub fn feedback_of(path: &str) -> Option<(&str, &str, u32, bool)> {
        let (comment, rest) = path.strip_prefix(Self::FEEDBACK)?.split_once('/')?;
        let (reviewer, name) = rest.split_once('/')?;
        let (revision, is_deleted) = match name.strip_suffix(DELETED_ENDING) {
            Some(revision) => (revision, true),
            None => (name.strip_suffix(".json")?, false),
        };
        Some((comment, reviewer, revision.parse().ok()?, is_deleted))
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

    /// The version whose manifest is at a path.
    #[must_use]
    pub fn version_of(path: &str) -> Option<Version> {
        Version::parse(path.strip_prefix(Self::MODELS)?.strip_suffix(".json")?).ok()
    }

    /// The generation whose record is at a path.
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
            Self::ApiKey(..) => "API key",
            Self::KeyRevocation(..) => "revocation of an API key",
            Self::Audit(_) => "entry of the audit trail",
            Self::Shadow(_) => "order of a shadow",
            Self::Feedback(..) | Self::FeedbackDeleted(..) => "feedback",
            Self::Drift(..) => "drift counts",
            Self::Provenance(_) => "provenance of a dataset",
            Self::Backtest(..) => "backtest",
            Self::Cases(..) => "part of a backtest",
            Self::EncoderBase(_) => "encoder's base",
            Self::Checkpoint(..) => "checkpoint",
            Self::AuditOutcome(_) => "outcome in the audit trail",
        }
    }

    /// The error for an artifact that this program cannot decode.
    pub(crate) fn undecodable(&self, error: artifact::Error) -> Error {
        match error {
            artifact::Error::Invalid(linear::Invalid::Extractor(reason)) => {
                Error::Foreign { path: self.path(), reason }
            }
            error => self.corrupt(error),
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
        assert_eq!(Key::version_of(&Key::Model(&version).path()), Some(version.clone()));
        assert_eq!(Key::generation_of("history/production/0000000012.json"), Some(Generation(12)));
        assert_eq!(Key::version_of("models/../x.json"), None);
        assert_eq!(Key::generation_of("history/production/12.json"), None);
        assert_eq!(Key::Retired("models/a.json").path(), "retired/models/a.json");
        assert_eq!(Key::Report(Generation(12), "api-1").path(), "serving/0000000012/api-1");
        assert_eq!(Key::ApiKey("alice", "3f9c2a1b").path(), "keys/alice/3f9c2a1b.key.json");
        let revoked = Key::KeyRevocation("alice", "3f9c2a1b").path();
        assert_eq!(revoked, "keys/alice/3f9c2a1b.revoked.json");
        assert_eq!(Key::revoked_key_of(&revoked), Some(Key::ApiKey("alice", "3f9c2a1b").path()));
        assert!(!Key::is_api_key(&revoked));
        assert_eq!(Key::Audit(12).path(), "audit/0000000012.json");
        assert_eq!(Key::audit_of(&Key::AuditOutcome(12).path()), None);
        let drift = Key::Drift(&version, 495_000, 7).path();
        assert_eq!(drift, format!("drift/{version}/0000495000-00000007.json"));
        assert_eq!(Key::drift_hour_of(&drift), Some((495_000, 7)));
        let feedback = Key::Feedback("3f9c", "anna", 2).path();
        assert_eq!(feedback, "feedback/3f9c/anna/000002.json");
        assert_eq!(Key::feedback_of(&feedback), Some(("3f9c", "anna", 2, false)));
        assert_eq!(Key::feedback_of(&Key::FeedbackDeleted("3f9c", "anna", 2).path()), Some(("3f9c", "anna", 2, true)));
        let backtest = BacktestId::derive(1_795_399_809, "backtest-1", "run-1");
        let path = Key::Backtest(&version, &backtest).path();
        assert_eq!(path, format!("backtests/{version}/{backtest}.json"));
        assert_eq!(Key::backtest_of(&path), Some((version.clone(), Some(backtest.clone()))));
        let cases = Key::Cases(&version, &backtest, 3).path();
        assert_eq!(cases, format!("backtests/{version}/{backtest}.cases-00003.jsonl.zst"));
        assert_eq!(Key::backtest_of(&cases), Some((version.clone(), None)));
        assert_eq!(Key::dataset_of(&Key::Provenance(&digest).path()), Some(digest.clone()));
        assert_eq!(Key::blob_of(&Key::Blob(&digest).path()), Some(digest.clone()));
        assert_eq!(Key::dataset_of(&Key::Shard(&digest, 3).path()), Some(digest));
    }
}
