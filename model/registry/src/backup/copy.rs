//! From the bucket into a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future::BoxFuture, stream};
use model::{Digest, Generation};
use tokio::sync::mpsc;

use super::{
    About, Contents, Error,
    file::{FORMAT, Item, Writer, of_hex},
    kind::{Kind, Place},
    references::{Object, References},
};
use crate::{DatasetManifest, Entry, Key, REQUESTS_AT_ONCE, Registry, blocking, compression::decompress};

/// The most bytes of a batch of objects, unless a single one has more.
pub(super) const BATCH_BYTES: u64 = 32 << 20;
/// The most objects of a batch.
pub(super) const BATCH: usize = 1024;

/// A backup that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// Its contents.
    pub contents: Contents,
    /// The listed objects that it does not hold.
    pub left_out: LeftOut,
}

/// Objects that were listed and are not in a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Objects that were deleted before they were copied, and leftovers of deleted versions and datasets.
    pub deleted: u64,
    /// Names of objects that this program does not know: from another program or a later release.
    pub unknown: Vec<String>,
}

/// A message to the thread that writes.
enum Piece {
    Objects(Vec<(Item, Digest)>),
    /// Everything was sent. Without this message, the file is not completed.
    End,
}

impl Registry {
    /// Copies the whole bucket into a file; see the module.
    ///
    /// Nothing is written to the bucket. Returns the file when it is complete. `program` is the release that writes. A
    /// few batches of objects are in memory at a time.
    pub async fn back_up<W: Write + Send + 'static>(&self, to: W, program: &str) -> Result<(W, BackedUp), Error> {
        let history = self.store.list(Key::HISTORY).await?;
        let generation = history.iter().filter_map(|path| Key::generation_of(path)).max().unwrap_or_default();
        let about = About { format: FORMAT, program: program.to_owned(), at: self.store.now(), generation };
        let plan = Plan::of(self.store.entries("").await?, generation);
        let (pieces, queue) = mpsc::channel(1);
        let writing = {
            let about = about.clone();
            tokio::task::spawn_blocking(move || write(to, &about, queue))
        };
        let left_out = LeftOut { deleted: 0, unknown: plan.unknown };
        let mut copy =
            Copy { registry: self, references: References::default(), pieces, left_out, rows: BTreeMap::new() };
        let copied = copy.all(plan.entries).await;
        let Copy { references, left_out, pieces, .. } = copy;
        drop(pieces);
        let written = writing.await.map_err(|_| crate::Error::Panicked)?;
        match (copied, written) {
            // An error of the file also ends the copy.
            (_, Err(error)) => Err(Error::File(error)),
            (Err(error), Ok(_)) => Err(error),
            (Ok(()), Ok(to)) => {
                let to = to.ok_or(crate::Error::Panicked)?;
                Ok((to, BackedUp { contents: Contents::of(about, &references), left_out }))
            }
        }
    }
}

/// Writes the pieces from the queue. Returns the file if all of them came.
fn write<W: Write>(to: W, about: &About, mut queue: mpsc::Receiver<Piece>) -> io::Result<Option<W>> {
    let mut file = Writer::begin(to, about)?;
    while let Some(piece) = queue.blocking_recv() {
        match piece {
            Piece::Objects(objects) => objects.iter().try_for_each(|(item, sha256)| file.add(item, sha256))?,
            Piece::End => return file.finish().map(Some),
        }
    }
    Ok(None)
}

/// The objects to copy, in order.
struct Plan {
    entries: BTreeMap<Kind, Vec<Entry>>,
    unknown: Vec<String>,
}

