//! Does the store keep the one promise that promotion rests on?

use bytes::Bytes;
use futures_util::future::join_all;
use model::Digest;

use crate::{Created, Error, Registry};

const WRITERS: usize = 8;

impl Registry {
    /// Races eight writers on one new object; the store is fit for promotion if exactly one wins and its bytes stay.
    ///
    /// Answers why it is not, if so. Leaves one small object under `probe/`.
    pub async fn probe(&self) -> Result<Option<String>, Error> {
        let nonce: [u8; 16] = rand::random();
        let name = format!("probe/{}", Digest::of(&nonce).short());
        let body = |writer: usize| Bytes::from(format!("{writer} {}", hex::encode(nonce)));
        let results = join_all((0..WRITERS).map(|writer| self.store.create(&name, body(writer)))).await;
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
        if self.store.get(&name).await? == Some(body(winner)) {
            Ok(None)
        } else {
            Ok(Some("it returned other bytes than the winning writer's".to_owned()))
        }
    }
}
