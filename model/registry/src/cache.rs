//! A cache on this machine's disk, so that a service can run without the store.
//!
//! It has the last generations and the API keys. A generation is a folder `<generation>-<digest of its record>` of
//! three files. The folder's name has the digest of the record, the record that of the manifest, the manifest that of
//! the artifact. A changed file is never served.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use model::{Digest, Generation};

use crate::{Bundle, Keys, Production};

/// Generations that are kept.
const KEPT: usize = 3;
const RECORD: &str = "record.json";
const MANIFEST: &str = "manifest.json";
const ARTIFACT: &str = "artifact";
const KEYS: &str = "keys.json";
/// Names of unfinished files and folders begin with this.
const UNFINISHED: &str = ".new-";
/// Writing takes a moment.
///
/// Files that are unfinished for this long were left by a process that died.
const ABANDONED: Duration = Duration::from_hours(1);

/// A folder on this machine's disk. Its functions block.
///
/// ```
/// use std::sync::Arc;
///
/// use registry::{Cache, MemoryStore, Registry};
#[doc = include_str!("example.txt")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new(Arc::new(MemoryStore::default()));
/// let version = registered(&registry, 1).await?;
/// registry.promote(&promotion(&version, "first"), 0).await?;
/// let production = registry.production().await?.expect("a version was promoted");
///
/// let folder = tempfile::tempdir()?;
/// let cache = Cache::new(folder.path(), "http://127.0.0.1:9000/threatwatch");
/// let bundle = registry.bundle(&production).await?;
/// cache.keep(&bundle, production.record.generation, &production.digest)?;
///
/// // Later the store is away, and the service starts with the cached model.
/// let cached = cache.production().expect("a generation was kept");
/// assert_eq!(cached.manifest.version, version);
/// assert!(cached.model.judge("I will burn your barn down.").probability > 0.0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache of one store, in a folder that several caches may share.
    ///
    /// Nothing is read or written yet. `store` identifies the store: endpoint and bucket. A model of another bucket is
    /// never served.
    #[must_use]
    pub fn new(folder: &Path, store: &str) -> Self {
        Self { folder: folder.join(Digest::of(store.as_bytes()).short()) }
    }

    /// Keeps a verified generation, whole or not at all. Only the newest three stay.
    ///
    /// The written files are read again and verified before they count.
    pub fn keep(&self, bundle: &Bundle, generation: Generation, record: &Digest) -> io::Result<()> {
        let place = self.folder.join(format!("{:010}-{record}", generation.0));
        if read(&place).is_ok_and(|kept| kept == *bundle) {
            return Ok(());
        }
        let unfinished = self.unfinished()?;
        let written = write_all(&unfinished, bundle).and_then(|()| {
            let again = read(&unfinished)?;
            again.verify(record).map_err(io::Error::other)?;
            if place.exists() {
                fs::remove_dir_all(&place)?;
            }
            fs::rename(&unfinished, &place)?;
            sync_folder(&self.folder)
        });
        if let Err(error) = written {
            let _ = fs::remove_dir_all(&unfinished);
            // Another process of this machine may have written it first.
            if !read(&place).is_ok_and(|kept| kept == *bundle) {
                return Err(error);
            }
        }
        if let Err(error) = self.drop_old(generation, record) {
            tracing::warn!(%error, "old generations cannot be deleted from the cache");
        }
        Ok(())
    }

    /// The newest generation that is whole and readable.
    ///
    /// Each one that is not is logged as a warning.
    #[must_use]
    pub fn production(&self) -> Option<Production> {
        self.kept().into_iter().rev().find_map(|kept| {
            let read = read(&kept.place).map_err(|error| error.to_string());
            let opened = read.and_then(|bundle| bundle.open_here(&kept.record).map_err(|error| error.to_string()));
            opened
                .inspect_err(|reason| {
                    tracing::warn!(place = %kept.place.display(), reason, "a cached generation is not used");
                })
                .ok()
        })
    }

    /// Keeps the API keys: digests, names and roles.
    pub fn keep_keys(&self, keys: &Keys) -> io::Result<()> {
        self.create()?;
        let bytes = serde_json::to_vec(keys)?;
        let (place, unfinished) = (self.folder.join(KEYS), self.unfinished_name());
        let written = write(&unfinished, &bytes).and_then(|()| fs::rename(&unfinished, &place));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
            // An old list may have a key that was revoked since. No list is safer.
            let _ = fs::remove_file(&place);
        }
        written?;
        sync_folder(&self.folder)
    }

    /// The API keys that were kept last.
    #[must_use]
    pub fn keys(&self) -> Option<Keys> {
        serde_json::from_slice(&fs::read(self.folder.join(KEYS)).ok()?).ok()
    }

    /// Every kept generation, oldest first.
    fn kept(&self) -> Vec<Kept> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let named = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (generation, record) = name.split_once('-')?;
            let (generation, record) = (Generation(generation.parse().ok()?), Digest::parse(record).ok()?);
            Some(Kept { generation, place: entry.path(), record })
        });
        let mut kept: Vec<Kept> = named.collect();
        kept.sort_by_key(|kept| kept.generation);
        kept
    }

    /// Deletes old files. Other processes may do the same at this moment.
    ///
    /// These are all but the newest three generations, generations of another history, and unfinished files of a
    /// process that was killed.
    fn drop_old(&self, newest: Generation, record: &Digest) -> io::Result<()> {
        // A bucket that was created again, or restored, continues from an earlier generation.
        let is_of_another = |kept: &Kept| kept.generation >= newest && kept.record != *record;
        let (others, kept): (Vec<Kept>, Vec<Kept>) = self.kept().into_iter().partition(is_of_another);
        let old = kept.into_iter().rev().skip(KEPT).chain(others);
        let mut old: Vec<PathBuf> = old.map(|kept| kept.place).collect();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let written = entry.metadata().and_then(|about| about.modified()).ok();
            let is_abandoned = written.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > ABANDONED);
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) && is_abandoned {
                old.push(entry.path());
            }
        }
        for place in old {
            let removed = if place.is_dir() { fs::remove_dir_all(&place) } else { fs::remove_file(&place) };
            removed.or_else(|error| if place.exists() { Err(error) } else { Ok(()) })?;
        }
        Ok(())
    }

    /// A new folder with a unique name.
    fn unfinished(&self) -> io::Result<PathBuf> {
        self.create()?;
        let place = self.unfinished_name();
        fs::create_dir(&place)?;
        Ok(place)
    }

    fn unfinished_name(&self) -> PathBuf {
        self.folder.join(format!("{UNFINISHED}{:016x}", rand::random::<u64>()))
    }

    /// Only the owner may read the folder: it has the digests of API keys.
    fn create(&self) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.folder)
    }
}

/// A generation's folder.
struct Kept {
    generation: Generation,
    place: PathBuf,
    record: Digest,
}

fn read(place: &Path) -> io::Result<Bundle> {
    let file = |name: &str| fs::read(place.join(name)).map(Into::into);
    Ok(Bundle { record: file(RECORD)?, manifest: file(MANIFEST)?, artifact: file(ARTIFACT)? })
}

fn write_all(place: &Path, bundle: &Bundle) -> io::Result<()> {
    write(&place.join(RECORD), &bundle.record)?;
    write(&place.join(MANIFEST), &bundle.manifest)?;
    write(&place.join(ARTIFACT), &bundle.artifact)?;
    sync_folder(place)
}

/// Returns when the bytes are on disk, not only in the system's memory.
fn write(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(place)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(place: &Path) -> io::Result<()> {
    fs::File::open(place)?.sync_all()
}