impl Plan {
    fn of(listed: Vec<Entry>, generation: Generation) -> Self {
        let mut this = Self { entries: BTreeMap::new(), unknown: Vec::new() };
        for entry in listed {
            match Place::at(&entry.name) {
                Place::Kept(kind) => this.entries.entry(kind).or_default().push(entry),
                Place::Unknown => this.unknown.push(entry.name),
                Place::Moment | Place::Work => {}
            }
        }
        let Self { entries, .. } = &mut this;
        if let Some(records) = entries.get_mut(&Kind::Record) {
            records.retain(|entry| Key::generation_of(&entry.name).is_some_and(|of| of <= generation));
        }
        // An outcome without its entry is left out: after a restore, it would belong to another entry of that number.
        let last = entries.get(&Kind::Audit).and_then(|audit| Key::audit_of(&audit.last()?.name)).unwrap_or(0);
        if let Some(outcomes) = entries.get_mut(&Kind::AuditOutcome) {
            outcomes.retain(|entry| Key::audit_outcome_of(&entry.name).is_some_and(|of| of <= last));
        }
        // An interrupted deletion: the backup must not hold a decision that a person wanted to delete.
        let marks = entries.get(&Kind::FeedbackDeleted).into_iter().flatten();
        let deleted: BTreeMap<String, u32> = marks.filter_map(|entry| decision(&entry.name)).collect();
        if let Some(feedback) = entries.get_mut(&Kind::Feedback) {
            feedback.retain(|entry| {
                decision(&entry.name)
                    .is_some_and(|(of, revision)| deleted.get(&of).is_none_or(|deleted| revision > *deleted))
            });
        }
        for (_, entries) in entries.iter_mut().filter(|(kind, _)| kind.is_newest_first()) {
            entries.reverse();
        }
        this
    }
}

/// The prefix of a decision's revisions, and the revision.
fn decision(path: &str) -> Option<(String, u32)> {
    let (comment, reviewer, revision, _) = Key::feedback_of(path)?;
    Some((Key::feedback_by(comment, reviewer), revision))
}

