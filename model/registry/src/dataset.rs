//! Datasets: content-addressed, immutable, in compressed shards, with the report of what was set aside.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    ops::Range,
    path::PathBuf,
    sync::Arc,
};

use futures_util::StreamExt;
use model::{
    Digest, Row,
    corpus::{self, Format, Item, Quarantined, Reader, Tally},
    version::Digester,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Key, Registry};

/// Rows of a shard: some MB of text, so a shard is one object and one unit of work.
const SHARD_ROWS: usize = 20_000;
/// Shards that are fetched and decoded while one is worked on.
const SHARDS_AT_ONCE: usize = 3;
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
    /// The dataset whose commenters these are some of; none for a whole one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_of: Option<Digest>,
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

/// Where a dataset's bytes come from: read twice, since a dataset's name is known only at its end.
pub trait Open: Send + Sync {
    /// Begins to read from the start.
    fn open(&self) -> io::Result<Box<dyn BufRead + Send>>;
}

impl Open for &'static [u8] {
    fn open(&self) -> io::Result<Box<dyn BufRead + Send>> {
        Ok(Box::new(*self))
    }
}

impl Open for Vec<u8> {
    fn open(&self) -> io::Result<Box<dyn BufRead + Send>> {
        Ok(Box::new(io::Cursor::new(self.clone())))
    }
}

impl Open for PathBuf {
    fn open(&self) -> io::Result<Box<dyn BufRead + Send>> {
        Ok(Box::new(BufReader::with_capacity(1 << 16, File::open(self)?)))
    }
}

impl Registry {
    /// Stores a file's rows. The same rows make the same dataset, whatever the file's format.
    ///
    /// Malformed rows are set aside and reported in the manifest; too many of them, or too few threats, and the file is
    /// refused before anything is stored. Importing again changes nothing. Of the rows, one shard is in memory at a time.
    pub async fn put_dataset(&self, name: &str, file: impl Open + 'static) -> Result<DatasetManifest, Error> {
        let file: Arc<dyn Open> = Arc::new(file);
        let (manifest, format) = {
            let (name, file) = (name.to_owned(), Arc::clone(&file));
            blocking(move || survey(&name, &*file)).await??
        };
        match self.claim_dataset(&manifest.digest).await {
            Err(Error::NotFound { .. }) => {}
            known => return known,
        }
        let mut reader = blocking(move || open(&*file, format)).await??;
        for shard in &manifest.shards {
            let (rest, text) = blocking(move || {
                let text = next_shard(&mut reader)?;
                Ok::<_, Error>((reader, text))
            })
            .await??;
            reader = rest;
            let text = text.filter(|text| Digest::of(&text.lines) == shard.sha256).ok_or(Error::Changed)?;
            self.put_shard(&manifest.digest, shard.number, text).await?;
        }
        self.create_json(Key::Dataset(&manifest.digest), &manifest).await?;
        self.dataset(&manifest.digest).await
    }

    /// Stores rows on their way into a sample, compressed, under the digest of their bytes.
    pub async fn put_part(&self, rows: Vec<Row>) -> Result<Digest, Error> {
        let compress = move || {
            let mut lines = Vec::new();
            for row in &rows {
                write_line(&mut lines, row);
            }
            zstd::bulk::compress(&lines, COMPRESSION_LEVEL)
        };
        self.put_artifact(blocking(compress).await?.expect("compression in memory")).await
    }

    /// Rows that [`Self::put_part`] stored, checked against the digest.
    pub async fn part(&self, digest: &Digest) -> Result<Vec<Row>, Error> {
        let body = self.artifact(digest).await?;
        let decoded = blocking(move || parse_lines(&decompress(&body)?)).await?;
        decoded.map_err(|reason| Key::Blob(digest).corrupt(reason))
    }

    /// Stores rows that were chosen from a stored dataset, as a dataset of their own.
    pub async fn put_sample(&self, of: &DatasetManifest, rows: Vec<Row>) -> Result<DatasetManifest, Error> {
        let mut builder = Builder::default();
        let mut texts = Vec::new();
        for rows in rows.chunks(SHARD_ROWS) {
            for row in rows {
                builder.add(row);
            }
            texts.extend(builder.cut());
        }
        let manifest = builder.finish(of.source.clone());
        manifest.1.require_trainable()?;
        let manifest = DatasetManifest { sample_of: Some(of.digest.clone()), ..manifest.0 };
        self.claim(&Key::Dataset(&manifest.digest).path()).await?;
        for (number, text) in (0..).zip(texts) {
            self.put_shard(&manifest.digest, number, text).await?;
        }
        self.create_json(Key::Dataset(&manifest.digest), &manifest).await?;
        self.dataset(&manifest.digest).await
    }

    async fn put_shard(&self, dataset: &Digest, number: u32, text: ShardText) -> Result<(), Error> {
        let body = blocking(move || zstd::bulk::compress(&text.lines, COMPRESSION_LEVEL)).await?;
        let body = body.expect("compression in memory");
        self.store.create(&Key::Shard(dataset, number).path(), body.into()).await?;
        Ok(())
    }

