//! Objects that are too large for one request, stored in parts.
//!
//! An index has the digests of the parts. It is written last.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt};
use model::Digest;
use serde::{Deserialize, Serialize};

use crate::{Error, Key, Registry};

/// Bytes of a part: a slow network needs a few seconds for it.
const PART: usize = 8 << 20;
/// Parts that are read or written at the same time.
const AT_ONCE: usize = 4;

/// The digests of the parts, in order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Index {
    /// Their digests, in order.
    pub(crate) parts: Vec<Digest>,
}

impl Registry {
    /// Writes the parts, then their index. If the index is there, all parts are there.
    pub(crate) async fn put_large(&self, index: Key<'_>, bytes: Bytes) -> Result<(), Error> {
        let parts: Vec<Bytes> =
            (0..bytes.len()).step_by(PART).map(|at| bytes.slice(at..bytes.len().min(at + PART))).collect();
        let digests: Vec<Digest> = parts.iter().map(|part| Digest::of(part)).collect();
        let path = index.path();
        let writes = (0..).zip(parts).map(|(number, part)| {
            let path = Key::part_of(&path, number);
            async move { self.store.create(&path, part).await.map(|_| ()) }
        });
        futures_util::stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.create_json(index, &Index { parts: digests }).await?;
        Ok(())
    }

    /// The bytes of all parts, checked against their digests; `None` without an index.
    pub(crate) async fn get_large(&self, key: Key<'_>) -> Result<Option<Bytes>, Error> {
        let Some((index, _)) = self.read_json::<Index>(key).await? else { return Ok(None) };
        let path = key.path();
        let reads = (0..).zip(index.parts).map(|(number, digest)| {
            let path = Key::part_of(&path, number);
            async move {
                let found = self.store.get(&path).await?;
                let part = found.ok_or(Error::NotFound { what: key.what(), path: path.clone() })?;
                let is_whole = Digest::of(&part) == digest;
                if is_whole { Ok(part) } else { Err(Error::Corrupt { path, reason: "it was changed".to_owned() }) }
            }
        });
        let parts: Vec<Bytes> = futures_util::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let mut bytes = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
        for part in &parts {
            bytes.extend_from_slice(part);
        }
        Ok(Some(bytes.freeze()))
    }
}
