//! Does the store keep the promises that promotion rests on?

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use model::Digest;

use crate::{Created, Error, Key, Registry};

const WRITERS: usize = 8;
/// Races until one has a winner.
const RACES: usize = 3;
/// An objection holds this long before the store is asked again: it may have been mended, or slow.
const HOLDS: Duration = Duration::from_mins(5);

/// What a race showed.
enum Flaw {
    /// No writer was told that it had won.
    NobodyWon,
    /// The promise is broken; in words.
    Broken(String),
}

impl Registry {
    /// Races eight writers on one new object and offers a body under a wrong checksum: the store is fit for promotion if
    /// exactly one wins, its bytes stay, and the wrong body is refused.
    ///
    /// Answers why it is not, if so. Cleans up behind it.
    pub async fn probe(&self) -> Result<Option<String>, Error> {
        let mut verdict = None;
        for _ in 0..RACES {
            let nonce: [u8; 16] = rand::random();
            let name = format!("{}{}", Key::PROBES, Digest::of(&nonce).short());
            let raced = self.race(&name, nonce).await;
            // What stays behind is pruned in a day.
            let _ = self.store.delete(&name).await;
            verdict = raced?;
            match &verdict {
                None => break,
                // The winner's reply may have been lost, and its repetition told that the object exists: race again.
                Some(Flaw::NobodyWon) => {}
                Some(Flaw::Broken(reason)) => return Ok(Some(reason.clone())),
            }
        }
        if verdict.is_some() {
            return Ok(Some(format!("in {RACES} races none of {WRITERS} writers was told that it had won")));
        }
        let broken = format!("{}{}-broken", Key::PROBES, Digest::of(&rand::random::<[u8; 16]>()).short());
        if self.store.refuses_a_wrong_checksum(&broken).await? {
            return Ok(None);
        }
        let _ = self.store.delete(&broken).await;
        Ok(Some("it accepted a body that does not have the checksum sent with it".to_owned()))
    }

    async fn race(&self, name: &str, nonce: [u8; 16]) -> Result<Option<Flaw>, Error> {
        let body = |writer: usize| Bytes::from(format!("{writer} {}", hex::encode(nonce)));
        let results = join_all((0..WRITERS).map(|writer| self.store.create(name, body(writer)))).await;
        let mut winners = Vec::new();
        for (writer, result) in results.into_iter().enumerate() {
            if result? == Created::New {
                winners.push(writer);
            }
        }
        let winner = match winners[..] {
            [winner] => winner,
            [] => return Ok(Some(Flaw::NobodyWon)),
            _ => {
                return Ok(Some(Flaw::Broken(format!(
                    "{} of {WRITERS} racing writers were told that they created the same object: it ignores If-None-Match",
                    winners.len()
                ))));
            }
        };
        if self.store.get(name).await? == Some(body(winner)) {
            Ok(None)
        } else {
            Ok(Some(Flaw::Broken("it returned other bytes than the winning writer's".to_owned())))
        }
    }
}

/// A registry that promotes only on a store that passed the probe.
///
/// That it passed is kept for good, an objection for five minutes, a failure to ask not at all.
#[derive(Clone, Debug)]
pub struct Trust {
    registry: Registry,
    verdict: Arc<Mutex<Option<Verdict>>>,
}

/// When the store was asked, and its flaw, if it has one.
type Verdict = (Instant, Option<String>);

impl Trust {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, verdict: Arc::default() }
    }

    /// Why the store is not fit for promotion, if so; probes it unless that is known.
    pub async fn objection(&self) -> Result<Option<String>, Error> {
        let known = self.verdict.lock().expect("no holder panics").clone();
        match known {
            Some((_, None)) => Ok(None),
            Some((asked, objection)) if asked.elapsed() < HOLDS => Ok(objection),
            _ => {
                let objection = self.registry.probe().await?;
                *self.verdict.lock().expect("no holder panics") = Some((Instant::now(), objection.clone()));
                Ok(objection)
            }
        }
    }

    /// The objection, if the store was asked already.
    #[must_use]
    pub fn known_objection(&self) -> Option<String> {
        self.verdict.lock().expect("no holder panics").as_ref()?.1.clone()
    }

    /// Refuses a store that is not fit for promotion.
    pub async fn require(&self) -> Result<(), Error> {
        match self.objection().await? {
            None => Ok(()),
            Some(reason) => Err(Error::Unsafe(reason)),
        }
    }
}
