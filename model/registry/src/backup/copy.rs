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
use crate::{Entry, Key, REQUESTS_AT_ONCE, Registry, blocking};

/// Bytes of the objects that are read together, unless a single one has more.
pub(super) const BATCH_BYTES: u64 = 32 << 20;
/// Objects that are read together.
pub(super) const BATCH: usize = 1024;

/// A backup that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// What is in it.
    pub contents: Contents,
    /// What is not.
    pub left_out: LeftOut,
}

/// What was listed and is not in a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Objects that were deleted before they were copied, or whose object had been deleted.
    pub deleted: u64,
    /// Names that this program does not know: somebody else's objects, or those of a later release.
    pub unknown: Vec<String>,
}

/// What goes to the thread that writes.
enum Piece {
    Objects(Vec<(Item, Digest)>),
    /// Everything was sent. Without it, the file is not ended.
    End,
}

impl Registry {
    /// Writes everything that is in the bucket into a file, and nothing into the bucket; see the module. Gives the file back
    /// when it was written to its end.
    ///
    /// `program` is the release that writes. Of the objects' bytes, a few batches are in memory at a time.
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
        let mut copy = Copy { registry: self, references: References::default(), pieces, left_out };
        let copied = copy.all(plan.entries).await;
        let Copy { references, left_out, pieces, .. } = copy;
        drop(pieces);
        let written = writing.await.map_err(|_| crate::Error::Panicked)?;
        match (copied, written) {
            // What cannot be written ends the copy, too.
            (_, Err(error)) => Err(Error::File(error)),
            (Err(error), Ok(_)) => Err(error),
            (Ok(()), Ok(to)) => {
                let to = to.ok_or(crate::Error::Panicked)?;
                Ok((to, BackedUp { contents: Contents::of(about, &references), left_out }))
            }
        }
    }
}

/// Writes what comes; the file again, if all of it came.
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

/// What is going to be copied, in order.
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
        // Ends of deeds that are not in the backup would become those of other deeds.
        let last = entries.get(&Kind::Audit).and_then(|audit| Key::audit_of(&audit.last()?.name)).unwrap_or(0);
        if let Some(outcomes) = entries.get_mut(&Kind::AuditOutcome) {
            outcomes.retain(|entry| Key::audit_outcome_of(&entry.name).is_some_and(|of| of <= last));
        }
        // A deletion that was cut short: what somebody wanted deleted is not kept for longer.
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

/// Pieces of a list that fit memory, in order.
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
        // Where nobody takes it, the error of the thread that writes is told.
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
        // Of a decision that is being deleted, no earlier revision may count again.
        items.retain(|item| decision(&item.name).is_none_or(|(of, _)| !gone.contains(&of)));
        for of in gone {
            items.extend(self.deletions(&of).await?);
        }
        let digested = blocking(move || items.into_iter().map(digested).collect::<Vec<_>>()).await?;
        let mut admitted = Vec::new();
        for (item, sha256) in digested {
            self.admit(item, sha256, &mut admitted).await?;
        }
        self.send(Piece::Objects(admitted)).await
    }

    /// What says that a decision was deleted, so that the numbers of its revisions are not given again.
    async fn deletions(&self, of: &str) -> Result<Vec<Item>, Error> {
        let listed = self.registry.store.entries(of).await?.into_iter();
        let item =
            |Entry { name, written, .. }| Item { kind: Kind::FeedbackDeleted, name, written, bytes: Bytes::new() };
        Ok(listed.filter(|entry| Place::at(&entry.name) == Place::Kept(Kind::FeedbackDeleted)).map(item).collect())
    }

    /// Takes an object into the backup, after what it names; or leaves it out.
    fn admit<'a>(
        &'a mut self,
        item: Item,
        sha256: Digest,
        admitted: &'a mut Vec<(Item, Digest)>,
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
                    let (late, sha256) = blocking(move || digested(late)).await?;
                    self.admit(late, sha256, admitted).await?;
                }
                if !self.references.has(&name) {
                    return self.leave_out(item.name, name).await;
                }
            }
            let object = Object { bytes: item.bytes.len() as u64, sha256: bytes };
            self.references.add(item.kind, &item.name, object);
            admitted.push((item, sha256));
            Ok(())
        })
    }

    /// Leaves a referrer out if it was deleted since it was read; else the bucket is not whole.
    async fn leave_out(&mut self, referrer: String, object: String) -> Result<(), Error> {
        if self.registry.store.get(&referrer).await?.is_some() {
            return Err(Error::Incomplete { referrer, object });
        }
        self.left_out.deleted += 1;
        Ok(())
    }
}

fn digested(item: Item) -> (Item, Digest) {
    let sha256 = Digest::of(&item.bytes);
    (item, sha256)
}
