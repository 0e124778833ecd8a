//! `threatwatch backup` and `threatwatch restore`: the whole bucket in one file, and back.

use std::{
    fs::{self, File, TryLockError},
    io::{self, BufRead, BufReader, Read, Seek as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail};
use registry::{
    AuditOutcome, Deed, Open, Registry, S3Store,
    backup::{BackedUp, Contents, Restored, verify_backup},
};
use serde_json::{Value, json};

use super::{
    answer::Answer,
    exit::{self, usage},
    rfc3339,
};
use crate::{audited::actor, settings::Settings};

/// Standard input or output.
const STREAM: &str = "-";
/// Most names of objects that are printed; the others are counted.
const MOST_NAMES: usize = 20;

/// Which file, and what to do with it
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file, or `-` for standard output. It holds comments; its mode is 0600
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long, conflicts_with = "verify")]
    force: bool,
    /// Check an existing backup and write nothing; needs no bucket. `-` is standard input
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    answer: Answer,
}

/// Which file, and where to
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArguments {
    /// A file that `threatwatch backup` wrote, or `-` for standard input, which goes to a temporary file first
    file: PathBuf,
    /// Another bucket of the same store; it is created if it is not there
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    let Arguments { file, force, verify, answer } = arguments;
    if verify {
        let contents = verified(&file).with_context(|| format!("check {}", file.display()))?;
        return answer.give(&told(&contents), || print(&contents, "complete", &file));
    }
    if file == Path::new(STREAM) {
        if answer.json {
            return Err(usage("standard output takes the backup or the JSON, not both: name a file"));
        }
        let written = copy(io::stdout(), settings).await.context("back up to standard output")?.1;
        warn(&written);
        return Ok(());
    }
    let place = Place::take(&file, force)?;
    let written = match write(&place, settings).await {
        Ok(written) => written,
        Err(error) => {
            place.give_up();
            return Err(error);
        }
    };
    let file_bytes = place.keep()?;
    warn(&written);
    let BackedUp { contents, left_out } = written;
    let mut answered = told(&contents);
    answered["file_bytes"] = json!(file_bytes);
    answered["deleted_meanwhile"] = json!(left_out.deleted);
    answered["unknown"] = json!(left_out.unknown);
    answer.give(&answered, || {
        print(&contents, "written and checked", &file);
        println!("The file has {file_bytes} bytes. It holds comments: keep it private.");
    })
}

/// A file that is written under another name first.
struct Place {
    file: PathBuf,
    partial: PathBuf,
    open: File,
}

impl Place {
    fn take(file: &Path, force: bool) -> anyhow::Result<Self> {
        if file.is_dir() {
            return Err(usage(format!("{} is a folder: name a file", file.display())));
        }
        if file.exists() && !force {
            bail!("{} exists: name another file, or replace it with --force", file.display());
        }
        let mut partial = file.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let mut options = File::options();
        // The file is emptied only after it is locked: another backup may be writing to it.
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let open = options.open(&partial).with_context(|| format!("write {}", partial.display()))?;
        // On a file system without locks a backup is still possible.
        if matches!(open.try_lock(), Err(TryLockError::WouldBlock)) || !is_at(&open, &partial) {
            bail!("another backup is being written to {}", partial.display());
        }
        let prepare = || {
            #[cfg(unix)]
            open.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            open.set_len(0)
        };
        prepare().with_context(|| format!("write {}", partial.display()))?;
        Ok(Self { file: file.to_owned(), partial, open })
    }

    fn give_up(self) {
        let _ = fs::remove_file(self.partial);
    }

    /// Renames the file to its final name and returns its length.
    fn keep(self) -> anyhow::Result<u64> {
        let keep = || {
            fs::rename(&self.partial, &self.file)?;
            let folder = self.file.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok::<_, io::Error>(self.open.metadata()?.len())
        };
        keep().with_context(|| format!("write {}", self.file.display()))
    }
}

/// Whether an open file is still the one at a path. Another backup may have ended and renamed it.
fn is_at(open: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((open.metadata().map(place), fs::metadata(path).map(place)), (Ok(open), Ok(path)) if open == path)
}

/// Copies the bucket without creating it. Otherwise a mistyped name would give an empty backup every night.
async fn copy<W: Write + Send + 'static>(to: W, settings: &Settings) -> anyhow::Result<(W, BackedUp)> {
    let registry = Registry::new(Arc::new(settings.store()?));
    let (to, written) = registry.back_up(to, env!("CARGO_PKG_VERSION")).await?;
    if written.contents.objects == 0 {
        bail!("the bucket {} is empty", settings.s3()?.place());
    }
    Ok((to, written))
}

/// Writes the file, and reads it again.
async fn write(place: &Place, settings: &Settings) -> anyhow::Result<BackedUp> {
    let writing = || format!("back up into {}", place.partial.display());
    let (file, written) = copy(place.open.try_clone()?, settings).await.with_context(writing)?;
    file.sync_all().with_context(writing)?;
    let read = File::open(&place.partial).with_context(writing)?;
    let again = tokio::task::spawn_blocking(move || verify_backup(BufReader::new(read))).await?;
    let again = again.with_context(|| format!("read {} again", place.partial.display()))?;
    if again != written.contents {
        bail!("{} does not hold what was written to it", place.partial.display());
    }
    Ok(written)
}

