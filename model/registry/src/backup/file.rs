//! The file: a tar archive in one zstd frame.
//!
//! - `backup.json`: [`About`]. It comes first, so a file that is not a backup, or has another format, is refused at
//!   once.
//! - `objects/<name>`: every object, in the order of [`Kind`].
//! - `index.jsonl`: a line for each object, in the same order: name, length, SHA-256. It comes last, so a file that has
//!   it is complete.
//!
//! Writer and reader have at most one batch of objects in memory, and the name, length and digest of each object.

use std::io::{self, BufRead, BufReader, Read, Write};

use bytes::Bytes;
use model::{Digest, Generation, version::Digester};
use serde::{Deserialize, Serialize};

use super::{
    Error,
    kind::{Kind, Place},
    references::{Object, References},
};
use crate::Key;

/// The format that this program writes, and the only one that it reads.
pub(super) const FORMAT: u32 = 1;
const ABOUT: &str = "backup.json";
const OBJECTS: &str = "objects/";
const INDEX: &str = "index.jsonl";
/// zstd's default. Shards are compressed already; feedback and manifests shrink to a tenth.
const COMPRESSION_LEVEL: i32 = 3;
/// How a zstd frame begins.
const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// No manifest or record is longer. A longer one is not read into memory.
const LONGEST_REFERRER: u64 = 64 << 20;
/// `backup.json` is a few hundred bytes.
const LONGEST_ABOUT: u64 = 1 << 16;
/// The padding after the end of a tar archive: some programs fill a record of 10 KiB.
const PADDING: u64 = 10 << 10;

/// The header of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The format of the file.
    pub format: u32,
    /// Release of threatwatch that wrote it.
    pub program: String,
    /// When it was begun: milliseconds since 1970, UTC, by the store's clock.
    pub at: i64,
    /// The newest generation of the bucket when it was begun; 0 where nothing was in production.
    pub generation: Generation,
}

/// A line of the index.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    name: String,
    bytes: u64,
    sha256: Digest,
}

/// An object on its way into a file or out of it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Milliseconds since 1970; for people who unpack the file.
    pub(super) written: i64,
    pub(super) bytes: Bytes,
}

/// A file that is being written.
pub(super) struct Writer<W: Write> {
    tar: tar::Builder<zstd::stream::write::Encoder<'static, W>>,
    index: Vec<u8>,
    at: i64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(to: W, about: &About) -> io::Result<Self> {
        let mut encoder = zstd::stream::write::Encoder::new(to, COMPRESSION_LEVEL)?;
        encoder.include_checksum(true)?;
        let mut this = Self { tar: tar::Builder::new(encoder), index: Vec::new(), at: about.at };
        let about = serde_json::to_vec_pretty(about).expect("it is plain data");
        append(&mut this.tar, ABOUT, this.at, &about)?;
        Ok(this)
    }

    pub(super) fn add(&mut self, item: &Item, sha256: &Digest) -> io::Result<()> {
        append(&mut self.tar, &format!("{OBJECTS}{}", item.name), item.written, &item.bytes)?;
        let line = Line { name: item.name.clone(), bytes: item.bytes.len() as u64, sha256: sha256.clone() };
        serde_json::to_writer(&mut self.index, &line).expect("it is plain data");
        self.index.push(b'\n');
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        append(&mut self.tar, INDEX, self.at, &self.index)?;
        let mut to = self.tar.into_inner()?.finish()?;
        to.flush()?;
        Ok(to)
    }
}

/// Appends a member that only its owner may read when it is unpacked.
fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, written: i64, body: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(body.len() as u64);
    header.set_mode(0o600);
    header.set_mtime((written / 1000).max(0) as u64);
    tar.append_data(&mut header, name, body)
}

