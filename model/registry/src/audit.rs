//! Who did what, when: a chain of entries, each written once, like the history of production.
//!
//! An entry is written before the deed, so nothing is done that is not on record. How it ended is an object beside it;
//! where there is none, the process ended first.

use futures_util::{StreamExt, TryStreamExt};
use model::Digest;
use serde::{Deserialize, Serialize};

use crate::{Created, Error, Key, REQUESTS_AT_ONCE, Registry, now_millis};

/// Others who write at the same moment take a number each; more than this many in a row is no coincidence.
const TRIES: usize = 100;

/// What somebody is about to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// Who.
    pub actor: String,
    /// The id of the API key, if one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What: `promote`, `roll_back`, `train`, `approve`, ...
    pub action: String,
    /// With what: a version, a workflow's id, a key's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Why, in the actor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The request that asked for it, as logs have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A deed on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// From 1, without gaps.
    pub sequence: u64,
    /// When it was asked for: milliseconds since 1970, UTC, by the writer's clock. Order is by sequence.
    pub at: i64,
    /// What was asked for.
    #[serde(flatten)]
    pub deed: Deed,
    /// Digest of the entry before this one; none for the first.
    pub previous_entry: Option<Digest>,
}

/// How a deed ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditOutcome {
    /// `done`, `started` or `refused`.
    pub outcome: String,
    /// The workflow and run, or why it was refused.
    pub detail: String,
}

/// A deed and, once it is known, how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// The deed.
    pub entry: AuditEntry,
    /// Its end.
    pub outcome: Option<AuditOutcome>,
}

impl Registry {
    /// Puts a deed on record; answers its number.
    pub async fn audit(&self, deed: &Deed) -> Result<u64, Error> {
        for _ in 0..TRIES {
            let newest = self.newest_audit().await?;
            let previous_entry = match newest {
                0 => None,
                newest => self.read_json::<AuditEntry>(Key::Audit(newest)).await?.map(|(_, digest)| digest),
            };
            let entry = AuditEntry { sequence: newest + 1, at: now_millis(), deed: deed.clone(), previous_entry };
            let key = Key::Audit(entry.sequence);
            if self.create_json(key, &entry).await? == Created::New {
                return Ok(entry.sequence);
            }
            // Ours, if the reply of an earlier try was lost; else somebody was quicker.
            if self.read_json::<AuditEntry>(key).await?.is_some_and(|(there, _)| there == entry) {
                return Ok(entry.sequence);
            }
        }
        Err(Key::Audit(0).corrupt(format!("{TRIES} numbers in a row were taken by others")))
    }

    /// Says how a deed ended. The first word counts.
    pub async fn audit_outcome(&self, sequence: u64, outcome: &AuditOutcome) -> Result<(), Error> {
        self.create_json(Key::AuditOutcome(sequence), outcome).await?;
        Ok(())
    }

    /// The newest entries, newest first, at most `limit` of those before the number `before`.
    pub async fn audit_trail(&self, before: Option<u64>, limit: u64) -> Result<Vec<Audited>, Error> {
        let last = match before {
            Some(before) => before.saturating_sub(1).min(self.newest_audit().await?),
            None => self.newest_audit().await?,
        };
        let read = |sequence| {
            let registry = self.clone();
            async move {
                let found = registry.read_json::<AuditEntry>(Key::Audit(sequence)).await?;
                let missing = || Key::Audit(sequence).corrupt("it is missing, and a later one is there");
                let (entry, _) = found.ok_or_else(missing)?;
                let outcome = registry.read_json::<AuditOutcome>(Key::AuditOutcome(sequence)).await?;
                Ok(Audited { entry, outcome: outcome.map(|(outcome, _)| outcome) })
            }
        };
        let wanted = (last.saturating_sub(limit) + 1..=last).rev();
        futures_util::stream::iter(wanted).map(read).buffered(REQUESTS_AT_ONCE).try_collect().await
    }

    async fn newest_audit(&self) -> Result<u64, Error> {
        let names = self.store.list(Key::AUDIT).await?;
        Ok(names.iter().filter_map(|path| Key::audit_of(path)).max().unwrap_or(0))
    }
}
