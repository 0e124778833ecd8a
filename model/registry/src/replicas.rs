//! Who serves what: every replica of the service reports the generation that it serves, as an object.
//!
//! A replica that moves on deletes its report of the generation before, and one that stops deletes its last. Every minute
//! a replica writes its report anew. So after a promotion those are waited for whose newest report is of an older
//! generation and is fresh: they live and do not serve the new one yet. A replica that died is missed for three minutes.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use model::{Digest, Generation};

use crate::{Error, Key, Registry};

/// How often a replica writes its report anew.
pub const RENEW: Duration = Duration::from_mins(1);
/// A report that is older than the newest by this, in milliseconds, is of a replica that died.
const ALIVE: i64 = 3 * RENEW.as_millis() as i64;

/// The name of a replica: letters, digits, `-` and `.`, at most 80.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaId(String);

impl ReplicaId {
    /// A name of a new replica on a host.
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Those that do.
    pub reported: Vec<String>,
    /// Those that live and serve an older one.
    pub missing: Vec<String>,
}

impl Registry {
    /// Says that a replica serves a generation, and no more the one before. Saying it again changes nothing.
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

    /// Says that a replica serves a generation no more.
    pub async fn forget_replica(&self, replica: &ReplicaId, generation: Generation) -> Result<(), Error> {
        Ok(self.store.delete(&Key::Report(generation, replica.as_str()).path()).await?)
    }

    /// Writes a replica's report anew, so that it counts as alive.
    pub async fn renew_report(&self, replica: &ReplicaId, generation: Generation) -> Result<(), Error> {
        self.forget_replica(replica, generation).await?;
        self.report_serving(replica, generation, None).await
    }

    /// Who serves a generation or a later one, and who lives and serves an older one.
    pub async fn serving(&self, generation: Generation) -> Result<Serving, Error> {
        let mut newest: BTreeMap<String, (Generation, i64)> = BTreeMap::new();
        let entries = self.store.entries(Key::REPORTS).await?;
        // By the store's clock alone: nobody else's matters.
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
