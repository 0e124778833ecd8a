//! Who did what, when: a chain of entries, each written once, like the history of production.
//!
//! An entry is written before the deed, so nothing is done that is not on record. How it ended is an object beside it;
//! where there is none, the process ended first.

use futures_util::{StreamExt, TryStreamExt, stream};
use model::Digest;
use serde::{Deserialize, Serialize};

use crate::{Created, Error, Key, REQUESTS_AT_ONCE, Registry, StoreError, now_millis};

/// Other processes that write at the same moment take a number each; so many in a row are not waited for.
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
    /// `done`, `started`, `refused`, or `unknown` where nobody answered.
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
    /// Puts a deed on record; answers its number. Deeds of one process wait for each other.
    pub async fn audit(&self, deed: &Deed) -> Result<u64, Error> {
        let mut newest = self.newest_audit.lock().await;
        if newest.is_none() {
            *newest = Some(self.last_of_listing().await?);
        }
        for _ in 0..TRIES {
            let last = newest.expect("it was looked for");
            let previous_entry = match last {
                0 => None,
                last => self.store.get(&Key::Audit(last).path()).await?.map(|bytes| Digest::of(&bytes)),
            };
            let entry = AuditEntry { sequence: last + 1, at: now_millis(), deed: deed.clone(), previous_entry };
            let key = Key::Audit(entry.sequence);
            let is_ours = match self.create_json(key, &entry).await? {
                Created::New => true,
                // Ours, if the reply of an earlier try was lost; else another process was quicker.
                Created::Exists => self
                    .read_json::<AuditEntry>(key)
                    .await
                    .is_ok_and(|there| there.is_some_and(|(there, _)| there == entry)),
            };
            *newest = Some(entry.sequence);
            if is_ours {
                return Ok(entry.sequence);
            }
        }
        let reason = format!("others took {TRIES} numbers in a row");
        let name = Key::AUDIT.to_owned();
        Err(StoreError { operation: "write", name, reason, is_transient: true, source: None }.into())
    }

    /// Says how a deed ended. The first word counts.
    pub async fn audit_outcome(&self, sequence: u64, outcome: &AuditOutcome) -> Result<(), Error> {
        self.create_json(Key::AuditOutcome(sequence), outcome).await?;
        Ok(())
    }

    /// The newest entries, newest first, at most `limit` of those before the number `before`.
    ///
    /// An entry that is missing or cannot be read is in it, with the outcome `corrupt`.
    pub async fn audit_trail(&self, before: Option<u64>, limit: u64) -> Result<Vec<Audited>, Error> {
        let newest = self.last_of_listing().await?;
        let last = before.map_or(newest, |before| before.saturating_sub(1).min(newest));
        let wanted = (last.saturating_sub(limit) + 1..=last).rev();
        let read = |sequence| {
            let registry = self.clone();
            async move { registry.audited(sequence).await }
        };
        stream::iter(wanted).map(read).buffered(REQUESTS_AT_ONCE).try_collect().await
    }

    async fn audited(&self, sequence: u64) -> Result<Audited, Error> {
        let read = match self.read_json::<AuditEntry>(Key::Audit(sequence)).await {
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => Err(error.to_string()),
            Ok(None) => Err("it is missing".to_owned()),
            Ok(Some((entry, _))) => Ok(entry),
        };
        match read {
            Ok(entry) => {
                let outcome = self.read_json::<AuditOutcome>(Key::AuditOutcome(sequence)).await;
                let outcome = outcome.or_else(|error| if error.is_transient() { Err(error) } else { Ok(None) })?;
                Ok(Audited { entry, outcome: outcome.map(|(outcome, _)| outcome) })
            }
            Err(detail) => {
                let deed = Deed {
                    actor: "unknown".to_owned(),
                    key: None,
                    action: "unknown".to_owned(),
                    subject: None,
                    reason: None,
                    request_id: None,
                };
                let entry = AuditEntry { sequence, at: 0, deed, previous_entry: None };
                Ok(Audited { entry, outcome: Some(AuditOutcome { outcome: "corrupt".to_owned(), detail }) })
            }
        }
    }

    async fn last_of_listing(&self) -> Result<u64, Error> {
        let names = self.store.list(Key::AUDIT).await?;
        Ok(names.iter().filter_map(|path| Key::audit_of(path)).max().unwrap_or(0))
    }
}