/// The steps for each object that is read. Its bytes are collected or passed on.
pub(super) trait Visit {
    /// Whether the object is read into memory, and given to [`Self::whole`].
    fn wants(&self, kind: Kind, name: &str) -> bool;
    fn whole(&mut self, item: Item, sha256: [u8; 32]) -> Result<(), Error>;
    fn digested(&mut self, kind: Kind, name: String, object: Object) -> Result<(), Error>;
    /// Called for each line of the index, in order.
    fn line(&mut self, name: &str, object: &Object) -> Result<(), Error>;
}

/// Reads a file to its end, and each object once.
pub(super) fn walk(file: impl Read, visit: &mut impl Visit) -> Result<About, Error> {
    let mut file = BufReader::with_capacity(1 << 16, file);
    let start = file.fill_buf().map_err(unreadable)?;
    if start.is_empty() || !MAGIC.starts_with(&start[..start.len().min(MAGIC.len())]) {
        return Err(Error::NoBackup);
    }
    let decoder = zstd::stream::read::Decoder::with_buffer(file).map_err(unreadable)?;
    let mut archive = tar::Archive::new(decoder);
    let mut about = None;
    let mut has_index = false;
    for member in archive.entries().map_err(unreadable)? {
        let member = member.map_err(|error| if about.is_some() { unreadable(error) } else { no_backup(error) })?;
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let Some(object) = name.strip_prefix(OBJECTS) else {
            match (name.as_str(), about.is_some(), has_index) {
                (ABOUT, false, _) => about = Some(read_about(member)?),
                (_, false, _) => return Err(Error::NoBackup),
                (INDEX, true, false) => {
                    read_index(member, visit)?;
                    has_index = true;
                }
                _ => return Err(Error::Damaged(format!("it holds `{name}`, which is no part of a backup"))),
            }
            continue;
        };
        if about.is_none() {
            return Err(Error::NoBackup);
        }
        if has_index {
            return Err(Error::Damaged(format!("{object} follows the index")));
        }
        let Place::Kept(kind) = Place::at(object) else {
            return Err(Error::Damaged(format!("it holds {object}, which this program does not know")));
        };
        read_object(kind, object, member, visit)?;
    }
    let Some(about) = about else { return Err(Error::NoBackup) };
    if !has_index {
        return Err(Error::Truncated);
    }
    let mut rest = Vec::new();
    archive.into_inner().take(PADDING + 1).read_to_end(&mut rest).map_err(unreadable)?;
    if rest.len() as u64 > PADDING || rest.iter().any(|byte| *byte != 0) {
        return Err(Error::Damaged("something follows its end".to_owned()));
    }
    Ok(about)
}

fn read_about(member: impl Read) -> Result<About, Error> {
    /// The field that every format has.
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let mut bytes = Vec::new();
    member.take(LONGEST_ABOUT).read_to_end(&mut bytes).map_err(unreadable)?;
    let Ok(Format { format }) = serde_json::from_slice(&bytes) else { return Err(Error::NoBackup) };
    if format != FORMAT {
        return Err(Error::Format(format));
    }
    serde_json::from_slice(&bytes).map_err(|error| Error::Damaged(format!("{ABOUT}: {error}")))
}

fn read_object(
    kind: Kind,
    name: &str,
    mut member: tar::Entry<'_, impl Read>,
    visit: &mut impl Visit,
) -> Result<(), Error> {
    let length = member.size();
    if visit.wants(kind, name) {
        if kind.refers() && length > LONGEST_REFERRER {
            return Err(Error::Damaged(format!("{name} is too long")));
        }
        let mut bytes = Vec::with_capacity(length.min(LONGEST_REFERRER) as usize);
        member.read_to_end(&mut bytes).map_err(unreadable)?;
        require_whole(name, length, bytes.len() as u64)?;
        let sha256 = of_hex(&Digest::of(&bytes));
        return visit.whole(Item { kind, name: name.to_owned(), written: 0, bytes: bytes.into() }, sha256);
    }
    let (mut digester, mut chunk, mut read_bytes) = (Digester::default(), vec![0; 1 << 16], 0);
    loop {
        let read = member.read(&mut chunk).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        digester.update(&chunk[..read]);
        read_bytes += read as u64;
    }
    require_whole(name, length, read_bytes)?;
    let sha256 = of_hex(&digester.finish());
    // A blob is named by its digest.
    if Key::blob_of(name).is_some_and(|digest| of_hex(&digest) != sha256) {
        return Err(Error::Damaged(format!("{name} does not have the digest it is named by")));
    }
    visit.digested(kind, name.to_owned(), Object { bytes: length, sha256 })
}