fn verified(file: &Path) -> anyhow::Result<Contents> {
    if file == Path::new(STREAM) {
        return Ok(verify_backup(io::stdin().lock())?);
    }
    Ok(verify_backup(File::open(file)?)?)
}

pub(super) async fn restore(arguments: RestoreArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let RestoreArguments { file, bucket, answer } = arguments;
    let input = if file == Path::new(STREAM) {
        Input::Spooled(spool(io::stdin().lock()).context("keep standard input in a temporary file")?)
    } else {
        Input::File(file.clone())
    };
    // The file is checked before the bucket is created, so a wrong file changes nothing.
    let check = move || {
        verify_backup(input.open()?)?;
        Ok::<_, anyhow::Error>(input)
    };
    let input = tokio::task::spawn_blocking(check).await?.with_context(|| format!("check {}", file.display()))?;
    let mut place = settings.s3()?;
    place.bucket = bucket.unwrap_or(place.bucket);
    let restoring = || format!("restore {} into {}", file.display(), place.place());
    let store = S3Store::new(&place);
    store.ensure_bucket().await?;
    let registry = Registry::new(Arc::new(store));
    let restored = registry.restore(input).await.with_context(restoring)?;
    record(&registry, &restored).await;
    answer.give(&answered(&restored, &place.bucket), || {
        for problem in &restored.verification.problems {
            println!("WRONG {problem}");
        }
        print(&restored.contents, &format!("restored into the bucket {}", place.bucket), &file);
        if restored.already > 0 {
            println!("{} objects were there from an earlier try", restored.already);
        }
        let found = &restored.verification;
        println!("{} generations, {} versions checked", found.generations, found.versions);
    })?;
    Ok(exit::answer(restored.verification.problems.is_empty()))
}

/// A backup that is read more than once.
enum Input {
    File(PathBuf),
    Spooled(File),
}

impl Open for Input {
    fn open(&self) -> io::Result<Box<dyn BufRead + Send>> {
        let file = match self {
            Self::File(path) => File::open(path)?,
            Self::Spooled(file) => {
                let mut again = file.try_clone()?;
                again.rewind()?;
                again
            }
        };
        Ok(Box::new(BufReader::new(file)))
    }
}

/// Copies the whole input into a file without a name, which is gone when the process ends, however it ends.
fn spool(mut input: impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut input, &mut file)?;
    Ok(file)
}

/// Writes the audit entry of the restore. It comes after the restored entries, whose numbers are taken.
async fn record(registry: &Registry, restored: &Restored) {
    let about = &restored.contents.about;
    let deed = Deed {
        actor: actor(),
        key: None,
        action: "restore".to_owned(),
        subject: Some(format!("generation {}", about.generation)),
        reason: Some(format!("the backup of {}", rfc3339(about.at))),
        request_id: None,
    };
    let detail = format!("{} objects", restored.contents.objects);
    let outcome = AuditOutcome { outcome: "done".to_owned(), detail };
    let recorded = async {
        let sequence = registry.audit(&deed).await?;
        registry.audit_outcome(sequence, &outcome).await
    };
    if let Err(error) = recorded.await {
        eprintln!("! the restore is not on the audit trail: {error}");
    }
}

fn warn(written: &BackedUp) {
    let unknown = &written.left_out.unknown;
    for name in unknown.iter().take(MOST_NAMES) {
        eprintln!("! left out, because this release does not know what it is: {name:?}");
    }
    if unknown.len() > MOST_NAMES {
        eprintln!("! left out for the same reason: {} more objects", unknown.len() - MOST_NAMES);
    }
}

fn told(contents: &Contents) -> Value {
    let Contents { about, objects, bytes, versions, datasets, decisions, keys } = contents;
    json!({
        "format": about.format,
        "program": about.program,
        "at": rfc3339(about.at),
        "generation": about.generation,
        "objects": objects,
        "bytes": bytes,
        "versions": versions,
        "datasets": datasets,
        "decisions": decisions,
        "keys": keys,
    })
}

fn answered(restored: &Restored, bucket: &str) -> Value {
    let mut answered = told(&restored.contents);
    answered["bucket"] = json!(bucket);
    answered["already"] = json!(restored.already);
    answered["problems"] = json!(restored.verification.problems);
    answered
}

fn print(contents: &Contents, what: &str, file: &Path) {
    let Contents { about, objects, bytes, versions, datasets, decisions, keys } = contents;
    let at = rfc3339(about.at);
    println!("{}: {what}", file.display());
    println!("State of {at}: generation {}, copied by release {}", about.generation, about.program);
    println!("{versions} versions, {datasets} datasets, {decisions} decisions of reviewers, {keys} API keys");
    println!("{objects} objects of {bytes} bytes");
}
