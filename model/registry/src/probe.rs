//! The probe: does the store keep the promises that promotions need?

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use model::Digest;

use crate::{Created, Error, Key, Registry};

const WRITERS: usize = 8;
/// At most this many races, until one has a winner.
const RACES: usize = 3;
/// An objection is kept this long. Then the store is probed again.
const HOLDS: Duration = Duration::from_mins(5);

/// What is wrong with a store, as a race shows it.
enum Flaw {
    /// No writer got the answer that it created the object.
    NobodyWon,
    /// The promise is broken; the text says how.
    Broken(String),
}

impl Registry {
    /// Checks that promotions are safe on the store. If they are not, returns the reason.
    ///
    /// It races eight writers on one new object and sends a body with a wrong checksum. Exactly one writer must win,
    /// its bytes must stay, and the wrong body must be refused. The probe deletes its objects.
    pub async fn probe(&self) -> Result<Option<String>, Error> {
        let mut verdict = None;
        for _ in 0..RACES {
            let nonce: [u8; 16] = rand::random();
            let name = format!("{}{}", Key::PROBES, Digest::of(&nonce).short());
            let raced = self.race(&name, nonce).await;
            // If this fails, retention deletes the object a day later.
            let _ = self.store.delete(&name).await;
            verdict = raced?;
            match &verdict {
                None => break,
                // The winner's reply may have been lost, and its second try found the object: race again.
                Some(Flaw::NobodyWon) => {}
                Some(Flaw::Broken(reason)) => return Ok(Some(reason.clone())),
            }
        }
        if verdict.is_some() {
            return Ok(Some(format!("in {RACES} races none of {WRITERS} writers was told that it created the object")));
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
                    "{} of {WRITERS} racing writers were told that they created one object: it ignores If-None-Match",
                    winners.len()
                ))));
            }
        };
        if self.store.get(name).await? == Some(body(winner)) {
            Ok(None)
        } else {
            Ok(Some(Flaw::Broken("it returned bytes that the winning writer did not write".to_owned())))
        }
    }
}

/// The verdict of [`Registry::probe`] on a store, remembered.
///
/// A good verdict is kept for the life of the process, an objection for five minutes, a failed probe not at all.
///
/// ```
/// use std::sync::Arc;
///
/// use registry::{Error, MemoryStore, Registry, Trust};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let good = Registry::new(Arc::new(MemoryStore::default()));
/// assert!(Trust::new(good).require().await.is_ok());
///
/// let store = MemoryStore::default();
/// store.keep_wrong_checksums();
/// let refused = Trust::new(Registry::new(Arc::new(store))).require().await;
/// assert!(matches!(refused, Err(Error::Unsafe(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Trust {
    registry: Registry,
    verdict: Arc<Mutex<Option<Verdict>>>,
}

/// When the store was probed, and the objection, if there is one.
type Verdict = (Instant, Option<String>);

impl Trust {
    /// Nothing is probed yet.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, verdict: Arc::default() }
    }

    /// Why promotions are not safe on the store, if they are not.
    ///
    /// Probes it unless the verdict is known.
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

    /// The objection, if the store was probed already.
    #[must_use]
    pub fn known_objection(&self) -> Option<String> {
        self.verdict.lock().expect("no holder panics").as_ref()?.1.clone()
    }

    /// Refuses a store on which promotions are not safe.
    pub async fn require(&self) -> Result<(), Error> {
        match self.objection().await? {
            None => Ok(()),
            Some(reason) => Err(Error::Unsafe(reason)),
        }
    }
}