fn require_whole(name: &str, length: u64, read: u64) -> Result<(), Error> {
    if length == read { Ok(()) } else { Err(Error::Damaged(format!("{name} has {read} of {length} bytes"))) }
}

fn read_index(member: impl Read, visit: &mut impl Visit) -> Result<(), Error> {
    for line in BufReader::new(member).lines() {
        let line = line.map_err(unreadable)?;
        let line: Line = serde_json::from_str(&line).map_err(|error| Error::Damaged(format!("{INDEX}: {error}")))?;
        let object = Object { bytes: line.bytes, sha256: of_hex(&line.sha256) };
        visit.line(&line.name, &object)?;
    }
    Ok(())
}

/// The bytes of a digest.
pub(super) fn of_hex(digest: &Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    hex::decode_to_slice(digest.as_str(), &mut bytes).expect("a digest is 64 hex digits");
    bytes
}

/// Why a file cannot be read: it ends too soon, it was changed, or the disk fails.
fn unreadable(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated,
        _ if error.raw_os_error().is_some() => Error::File(error),
        _ => Error::Damaged(error.to_string()),
    }
}

/// The same error, while it is not yet known that the file is a backup.
fn no_backup(error: io::Error) -> Error {
    match unreadable(error) {
        error @ (Error::File(_) | Error::Truncated) => error,
        _ => Error::NoBackup,
    }
}

/// Checks everything that can be checked without a bucket.
#[derive(Default)]
pub(super) struct Check {
    pub(super) references: References,
    indexed: usize,
}

impl Check {
    fn take(&mut self, kind: Kind, name: &str, bytes: &[u8], object: Object) -> Result<(), Error> {
        let corrupt = |reason: String| Error::Damaged(format!("{name}: {reason}"));
        let missing = if kind.refers() {
            self.references.missing(kind, name, bytes, &object.sha256).map_err(corrupt)?
        } else {
            Vec::new()
        };
        if let Some(missing) = missing.first() {
            return Err(Error::Damaged(format!("{name} names {missing}, which is not in the file before it")));
        }
        if self.references.add(kind, name, object) {
            Ok(())
        } else {
            Err(Error::Damaged(format!("{name} is in the file twice")))
        }
    }

    /// The checks after the whole file was read.
    pub(super) fn finish(&self, about: &About) -> Result<(), Error> {
        if self.indexed != self.references.objects().len() {
            return Err(Error::Damaged("its index does not name every object".to_owned()));
        }
        if self.references.generation() != about.generation {
            let there = self.references.generation();
            return Err(Error::Damaged(format!("its history ends at generation {there}, not {}", about.generation)));
        }
        Ok(())
    }
}

impl Visit for Check {
    fn wants(&self, kind: Kind, _: &str) -> bool {
        kind.refers()
    }

    fn whole(&mut self, item: Item, sha256: [u8; 32]) -> Result<(), Error> {
        let object = Object { bytes: item.bytes.len() as u64, sha256 };
        self.take(item.kind, &item.name, &item.bytes, object)
    }

    fn digested(&mut self, kind: Kind, name: String, object: Object) -> Result<(), Error> {
        self.take(kind, &name, &[], object)
    }

    fn line(&mut self, name: &str, object: &Object) -> Result<(), Error> {
        self.indexed += 1;
        match self.references.objects().get(name) {
            Some(there) if there == object => Ok(()),
            Some(_) => Err(Error::Damaged(format!("{name} is not what the index says"))),
            None => Err(Error::Damaged(format!("{name} is in the index and not in the file"))),
        }
    }
}
