//! Which replica serves which generation: every replica reports its generation as an object.
//!
//! A replica that switches to a new generation deletes its old report; a replica that stops deletes its last one. Every
//! minute a replica writes its report again. After a promotion the replicas with a fresh report of an older generation
//! are waited for: they are alive and do not serve the new generation yet. A dead replica counts as alive for three
//! minutes.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use model::{Digest, Generation};

use crate::{Error, Key, Registry};

/// How often a replica writes its report again.
pub const RENEW: Duration = Duration::from_mins(1);
/// A replica is dead if its report is this much older than the newest. Milliseconds.
const ALIVE: i64 = 3 * RENEW.as_millis() as i64;

/// The name of a replica: letters, digits, `-` and `.`, at most 80.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaId(String);

impl ReplicaId {
    /// A new name for a replica on a host: the host and a random part.
    #[must_use]
    pub fn new(host: &str) -> Self {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let host: String = host.chars().filter(is_plain).take(60).collect();
        let nonce: [u8; 16] = rand::random();
        Self(format!("{}-{}", if host.is_empty() { "replica" } else { &host }, Digest::of(&nonce).short()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which replicas serve a generation.
///
/// ```
/// use std::sync::Arc;
///
/// use model::Generation;
/// use registry::{MemoryStore, Registry, ReplicaId};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new(Arc::new(MemoryStore::default()));
/// let [quick, slow] = [ReplicaId::new("api-1"), ReplicaId::new("api-2")];
/// for replica in [&quick, &slow] {
///     registry.report_serving(replica, Generation(1), None).await?;
/// }
/// // After a promotion one replica serves generation 2 already.
/// registry.report_serving(&quick, Generation(2), Some(Generation(1))).await?;
/// let serving = registry.serving(Generation(2)).await?;
/// assert_eq!(serving.reported, [quick.as_str()]);
/// assert_eq!(serving.missing, [slow.as_str()]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Replicas that serve it, or a later one.
    pub reported: Vec<String>,
    /// Replicas that are alive and serve an older one.
    pub missing: Vec<String>,
}

impl Registry {
    /// Reports that a replica serves a generation, and not `before` any more.
    ///
    /// A repetition changes nothing.
    pub async fn report_serving(
        &self,
        replica: &ReplicaId,
        generation: Generation,
        before: Option<Generation>,
    ) -> Result<(), Error> {
        self.store.create(&Key::Report(generation, replica.as_str()).path(), Bytes::new()).await?;
        match before {
            Some(before) if before != generation => self.forget_replica(replica, before).await,
            _ => Ok(()),
        }
    }

    /// Deletes a replica's report of a generation.
    pub async fn forget_replica(&self, replica: &ReplicaId, generation: Generation) -> Result<(), Error> {
        Ok(self.store.delete(&Key::Report(generation, replica.as_str()).path()).await?)
    }

    /// Writes a replica's report again, so that the replica counts as alive.
    pub async fn renew_report(&self, replica: &ReplicaId, generation: Generation) -> Result<(), Error> {
        self.forget_replica(replica, generation).await?;
        self.report_serving(replica, generation, None).await
    }

    /// The replicas that serve a generation or a later one, and those that do not yet.
    pub async fn serving(&self, generation: Generation) -> Result<Serving, Error> {
        let mut newest: BTreeMap<String, (Generation, i64)> = BTreeMap::new();
        let entries = self.store.entries(Key::REPORTS).await?;
        // All times are by the store's clock.
        let now = entries.iter().map(|entry| entry.written).max().unwrap_or_default();
        for entry in entries {
            let Some((of, replica)) = Key::report_of(&entry.name) else { continue };
            let known = newest.entry(replica.to_owned()).or_insert((of, entry.written));
            *known = (*known).max((of, entry.written));
        }
        let mut found = Serving::default();
        for (replica, (of, written)) in newest {
            if of >= generation {
                found.reported.push(replica);
            } else if now - written < ALIVE {
                found.missing.push(replica);
            }
        }
        Ok(found)
    }
}
