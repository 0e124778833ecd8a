//! From a file into a bucket.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{StreamExt, TryStreamExt, stream};
use model::Digest;
use tokio::sync::mpsc;

use super::{
    Contents, Error, checked,
    copy::{BATCH, BATCH_BYTES, batches},
    file::{Item, Visit, of_hex, walk},
    kind::{Kind, Place},
    references::{Object, References},
};
use crate::{Created, Entry, Open, REQUESTS_AT_ONCE, Registry, Verification, blocking};

const NOT_IN_IT: &str = "which is not in the backup";
const ANOTHER: &str = "which differs from the one in the backup";

/// A bucket that was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The content of the backup, which is now in the bucket.
    pub contents: Contents,
    /// Objects that were there before, from an interrupted restore.
    pub already: u64,
    /// The result of the check of the restored history and versions.
    pub verification: Verification,
}

impl Registry {
    /// Writes a backup into the bucket, after a check of the whole file and the whole bucket; see the module.
    pub async fn restore(&self, file: impl Open + 'static) -> Result<Restored, Error> {
        let file: Arc<dyn Open> = Arc::new(file);
        let (about, check) = {
            let file = Arc::clone(&file);
            blocking(move || checked(file.open().map_err(Error::File)?)).await??
        };
        let references = Arc::new(check.references);
        let present = self.present(&references).await?;
        let contents = Contents::of(about.clone(), &references);
        let already = present.len() as u64;
        let (batches, mut queue) = mpsc::channel(1);
        let reading = tokio::task::spawn_blocking(move || {
            let mut again = Again { references, present, batch: Vec::new(), bytes: 0, batches };
            let same = walk(file.open().map_err(Error::File)?, &mut again)?;
            again.flush()?;
            if same == about { Ok(()) } else { Err(Error::Changed) }
        });
        while let Some(batch) = queue.recv().await {
            self.write(batch).await?;
        }
        reading.await.map_err(|_| crate::Error::Panicked)??;
        Ok(Restored { contents, already, verification: self.verify().await? })
    }

    /// The objects of the backup that are in the bucket. Any other object is an error that names it.
    async fn present(&self, references: &References) -> Result<BTreeSet<String>, Error> {
        let mut there = Vec::new();
        for Entry { name, bytes, .. } in self.store.entries("").await? {
            match references.objects().get(name.as_str()) {
                _ if Place::at(&name) == Place::Moment => {}
                None => return Err(Error::Foreign { object: name, why: NOT_IN_IT }),
                Some(object) if object.bytes != bytes => return Err(Error::Foreign { object: name, why: ANOTHER }),
                Some(object) => there.push((name, object.clone())),
            }
        }
        let mut present = BTreeSet::new();
        for batch in batches(there, |(_, object)| object.bytes) {
            let compare = |(name, object): (String, Object)| async move {
                let bytes = self.store.get(&name).await?;
                let is_same = blocking(move || bytes.map(|bytes| of_hex(&Digest::of(&bytes)) == object.sha256)).await?;
                match is_same {
                    Some(false) => Err(Error::Foreign { object: name, why: ANOTHER }),
                    Some(true) => Ok(Some(name)),
                    None => Ok(None),
                }
            };
            let found: Vec<Option<String>> =
                stream::iter(batch).map(compare).buffered(REQUESTS_AT_ONCE).try_collect().await?;
            present.extend(found.into_iter().flatten());
        }
        Ok(present)
    }

    /// Writes objects of one kind, and returns when all of them are written.
    async fn write(&self, batch: Vec<Item>) -> Result<(), Error> {
        let at_once = if batch.first().is_some_and(|item| item.kind.is_chain()) { 1 } else { REQUESTS_AT_ONCE };
        let write = |Item { name, bytes, .. }: Item| async move {
            // If it is there already, the reply of an earlier try was lost, or another program writes here.
            if self.store.create(&name, bytes.clone()).await? == Created::Exists
                && self.store.get(&name).await?.is_none_or(|there| there != bytes)
            {
                return Err(Error::Foreign { object: name, why: ANOTHER });
            }
            Ok(())
        };
        stream::iter(batch).map(write).buffered(at_once).try_collect().await
    }
}

/// Reads the file again, and passes it on in batches of one kind.
struct Again {
    references: Arc<References>,
    present: BTreeSet<String>,
    batch: Vec<Item>,
    bytes: u64,
    batches: mpsc::Sender<Vec<Item>>,
}

impl Again {
    fn require_same(&self, name: &str, object: &Object) -> Result<(), Error> {
        if self.references.objects().get(name) == Some(object) { Ok(()) } else { Err(Error::Changed) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        // If the writer has ended, its own error is reported.
        if batch.is_empty() { Ok(()) } else { self.batches.blocking_send(batch).map_err(|_| Error::Changed) }
    }
}

impl Visit for Again {
    fn wants(&self, _: Kind, name: &str) -> bool {
        !self.present.contains(name)
    }

    fn whole(&mut self, item: Item, sha256: [u8; 32]) -> Result<(), Error> {
        let bytes = item.bytes.len() as u64;
        self.require_same(&item.name, &Object { bytes, sha256 })?;
        let is_full = self.batch.len() == BATCH || self.bytes + bytes > BATCH_BYTES;
        if is_full || self.batch.first().is_some_and(|first| first.kind != item.kind) {
            self.flush()?;
        }
        self.bytes += bytes;
        self.batch.push(item);
        Ok(())
    }

    fn digested(&mut self, _: Kind, name: String, object: Object) -> Result<(), Error> {
        self.require_same(&name, &object)
    }

    fn line(&mut self, name: &str, object: &Object) -> Result<(), Error> {
        self.require_same(name, object)
    }
}
