//! The audit trail: who did what, and when. A chain of entries, each written once.
//!
//! An entry is written before the action, so nothing happens without an entry. The outcome is another object. If it is
//! missing, the process ended before it could write it.

use futures_util::{StreamExt, TryStreamExt, stream};
use model::Digest;
use serde::{Deserialize, Serialize};

use crate::{Created, Error, Key, REQUESTS_AT_ONCE, Registry, StoreError, now_millis};

/// Attempts to get a number.
///
/// Other processes that write at the same moment may take some.
const TRIES: usize = 100;

/// An action that somebody is about to do.
///
/// ```
/// use std::sync::Arc;
///
/// use registry::{AuditOutcome, Deed, MemoryStore, Registry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new(Arc::new(MemoryStore::default()));
/// let deed = Deed {
///     actor: "anna".to_owned(),
///     key: None,
///     action: "roll_back".to_owned(),
///     subject: None,
///     reason: Some("too many false alarms".to_owned()),
///     request_id: None,
/// };
/// // The entry is written before the action, the outcome after it.
/// let number = registry.audit(&deed).await?;
/// let outcome = AuditOutcome { outcome: "done".to_owned(), detail: "generation 3".to_owned() };
/// registry.audit_outcome(number, &outcome).await?;
///
/// let trail = registry.audit_trail(None, 10).await?;
/// assert_eq!((trail[0].entry.sequence, &trail[0].entry.deed), (1, &deed));
/// assert_eq!(trail[0].outcome, Some(outcome));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// Who does it.
    pub actor: String,
    /// The id of the API key, if one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The action: `promote`, `roll_back`, `train`, `approve`, ...
    pub action: String,
    /// What the action concerns: a version, a workflow's id, a key's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The reason that the actor gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The id of the request, as in the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// An entry of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number: from 1, without gaps.
    pub sequence: u64,
    /// When it was requested: milliseconds since 1970, UTC, by the writer's clock.
    ///
    /// Order is by sequence.
    pub at: i64,
    /// The action.
    #[serde(flatten)]
    pub deed: Deed,
    /// Digest of the entry before this one; none for the first.
    pub previous_entry: Option<Digest>,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditOutcome {
    /// `done`, `started`, `refused`, or `unknown` if nothing answered.
    pub outcome: String,
    /// The workflow and run, or the reason for the refusal.
    pub detail: String,
}

/// An entry and its outcome, if that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// The entry.
    pub entry: AuditEntry,
    /// The outcome.
    pub outcome: Option<AuditOutcome>,
}

impl Registry {
    /// Writes an entry and returns its number.
    ///
    /// Entries of one process are written one after the other.
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
                // It is ours if the reply of an earlier try was lost; else another process was first.
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
        let reason = format!("other writers took {TRIES} numbers in a row");
        let name = Key::AUDIT.to_owned();
        Err(StoreError { operation: "write", name, reason, is_transient: true, source: None }.into())
    }

    /// Stores how an action ended. Only the first outcome counts.
    pub async fn audit_outcome(&self, sequence: u64, outcome: &AuditOutcome) -> Result<(), Error> {
        self.create_json(Key::AuditOutcome(sequence), outcome).await?;
        Ok(())
    }

    /// At most `limit` entries, newest first; with `before`, only those before that number.
    ///
    /// A missing or unreadable entry is listed with the outcome `corrupt`.
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
