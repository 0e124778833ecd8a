//! Which objects of the bucket are in a backup, and in which order.

use crate::Key;

/// The kinds of objects in a backup, in the order of the file.
///
/// A restore writes them in the same order. An object comes after everything that it refers to. Revocations come before
/// keys, and deletions before decisions: even during a restore, a revoked key never opens anything, and a deleted
/// decision never counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    KeyRevocation,
    FeedbackDeleted,
    ApiKey,
    Blob,
    Shard,
    Provenance,
    EncoderPart,
    EncoderBase,
    Dataset,
    Model,
    Feedback,
    Drift,
    Backtest,
    Import,
    Shadow,
    AuditOutcome,
    Audit,
    Record,
}

/// What a backup does with an object of the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The object is in the backup.
    Kept(Kind),
    /// The object is left out. A restore ignores it: it shows only that a process looks at the bucket.
    Moment,
    /// The object is left out. A restore refuses a bucket that has one, because the bucket is in use.
    Work,
    /// This program does not know the object. It is left out and named. A restore refuses a bucket that has one.
    Unknown,
}

impl Place {
    /// The decision about every kind of key, with its reason. A new kind of key does not compile without one.
    #[cfg_attr(not(test), expect(dead_code, reason = "the decisions; a test holds `at` to them"))]
    pub(super) fn of(key: &Key<'_>) -> Self {
        match key {
            Key::Blob(_) => Self::Kept(Kind::Blob),
            Key::Dataset(_) => Self::Kept(Kind::Dataset),
            Key::Shard(..) => Self::Kept(Kind::Shard),
            // The last one decides what the next run trains on. An import of a deleted dataset is left out.
            Key::Import(..) => Self::Kept(Kind::Import),
            Key::Model(_) => Self::Kept(Kind::Model),
            Key::Record(_) => Self::Kept(Kind::Record),
            // Revoked keys stay revoked, and the API stays closed. The objects hold digests of keys, never keys.
            Key::ApiKey(..) => Self::Kept(Kind::ApiKey),
            Key::KeyRevocation(..) => Self::Kept(Kind::KeyRevocation),
            Key::Audit(_) => Self::Kept(Kind::Audit),
            Key::AuditOutcome(_) => Self::Kept(Kind::AuditOutcome),
            // All shadow settings, so that their numbers continue.
            Key::Shadow(_) => Self::Kept(Kind::Shadow),
            // All revisions: a number is never given twice.
            Key::Feedback(..) => Self::Kept(Kind::Feedback),
            Key::FeedbackDeleted(..) => Self::Kept(Kind::FeedbackDeleted),
            // Thirty days of drift counts, which cannot be computed again. After a restore they are young, and stay
            // thirty days more.
            Key::Drift(..) => Self::Kept(Kind::Drift),
            Key::Provenance(_) => Self::Kept(Kind::Provenance),
            Key::Backtest(..) => Self::Kept(Kind::Backtest),
            // Workers without the base cannot fine-tune, and may have no other way to get it.
            Key::EncoderBase(_) => Self::Kept(Kind::EncoderBase),
            // Which processes serve at this moment.
            Key::Report(..) => Self::Moment,
            // A mark says since when an object is unneeded, by the store's clock. After a restore every object is
            // young, so the mark would be stale, and promotions of its version would be refused. An announcement
            // belongs to a deletion that runs in this bucket. Cases and checkpoints belong to a backtest or a
            // fine-tuning that runs: its workflow is not in the backup, so no reader would use them.
            Key::Retired(_) | Key::Deleting(..) | Key::Cases(..) | Key::Checkpoint(..) => Self::Work,
        }
    }

    /// The same decision by an object's name.
    pub(super) fn at(path: &str) -> Self {
        let Some((prefix, _)) = path.split_once('/') else { return Self::Unknown };
        let kind = match &path[..=prefix.len()] {
            Key::REPORTS | Key::PROBES => return Self::Moment,
            Key::MARKS | Key::ANNOUNCEMENTS | Key::CHECKPOINTS => return Self::Work,
            Key::BACKTESTS if Key::is_cases(path) => return Self::Work,
            "blobs/" => Key::blob_of(path).map(|_| Kind::Blob),
            Key::DATASETS => Key::dataset_of(path).and_then(|digest| {
                let name = path.rsplit('/').next().unwrap_or_default();
                let number = name.strip_prefix("shard-").and_then(|rest| rest.strip_suffix(".jsonl.zst"));
                match number.and_then(|number| number.parse().ok()) {
                    Some(number) => (Key::Shard(&digest, number).path() == path).then_some(Kind::Shard),
                    None if Key::Dataset(&digest).path() == path => Some(Kind::Dataset),
                    None if Key::Provenance(&digest).path() == path => Some(Kind::Provenance),
                    None => None,
                }
            }),
            Key::IMPORTS => path.strip_suffix(".json").map(|_| Kind::Import),
            Key::MODELS => Key::version_of(path).map(|_| Kind::Model),
            "history/" => Key::generation_of(path).map(|_| Kind::Record),
            Key::API_KEYS if Key::is_api_key(path) => Some(Kind::ApiKey),
            Key::API_KEYS => Key::revoked_key_of(path).map(|_| Kind::KeyRevocation),
            Key::AUDIT => Key::audit_of(path).map(|_| Kind::Audit),
            Key::AUDIT_OUTCOMES => Key::audit_outcome_of(path).map(|_| Kind::AuditOutcome),
            Key::SHADOW => Key::shadow_of(path).map(|_| Kind::Shadow),
            Key::FEEDBACK => Key::feedback_of(path)
                .map(|(.., is_deleted)| if is_deleted { Kind::FeedbackDeleted } else { Kind::Feedback }),
            Key::DRIFT => Key::drift_hour_of(path).map(|_| Kind::Drift),
            Key::BACKTESTS => Key::backtest_of(path).and_then(|(_, report)| report).map(|_| Kind::Backtest),
            Key::ENCODERS => Key::encoder_index_of(path)
                .map(|index| if index == path { Kind::EncoderBase } else { Kind::EncoderPart }),
            _ => None,
        };
        kind.map_or(Self::Unknown, Self::Kept)
    }
}

