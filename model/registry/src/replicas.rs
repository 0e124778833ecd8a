//! Who serves what: every replica of the service reports the generation that it serves, as an object.
//!
//! A replica that moves on deletes its report of the generation before, and one that stops deletes its last. So after a
//! promotion those are waited for who served the generation before and do not serve the new one yet; a replica that died
//! is missed once, and never again.

use std::collections::BTreeSet;

use bytes::Bytes;
use model::{Digest, Generation};

use crate::{Error, Key, Registry};

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
    /// Those that served the generation before and do not serve this one.
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

    /// Who serves a generation, and who still serves the one before.
    pub async fn serving(&self, generation: Generation) -> Result<Serving, Error> {
        // The older first: whoever moves on meanwhile is seen in the newer.
        let before = self.replicas(Generation(generation.0.saturating_sub(1))).await?;
        let reported = self.replicas(generation).await?;
        let missing = before.difference(&reported).cloned().collect();
        Ok(Serving { missing, reported: reported.into_iter().collect() })
    }

    async fn replicas(&self, generation: Generation) -> Result<BTreeSet<String>, Error> {
        let prefix = Key::reports(generation);
        let names = self.store.list(&prefix).await?;
        Ok(names.iter().filter_map(|name| Some(name.strip_prefix(&prefix)?.to_owned())).collect())
    }
}
