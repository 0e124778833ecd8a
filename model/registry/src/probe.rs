//! Does the store keep the promises that promotion rests on?

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use model::Digest;
use tokio::sync::OnceCell;

use crate::{Created, Error, Key, Registry};

const WRITERS: usize = 8;

impl Registry {
    /// Races eight writers on one new object and offers a body under a wrong checksum: the store is fit for promotion if
    /// exactly one wins, its bytes stay, and the wrong body is refused.
    ///
    /// Answers why it is not, if so. Cleans up behind it.
    pub async fn probe(&self) -> Result<Option<String>, Error> {
        let nonce: [u8; 16] = rand::random();
        let name = format!("{}{}", Key::PROBES, Digest::of(&nonce).short());
        let verdict = self.race(&name, nonce).await;
        self.store.delete(&name).await?;
        let broken = format!("{name}-broken");
        if let Some(reason) = verdict? {
            return Ok(Some(reason));
        }
        if self.store.refuses_a_wrong_checksum(&broken).await? {
            return Ok(None);
        }
        self.store.delete(&broken).await?;
        Ok(Some("it accepted a body that does not have the checksum sent with it".to_owned()))
    }

    async fn race(&self, name: &str, nonce: [u8; 16]) -> Result<Option<String>, Error> {
        let body = |writer: usize| Bytes::from(format!("{writer} {}", hex::encode(nonce)));
        let results = join_all((0..WRITERS).map(|writer| self.store.create(name, body(writer)))).await;
        let mut winners = Vec::new();
        for (writer, result) in results.into_iter().enumerate() {
            if result? == Created::New {
                winners.push(writer);
            }
        }
        let [winner] = winners[..] else {
            return Ok(Some(format!(
                "{} of {WRITERS} racing writers were told that they created the same object: it ignores If-None-Match",
                winners.len()
            )));
        };
        if self.store.get(name).await? == Some(body(winner)) {
            Ok(None)
        } else {
            Ok(Some("it returned other bytes than the winning writer's".to_owned()))
        }
    }
}

/// A registry that promotes only on a store that passed the probe; the verdict is kept, a failure to ask is not.
#[derive(Clone, Debug)]
pub struct Trust {
    registry: Registry,
    verdict: Arc<OnceCell<Option<String>>>,
}

impl Trust {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, verdict: Arc::default() }
    }

    /// Why the store is not fit for promotion, if so; probes it once.
    pub async fn objection(&self) -> Result<Option<String>, Error> {
        Ok(self.verdict.get_or_try_init(|| self.registry.probe()).await?.clone())
    }

    /// The objection, if the store was asked already.
    #[must_use]
    pub fn known_objection(&self) -> Option<String> {
        self.verdict.get().cloned().flatten()
    }

    /// Refuses a store that is not fit for promotion.
    pub async fn require(&self) -> Result<(), Error> {
        match self.objection().await? {
            None => Ok(()),
            Some(reason) => Err(Error::Unsafe(reason)),
        }
    }
}
