//! Tells an object that the store cannot read from a store that does not answer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use model::Digest;

use crate::{Created, Error, Key, Registry, StoreError};

/// Further reads that must fail while the store reads other objects between them.
const READS: u32 = 3;
/// A read that lasts this long gets bytes, only slowly: the object need not be broken.
///
/// A read that stalls ends sooner.
const SLOW: Duration = Duration::from_secs(10);

impl Registry {
    /// An object's bytes. [`Error::Corrupt`] if the store repeatedly reads other objects, but never this one.
    ///
    /// Stores check their disks. If a byte is wrong, one store answers 500, another cuts its answer short, a third
    /// stops sending: each looks like an outage. Waiting for its end would make promotions and rollbacks wait, too. A
    /// store of several machines looks the same if the only machine with this object is down.
    pub(crate) async fn read_or_condemn(&self, path: &str) -> Result<Option<Bytes>, Error> {
        let mut error = match self.store.get(path).await {
            Err(error) if error.is_transient => error,
            read => return Ok(read?),
        };
        for _ in 0..READS {
            if !self.reads_others().await {
                return Err(error.into());
            }
            let started = Instant::now();
            match self.store.get_at_once(path).await {
                Err(again) if again.is_transient && started.elapsed() < SLOW => error = again,
                read => return Ok(read?),
            }
        }
        if !self.reads_others().await {
            return Err(error.into());
        }
        let reason = format!("the store reads other objects, but not this one: {}", error.reason);
        Err(Error::Corrupt { path: path.to_owned(), reason })
    }

    /// Whether the store takes a small object and returns it, by one read.
    async fn reads_others(&self) -> bool {
        let nonce = Digest::of(&rand::random::<[u8; 16]>());
        let (name, body) = (format!("{}{}-read", Key::PROBES, nonce.short()), Bytes::from(nonce.to_string()));
        let read = async {
            // After a lost reply the repeated write finds its own object.
            let (Created::New | Created::Exists) = self.store.create(&name, body.clone()).await?;
            let read = self.store.get_at_once(&name).await? == Some(body);
            // If this fails, retention deletes the object a day later.
            let _ = self.store.delete_at_once(&name).await;
            Ok::<_, StoreError>(read)
        };
        read.await.unwrap_or(false)
    }
}
