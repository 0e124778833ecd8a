//! Writes, reads and checks the shards of a dataset.

use std::ops::Range;

use futures_util::StreamExt;
use model::{Digest, Row, version::Digester};

use super::{DatasetManifest, Shard};
use crate::{Error, Key, Registry, blocking, compression::decompress};

/// Rows of a shard: some MB of text.
///
/// A shard is one object and one unit of work.
pub(super) const SHARD_ROWS: usize = 20_000;
/// Shards that are fetched and decoded while another one is processed.
const SHARDS_AT_ONCE: usize = 3;
/// zstd's default level: fast, and text shrinks to a third.
pub(super) const COMPRESSION_LEVEL: i32 = 3;

impl Registry {
    pub(super) async fn put_shard(&self, dataset: &Digest, number: u32, text: ShardText) -> Result<(), Error> {
        let body = blocking(move || zstd::bulk::compress(&text.lines, COMPRESSION_LEVEL)).await?;
        let body = body.expect("compression in memory");
        self.store.create(&Key::Shard(dataset, number).path(), body.into()).await?;
        Ok(())
    }

    /// A dataset's rows, each shard checked against its digest.
    pub async fn rows(&self, manifest: &DatasetManifest) -> Result<Vec<Row>, Error> {
        self.fold_rows(manifest, 0..manifest.shards.len(), Vec::new(), Extend::extend).await
    }

    /// Calls `each` with the rows of each shard, in order. Returns what it gathered.
    ///
    /// A few shards are in memory at a time. Each is checked against its digest. `each` runs on another thread.
    pub async fn fold_rows<T: Send + 'static>(
        &self,
        manifest: &DatasetManifest,
        shards: Range<usize>,
        mut gathered: T,
        each: impl Fn(&mut T, Vec<Row>) + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let shards = manifest.shards.get(shards).ok_or(Error::Changed)?;
        let read = |shard: &Shard| {
            let (registry, dataset, shard) = (self.clone(), manifest.digest.clone(), shard.clone());
            async move {
                let key = Key::Shard(&dataset, shard.number);
                let body = registry.require(key).await?;
                let decoded = blocking(move || decode(&body, &shard.sha256)).await?;
                decoded.map_err(|reason| key.corrupt(reason))
            }
        };
        let mut reads = futures_util::stream::iter(shards).map(read).buffered(SHARDS_AT_ONCE);
        while let Some(rows) = reads.next().await {
            let (rows, each) = (rows?, each.clone());
            gathered = blocking(move || {
                each(&mut gathered, rows);
                gathered
            })
            .await?;
        }
        Ok(gathered)
    }
}

/// A shard's rows as JSON lines.
pub(super) struct ShardText {
    pub(super) lines: Vec<u8>,
}

pub(super) fn write_line(lines: &mut Vec<u8>, row: &Row) {
    serde_json::to_writer(&mut *lines, row).expect("a row is plain data");
    lines.push(b'\n');
}

/// The digest that names a dataset of these rows, in this order.
#[must_use]
pub fn dataset_digest(rows: &[Row]) -> Digest {
    let (mut digester, mut line) = (Digester::default(), Vec::new());
    for row in rows {
        line.clear();
        write_line(&mut line, row);
        digester.update(&line);
    }
    digester.finish()
}

/// Decodes the rows of a shard.
fn decode(body: &[u8], expected: &Digest) -> Result<Vec<Row>, &'static str> {
    let text = decompress(body)?;
    if Digest::of(&text) != *expected {
        return Err("the digest of its rows is not the one in the manifest");
    }
    parse_lines(&text)
}

pub(super) fn parse_lines(text: &[u8]) -> Result<Vec<Row>, &'static str> {
    let lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|_| "one of its lines is not a row")).collect()
}
