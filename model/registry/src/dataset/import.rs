//! Imports a file as a dataset.
//!
//! It is read twice, because the dataset's name is known only at the end.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::PathBuf,
    sync::Arc,
};

use model::{
    Digest,
    corpus::{self, Format, Item, Reader},
    version::Digester,
};

use super::{
    DatasetManifest, ImportRecord, Source,
    builder::Builder,
    shard::{SHARD_ROWS, ShardText, write_line},
};
use crate::{Error, Key, Registry, blocking};

/// A source of a dataset's bytes.
///
/// It is opened twice, because the dataset's name is known only at the end.
pub trait Open: Send + Sync {
    /// Opens it for reading from the start.
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
    /// Stores a file's rows. The same rows make the same dataset in every format.
    ///
    /// Malformed rows are left out and reported in the manifest. A file with too many of them, or with too few threats,
    /// is refused before anything is stored. A second import changes nothing. One shard of rows is in memory at a time.
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

    /// Stores a file's rows and makes them the newest import.
    ///
    /// `now` is in milliseconds since 1970, UTC.
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
}

type Input = Reader<Box<dyn BufRead + Send>>;

fn open(file: &dyn Open, format: Format) -> Result<Input, Error> {
    Ok(Reader::new(format, file.open().map_err(unreadable)?)?)
}

fn unreadable(error: io::Error) -> Error {
    Error::Corpus(corpus::Error::Unreadable { line: 0, kind: error.kind() })
}

/// Reads a file once and makes the manifest of its dataset.
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

/// Digests and counts the bytes that are read through it.
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

/// The next shard's rows; `None` at the end.
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
