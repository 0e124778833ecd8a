//! An object that its store has and cannot read, told from a store that is away.

use std::time::{Duration, Instant};

use bytes::Bytes;
use model::Digest;

use crate::{Created, Error, Key, Registry, StoreError};

/// Single reads that must fail, too, while the store reads others between them.
const READS: u32 = 3;
/// A read that goes on for so long gets bytes, only slowly: no sign that the object is broken. One that stalls ends sooner.
const SLOW: Duration = Duration::from_secs(10);

impl Registry {
    /// An object's bytes. [`Error::Corrupt`] if the store reads other objects again and again, and never this one.
    ///
    /// Stores check what is on their disks. On a wrong byte one answers 500, the next cuts its answer short, a third says
    /// nothing more: each looks like an outage. Waiting for it would keep promotions and rollbacks waiting, too. Of a
    /// store of several machines one that is away, with this object alone, looks the same.
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
        let reason = format!("the store cannot read it, and reads others: {}", error.reason);
        Err(Error::Corrupt { path: path.to_owned(), reason })
    }

    /// Whether the store takes a small object and gives it back, by one read.
    async fn reads_others(&self) -> bool {
        let nonce = Digest::of(&rand::random::<[u8; 16]>());
        let (name, body) = (format!("{}{}-read", Key::PROBES, nonce.short()), Bytes::from(nonce.to_string()));
        let read = async {
            // A lost reply makes the repetition find its own object.
            let (Created::New | Created::Exists) = self.store.create(&name, body.clone()).await?;
            let read = self.store.get_at_once(&name).await? == Some(body);
            // What stays behind is pruned in a day.
            let _ = self.store.delete_at_once(&name).await;
            Ok::<_, StoreError>(read)
        };
        read.await.unwrap_or(false)
    }
}
