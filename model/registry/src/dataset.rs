//! Datasets: content-addressed, immutable, in compressed shards, with the report of what was set aside.

use std::collections::BTreeSet;

use model::{
    Digest, Row,
    corpus::{self, Format, Parsed, Quarantined},
    version::Digester,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Key, Registry};

/// Rows of a shard: some MB of text, so a shard is one object and one unit of work.
const SHARD_ROWS: usize = 20_000;
/// Rows of the quarantine report; the count is always whole.
const REPORTED_ROWS: usize = 1_000;
/// zstd's default: fast, and text shrinks to a third.
const COMPRESSION_LEVEL: i32 = 3;

/// What a dataset holds and where it came from. Written once, after its shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetManifest {
    /// SHA-256 of the rows as JSON lines: the dataset's name.
    pub digest: Digest,
    /// The file it was read from.
    pub source: Source,
    /// Usable sentences.
    pub sentences: u64,
    /// Threats among them.
    pub threats: u64,
    /// Comments.
    pub comments: u64,
    /// Commenters.
    pub commenters: u64,
    /// Malformed rows set aside.
    pub quarantined: u64,
    /// The first of them, by line, with the reason.
    pub quarantine: Vec<Quarantined>,
    /// The rows, in order.
    pub shards: Vec<Shard>,
}

/// A file that a dataset was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file's name, without folders.
    pub name: String,
    /// How it was read.
    pub format: Format,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its length.
    pub bytes: u64,
}

/// A piece of a dataset: rows as JSON lines, zstd-compressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// From 0.
    pub number: u32,
    /// Rows in it.
    pub rows: u64,
    /// SHA-256 of the uncompressed lines.
    pub sha256: Digest,
}

/// When a dataset was imported: "the newest imported dataset" is the last of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRecord {
    /// What was imported.
    pub dataset: Digest,
    /// Milliseconds since 1970, UTC.
    pub at: i64,
}

impl Registry {
    /// Stores a file's rows. The same rows make the same dataset, whatever the file's format.
    ///
    /// Malformed rows are set aside and reported in the manifest; too many of them, or too few threats, and the file is
    /// refused. Importing again changes nothing.
    pub async fn put_dataset(&self, name: &str, bytes: &[u8]) -> Result<DatasetManifest, Error> {
        let format = Format::guess(name, bytes);
        let Parsed { rows, quarantined } = corpus::parse(format, bytes)?;
        corpus::require_trainable(&rows)?;

        let mut whole = Digester::default();
        let mut lines = Vec::new();
        for rows in rows.chunks(SHARD_ROWS) {
            let text = json_lines(rows);
            whole.update(&text);
            lines.push((rows.len() as u64, text));
        }
        let digest = whole.finish();
        let mut shards = Vec::new();
        for (number, (rows, text)) in (0..).zip(lines) {
            let sha256 = Digest::of(&text);
            let body = zstd::bulk::compress(&text, COMPRESSION_LEVEL).expect("compression in memory");
            self.store.create(&Key::Shard(&digest, number).path(), body.into()).await?;
            shards.push(Shard { number, rows, sha256 });
        }
        let manifest = DatasetManifest {
            source: Source { name: name.to_owned(), format, sha256: Digest::of(bytes), bytes: bytes.len() as u64 },
            sentences: rows.len() as u64,
            threats: rows.iter().filter(|row| row.is_threat()).count() as u64,
            comments: rows.iter().map(|row| row.comment).collect::<BTreeSet<_>>().len() as u64,
            commenters: rows.iter().map(|row| row.commenter.as_str()).collect::<BTreeSet<_>>().len() as u64,
            quarantined: quarantined.len() as u64,
            quarantine: quarantined.into_iter().take(REPORTED_ROWS).collect(),
            shards,
            digest: digest.clone(),
        };
        self.create_json(Key::Dataset(&digest), &manifest).await?;
        self.dataset(&digest).await
    }

    /// Stores a file's rows and makes them the newest import. `now` is in milliseconds since 1970, UTC.
    pub async fn import_dataset(&self, name: &str, bytes: &[u8], now: i64) -> Result<DatasetManifest, Error> {
        let manifest = self.put_dataset(name, bytes).await?;
        let record = ImportRecord { dataset: manifest.digest.clone(), at: now };
        self.create_json(Key::Import(now, &manifest.digest), &record).await?;
        Ok(manifest)
    }

    /// The newest imported dataset.
    pub async fn newest_import(&self) -> Result<Option<DatasetManifest>, Error> {
        let Some(path) = self.store.list(Key::IMPORTS).await?.pop() else { return Ok(None) };
        let corrupt = |reason: &str| Error::Corrupt { path: path.clone(), reason: reason.to_owned() };
        let bytes = self.store.get(&path).await?.ok_or_else(|| corrupt("it is listed and cannot be read"))?;
        let record: ImportRecord = serde_json::from_slice(&bytes).map_err(|_| corrupt("it is not an import record"))?;
        Ok(Some(self.dataset(&record.dataset).await?))
    }

    /// A dataset's manifest.
    pub async fn dataset(&self, digest: &Digest) -> Result<DatasetManifest, Error> {
        let key = Key::Dataset(digest);
        let found = self.read_json::<DatasetManifest>(key).await?;
        let (manifest, _) = found.ok_or_else(|| Error::NotFound { what: key.what(), path: key.path() })?;
        if manifest.digest == *digest { Ok(manifest) } else { Err(key.corrupt("it names another dataset")) }
    }

    /// A dataset's rows, each shard checked against its digest.
    pub async fn rows(&self, manifest: &DatasetManifest) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::with_capacity(manifest.sentences as usize);
        for shard in &manifest.shards {
            let key = Key::Shard(&manifest.digest, shard.number);
            let body = self.require(key).await?;
            let expected = shard.sha256.clone();
            // Some hundred milliseconds of work a shard: not on a thread that others wait for.
            let decoded = tokio::task::spawn_blocking(move || decode(&body, &expected)).await;
            let decoded = decoded.unwrap_or(Err("reading it panicked"));
            rows.extend(decoded.map_err(|reason| key.corrupt(reason))?);
        }
        Ok(rows)
    }
}

/// The rows of a shard's bytes.
fn decode(body: &[u8], expected: &Digest) -> Result<Vec<Row>, &'static str> {
    let text = zstd::stream::decode_all(body).map_err(|_| "it cannot be decompressed")?;
    if Digest::of(&text) != *expected {
        return Err("its rows do not have the digest in the manifest");
    }
    let lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|_| "a line of it is not a row")).collect()
}

fn json_lines(rows: &[Row]) -> Vec<u8> {
    let mut text = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut text, row).expect("a row is plain data");
        text.push(b'\n');
    }
    text
}