/// Cuts a list into batches that fit into memory, in order.
pub(super) fn batches<T>(items: Vec<T>, bytes: impl Fn(&T) -> u64) -> Vec<Vec<T>> {
    let (mut batches, mut batch, mut sum) = (Vec::new(), Vec::new(), 0);
    for item in items {
        let size = bytes(&item);
        if !batch.is_empty() && (batch.len() == BATCH || sum + size > BATCH_BYTES) {
            batches.push(std::mem::take(&mut batch));
            sum = 0;
        }
        sum += size;
        batch.push(item);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

struct Copy<'a> {
    registry: &'a Registry,
    references: References,
    pieces: mpsc::Sender<Piece>,
    left_out: LeftOut,
    /// Digests of the rows of shards whose dataset was not read yet.
    rows: BTreeMap<String, Digest>,
}

/// An object that was read, its digest, and for a shard the digest of its rows.
struct Digested {
    item: Item,
    sha256: Digest,
    rows: Option<Digest>,
}

/// Objects for the file, in order.
#[derive(Default)]
struct Admitted {
    objects: Vec<(Item, Digest)>,
    bytes: u64,
}

impl Copy<'_> {
    async fn all(&mut self, entries: BTreeMap<Kind, Vec<Entry>>) -> Result<(), Error> {
        for (kind, entries) in entries {
            for batch in batches(entries, |entry| entry.bytes) {
                self.batch(kind, batch).await?;
            }
        }
        self.send(Piece::End).await
    }

    async fn send(&self, piece: Piece) -> Result<(), Error> {
        // If the writing thread has ended, its own error is reported.
        self.pieces.send(piece).await.map_err(|_| crate::Error::Panicked.into())
    }

    async fn batch(&mut self, kind: Kind, entries: Vec<Entry>) -> Result<(), Error> {
        let store = &self.registry.store;
        let read = |entry: Entry| async move {
            let bytes = store.get(&entry.name).await?;
            Ok::<_, Error>((entry, bytes))
        };
        let read: Vec<(Entry, Option<Bytes>)> =
            stream::iter(entries).map(read).buffered(REQUESTS_AT_ONCE).try_collect().await?;
        let mut items = Vec::new();
        let mut gone = BTreeSet::new();
        for (Entry { name, written, .. }, bytes) in read {
            if let Some(bytes) = bytes {
                items.push(Item { kind, name, written, bytes });
            } else {
                self.left_out.deleted += 1;
                gone.extend(decision(&name).map(|(of, _)| of));
            }
        }
        // If a decision is being deleted, none of its earlier revisions may count again.
        items.retain(|item| decision(&item.name).is_none_or(|(of, _)| !gone.contains(&of)));
        for of in gone {
            items.extend(self.deletions(&of).await?);
        }
        let digested = blocking(move || items.into_iter().map(digested).collect::<Result<Vec<_>, _>>()).await??;
        let mut admitted = Admitted::default();
        for object in digested {
            self.admit(object, &mut admitted).await?;
        }
        self.send(Piece::Objects(admitted.objects)).await
    }

    /// The marks of a deleted decision. With them its revision numbers are not used again.
    async fn deletions(&self, of: &str) -> Result<Vec<Item>, Error> {
        let listed = self.registry.store.entries(of).await?.into_iter();
        let item =
            |Entry { name, written, .. }| Item { kind: Kind::FeedbackDeleted, name, written, bytes: Bytes::new() };
        Ok(listed.filter(|entry| Place::at(&entry.name) == Place::Kept(Kind::FeedbackDeleted)).map(item).collect())
    }

    /// Adds an object to the backup after the objects that it names, or leaves it out.
    fn admit<'a>(
        &'a mut self,
        Digested { item, sha256, rows }: Digested,
        admitted: &'a mut Admitted,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if self.references.has(&item.name) {
                return Ok(());
            }
            let bytes = of_hex(&sha256);
            let missing = self.references.missing(item.kind, &item.name, &item.bytes, &bytes);
            let missing = missing.map_err(|reason| crate::Error::Corrupt { path: item.name.clone(), reason })?;
            if !missing.is_empty() && self.references.is_dispensable(item.kind) {
                self.left_out.deleted += 1;
                return Ok(());
            }
            for name in missing {
                let kind = Place::at(&name);
                if let (Place::Kept(kind), Some(bytes)) = (kind, self.registry.store.get(&name).await?) {
                    let late = Item { kind, name: name.clone(), written: item.written, bytes };
                    let late = blocking(move || digested(late)).await??;
                    self.admit(late, admitted).await?;
                }
                if !self.references.has(&name) {
                    return self.leave_out(item.name, name).await;
                }
            }
            match item.kind {
                Kind::Shard => self.rows.extend(rows.map(|rows| (item.name.clone(), rows))),
                Kind::Dataset => self.check_rows(&item.bytes)?,
                _ => {}
            }
            let object = Object { bytes: item.bytes.len() as u64, sha256: bytes };
            admitted.bytes += object.bytes;
            self.references.add(item.kind, &item.name, object);
            admitted.objects.push((item, sha256));
            // A dataset that was fetched late may have many shards.
            if admitted.bytes > BATCH_BYTES {
                let full = std::mem::take(admitted);
                self.send(Piece::Objects(full.objects)).await?;
            }
            Ok(())
        })
    }

    /// Checks that the rows of each shard have the digest in the manifest of the dataset.
    fn check_rows(&mut self, manifest: &[u8]) -> Result<(), Error> {
        let Ok(manifest) = serde_json::from_slice::<DatasetManifest>(manifest) else { return Ok(()) };
        for shard in &manifest.shards {
            let path = Key::Shard(&manifest.digest, shard.number).path();
            if self.rows.remove(&path).is_some_and(|rows| rows != shard.sha256) {
                let reason = "its rows do not have the digest that their dataset names".to_owned();
                return Err(crate::Error::Corrupt { path, reason }.into());
            }
        }
        Ok(())
    }

    /// Leaves a referrer out if it was deleted after it was read. Otherwise the bucket is incomplete.
    async fn leave_out(&mut self, referrer: String, object: String) -> Result<(), Error> {
        if self.registry.store.get(&referrer).await?.is_some() {
            return Err(Error::Incomplete { referrer, object });
        }
        self.left_out.deleted += 1;
        Ok(())
    }
}

fn digested(item: Item) -> Result<Digested, Error> {
    let sha256 = Digest::of(&item.bytes);
    let rows = if item.kind == Kind::Shard {
        let rows = decompress(&item.bytes);
        let rows =
            rows.map_err(|reason| crate::Error::Corrupt { path: item.name.clone(), reason: reason.to_owned() })?;
        Some(Digest::of(&rows))
    } else {
        None
    };
    Ok(Digested { item, sha256, rows })
}