impl Kind {
    /// Whether it refers to other objects. Such an object is small, and is read into memory to be checked.
    pub(super) fn refers(self) -> bool {
        matches!(
            self,
            Self::EncoderBase
                | Self::Dataset
                | Self::Model
                | Self::Drift
                | Self::Backtest
                | Self::Import
                | Self::Shadow
                | Self::Record
        )
    }

    /// Whether a restore writes them one by one, because readers use the last one or take a gap for a loss.
    pub(super) fn is_chain(self) -> bool {
        matches!(self, Self::Import | Self::Shadow | Self::Audit | Self::Record)
    }

    /// Whether the newest comes first.
    ///
    /// Readers use only the last one by name, so during a restore it must not be an old one.
    pub(super) fn is_newest_first(self) -> bool {
        matches!(self, Self::Import | Self::Shadow)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::{Digest, Generation, Version, backtest::BacktestId};

    use super::*;

    /// A number for each kind of key, without a wildcard: a new kind needs an example below.
    fn number(key: &Key<'_>) -> usize {
        match key {
            Key::Blob(_) => 0,
            Key::Dataset(_) => 1,
            Key::Shard(..) => 2,
            Key::Import(..) => 3,
            Key::Model(_) => 4,
            Key::Record(_) => 5,
            Key::Retired(_) => 6,
            Key::Deleting(..) => 7,
            Key::Report(..) => 8,
            Key::ApiKey(..) => 9,
            Key::KeyRevocation(..) => 10,
            Key::Audit(_) => 11,
            Key::AuditOutcome(_) => 12,
            Key::Shadow(_) => 13,
            Key::Feedback(..) => 14,
            Key::FeedbackDeleted(..) => 15,
            Key::Drift(..) => 16,
            Key::Provenance(_) => 17,
            Key::Backtest(..) => 18,
            Key::Cases(..) => 19,
            Key::EncoderBase(_) => 20,
            Key::Checkpoint(..) => 21,
        }
    }

    #[test]
    fn every_kind_of_key_is_recognised_by_its_name() {
        let digest = Digest::of(b"abc");
        let version = Version::derive(1_795_399_809, "train-1", "run-1", "multinomial_nb");
        let backtest = BacktestId::derive(1_795_399_809, "backtest-1", "run-1");
        let comment = &digest.as_str()[..32];
        let model = Key::Model(&version).path();
        let keys = [
            Key::Blob(&digest),
            Key::Dataset(&digest),
            Key::Shard(&digest, 3),
            Key::Import(1_795_399_809_123, &digest),
            Key::Model(&version),
            Key::Record(Generation(12)),
            Key::Retired(&model),
            Key::Deleting(&model, "3f9c2a1b"),
            Key::Report(Generation(12), "api-1"),
            Key::ApiKey("alice", "3f9c2a1b"),
            Key::KeyRevocation("alice", "3f9c2a1b"),
            Key::Audit(12),
            Key::AuditOutcome(12),
            Key::Shadow(3),
            Key::Feedback(comment, "anna", 2),
            Key::FeedbackDeleted(comment, "anna", 2),
            Key::Drift(&version, 495_000, 7),
            Key::Provenance(&digest),
            Key::Backtest(&version, &backtest),
            Key::Cases(&version, &backtest, 3),
            Key::EncoderBase(&digest),
            Key::Checkpoint(&digest, 12, 7),
        ];
        for key in &keys {
            assert_eq!(Place::at(&key.path()), Place::of(key), "{}", key.path());
        }
        let numbers: BTreeSet<usize> = keys.iter().map(number).collect();
        assert_eq!(
            numbers.into_iter().collect::<Vec<_>>(),
            (0..keys.len()).collect::<Vec<_>>(),
            "one lacks an example"
        );
        let part = Key::part_of(&Key::EncoderBase(&digest).path(), 0);
        assert_eq!(Place::at(&part), Place::Kept(Kind::EncoderPart));
        let part = Key::part_of(&Key::Checkpoint(&digest, 12, 7).path(), 0);
        assert_eq!(Place::at(&part), Place::Work);
        assert_eq!(Place::at("probe/3f9c"), Place::Moment);
        for path in ["", "notes.txt", "new/a", "models/a.json", "datasets/a", "history/staging/1.json", "keys/a/b.txt"]
        {
            assert_eq!(Place::at(path), Place::Unknown, "{path}");
        }
    }
}