    /// Stores a file's rows and makes them the newest import. `now` is in milliseconds since 1970, UTC.
    pub async fn import_dataset(
        &self,
        name: &str,
        file: impl Open + 'static,
        now: i64,
    ) -> Result<DatasetManifest, Error> {
        let manifest = self.put_dataset(name, file).await?;
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

    /// A dataset's manifest, for a run that is going to use it: keeps it from retention.
    pub async fn claim_dataset(&self, digest: &Digest) -> Result<DatasetManifest, Error> {
        self.claim(&Key::Dataset(digest).path()).await?;
        self.dataset(digest).await
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
        self.fold_rows(manifest, 0..manifest.shards.len(), Vec::new(), Extend::extend).await
    }

    /// Gives the rows of some shards to `each`, shard by shard in order, and answers what it gathered.
    ///
    /// A few shards are in memory at a time; each is checked against its digest. `each` runs on a thread of its own.
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

/// Some hundred milliseconds of work: not on a thread that others wait for.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Panicked)
}

/// A shard's rows as JSON lines.
struct ShardText {
    lines: Vec<u8>,
}

/// A dataset's manifest, from its rows in order.
#[derive(Default)]
struct Builder {
    tally: Tally,
    whole: Digester,
    lines: Vec<u8>,
    rows: u64,
    shards: Vec<Shard>,
}

impl Builder {
    fn add(&mut self, row: &Row) {
        self.tally.add_row(row);
        write_line(&mut self.lines, row);
        self.rows += 1;
    }

    /// Ends a shard, if any row was added since the last.
    fn cut(&mut self) -> Option<ShardText> {
        if self.rows == 0 {
            return None;
        }
        let lines = std::mem::take(&mut self.lines);
        self.whole.update(&lines);
        let number = self.shards.len() as u32;
        self.shards.push(Shard { number, rows: std::mem::take(&mut self.rows), sha256: Digest::of(&lines) });
        Some(ShardText { lines })
    }

    fn finish(mut self, source: Source) -> (DatasetManifest, Tally) {
        self.cut();
        let tally = self.tally;
        let manifest = DatasetManifest {
            digest: self.whole.finish(),
            source,
            sentences: tally.sentences,
            threats: tally.threats,
            comments: tally.comments,
            commenters: tally.commenters(),
            quarantined: tally.quarantined,
            quarantine: tally.quarantine.clone(),
            shards: self.shards,
            sample_of: None,
        };
        (manifest, tally)
    }
}

type Input = Reader<Box<dyn BufRead + Send>>;

fn open(file: &dyn Open, format: Format) -> Result<Input, Error> {
    Ok(Reader::new(format, file.open().map_err(unreadable)?)?)
}

fn unreadable(error: io::Error) -> Error {
    Error::Corpus(corpus::Error::Unreadable { line: 0, kind: error.kind() })
}

/// Reads a file once: what its dataset will be.
fn survey(name: &str, file: &dyn Open) -> Result<(DatasetManifest, Format), Error> {
    let mut input = Digesting { inner: file.open().map_err(unreadable)?, sha256: Digester::default(), bytes: 0 };
    let format = Format::guess(name, input.fill_buf().map_err(unreadable)?);
    let mut builder = Builder::default();
    for item in Reader::new(format, &mut input)? {
        match item? {
            Item::Row(row) => {
                builder.add(&row);
                if builder.rows == SHARD_ROWS as u64 {
                    builder.cut();
                }
            }
            malformed @ Item::Malformed(_) => builder.tally.add(&malformed),
        }
    }
    let source = Source { name: name.to_owned(), format, sha256: input.sha256.finish(), bytes: input.bytes };
    let (manifest, tally) = builder.finish(source);
    tally.require_form()?;
    tally.require_trainable()?;
    Ok((manifest, format))
}

/// Digests whatever is read through it.
struct Digesting {
    inner: Box<dyn BufRead + Send>,
    sha256: Digester,
    bytes: u64,
}

impl io::Read for Digesting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = io::Read::read(&mut self.fill_buf()?, buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Digesting {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        if let Ok(chunk) = self.inner.fill_buf() {
            self.sha256.update(&chunk[..length]);
        }
        self.bytes += length as u64;
        self.inner.consume(length);
    }
}

/// The next shard's rows; none at the end.
fn next_shard(reader: &mut Input) -> Result<Option<ShardText>, Error> {
    let (mut lines, mut rows) = (Vec::new(), 0);
    while rows < SHARD_ROWS {
        match reader.next().transpose()? {
            Some(Item::Row(row)) => {
                write_line(&mut lines, &row);
                rows += 1;
            }
            Some(Item::Malformed(_)) => {}
            None => break,
        }
    }
    Ok((rows > 0).then_some(ShardText { lines }))
}

fn write_line(lines: &mut Vec<u8>, row: &Row) {
    serde_json::to_writer(&mut *lines, row).expect("a row is plain data");
    lines.push(b'\n');
}

/// The rows of a shard's bytes.
fn decode(body: &[u8], expected: &Digest) -> Result<Vec<Row>, &'static str> {
    let text = decompress(body)?;
    if Digest::of(&text) != *expected {
        return Err("its rows do not have the digest in the manifest");
    }
    parse_lines(&text)
}

fn decompress(body: &[u8]) -> Result<Vec<u8>, &'static str> {
    zstd::stream::decode_all(body).map_err(|_| "it cannot be decompressed")
}

fn parse_lines(text: &[u8]) -> Result<Vec<Row>, &'static str> {
    let lines = text.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|_| "a line of it is not a row")).collect()
}
