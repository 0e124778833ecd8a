//! Retention: deletes old objects that nothing uses and the history does not name.
//!
//! It works in two steps, a day apart: it marks an object, then it deletes it. A marked version cannot be promoted,
//! unless the history names it. A run that stores or uses a marked blob or dataset removes the mark. Before retention
//! deletes, it announces the deletion and reads everything once more. `docs/design/registry.md` shows for each pair of
//! concurrent operations why this is safe.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use model::{
    Digest, Generation, Version,
    protocol::{PruneInput, Pruned},
};

use crate::{
    Error, Key, ModelManifest, REQUESTS_AT_ONCE, Registry,
    marks::{Announced, DELETING, MARKED},
    store::Entry,
};

/// Younger objects may be part of something that is still being written.
///
/// In milliseconds: a day, as long as a training run may last.
const YOUNG: i64 = Duration::from_hours(24).as_millis() as i64;

/// How long drift counts are kept. In milliseconds: 30 days.
const DRIFT_KEPT: i64 = Duration::from_hours(24 * 30).as_millis() as i64;

impl Registry {
    /// Marks objects that nothing needs, and deletes them a day later.
    ///
    /// Such objects are manifests past the newest `keep`, and blobs and datasets that nothing names. If a marked object
    /// is needed after all, its mark is removed. Old reports, probes and checkpoints are deleted without a mark.
    ///
    /// These stay: objects that the history names, the version in the shadow, objects younger than a day, and versions
    /// that `input` names as in use. While `is_busy`, all blobs and datasets stay, because a run may be about to name
    /// one. `now` is in milliseconds since 1970, UTC.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use model::protocol::PruneInput;
    /// use registry::{MemoryStore, Registry};
    #[doc = include_str!("example.txt")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// const DAY: i64 = 24 * 3600 * 1000;
    /// let store = Arc::new(MemoryStore::default());
    /// let registry = Registry::new(store.clone());
    /// let oldest = registered(&registry, 1).await?;
    /// for run in [2, 3] {
    ///     registered(&registry, run).await?;
    /// }
    /// let keep_two = PruneInput { keep: 2, ..PruneInput::default() };
    ///
    /// store.set_clock(DAY);
    /// let pruned = registry.prune(&keep_two, DAY).await?;
    /// assert_eq!((pruned.marked, pruned.versions.len()), (1, 0));
    ///
    /// store.set_clock(2 * DAY);
    /// assert_eq!(registry.prune(&keep_two, 2 * DAY).await?.versions, [oldest]);
    /// assert_eq!(registry.manifests().await?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn prune(&self, input: &PruneInput, now: i64) -> Result<Pruned, Error> {
        let found = self.survey(input, now).await?;
        let mut pruned = Pruned { marked: found.unmarked.len() as u64, was_busy: input.is_busy, ..Pruned::default() };
        if input.dry_run {
            found.due.into_values().for_each(|unneeded| unneeded.count_into(&mut pruned));
            let litter = self.litter(found.generation, &pruned.versions, now).await?;
            pruned.bytes += litter.iter().map(|entry| entry.bytes).sum::<u64>();
            return Ok(pruned);
        }
        for path in &found.unmarked {
            self.mark(path).await?;
        }
        let generation = found.generation;
        if found.has_work() {
            let announced = self.announce(found.due.into_keys().collect()).await?;
            // Somebody may have claimed an object before the marks and announcements were visible.
            let deleted = async {
                let again = self.survey(input, now).await?;
                self.delete_announced(&announced, again, &mut pruned).await
            };
            // After an error a deletion may still be on its way. The announcements stay until that is impossible.
            deleted.await?;
            self.withdraw(announced).await;
        }
        for entry in self.litter(generation, &[], now).await? {
            self.store.delete(&entry.name).await?;
            pruned.bytes += entry.bytes;
        }
        Ok(pruned)
    }

    /// Deletes the announced objects that are still due.
    ///
    /// Removes the marks of objects that are needed.
    async fn delete_announced(&self, announced: &Announced, again: Survey, pruned: &mut Pruned) -> Result<(), Error> {
        for path in &again.stale {
            self.unmark(path).await?;
        }
        for (path, unneeded) in again.due {
            if !announced.objects.contains(&path) {
                continue;
            }
            for entry in &unneeded.objects {
                // Others wait for the end of an announced deletion, but not for ever.
                if self.store.now().saturating_sub(announced.at) > DELETING {
                    tracing::warn!("retention took too long and stops; the next run deletes the rest");
                    return Ok(());
                }
                self.store.delete_at_once(&entry.name).await?;
            }
            self.unmark(&path).await?;
            unneeded.count_into(pruned);
        }
        Ok(())
    }

    /// Reads everything and finds the unneeded objects. Changes nothing. An unreadable manifest is an error.
    async fn survey(&self, input: &PruneInput, now: i64) -> Result<Survey, Error> {
        let marks = self.marks().await?;
        let history = self.history().await?;
        let (manifests, mut named) = self.read_manifests().await?;
        // The next service that starts loads the shadow's version.
        let shadow = self.shadow(None).await?.and_then(|order| order.version);
        let mut unneeded = BTreeMap::new();

        let promoted: BTreeSet<&Version> = history.iter().map(|promotion| &promotion.record.version).collect();
        // Names sort by time: the oldest come first.
        let spare = manifests.len().saturating_sub(input.keep as usize);
        for (version, entry) in manifests.into_iter().take(spare) {
            let is_used =
                promoted.contains(&version) || input.in_use.contains(&version) || shadow.as_ref() == Some(&version);
            if is_old(&entry, now) && !is_used {
                unneeded.insert(entry.name.clone(), Unneeded { kind: Kind::Version(version), objects: vec![entry] });
            }
        }
        if !input.is_busy {
            named.datasets.extend(self.newest_import().await?.map(|manifest| manifest.digest));
            unneeded.extend(self.unneeded_blobs(&named).await?);
            unneeded.extend(self.unneeded_datasets(&named).await?);
            unneeded.retain(|_, unneeded| unneeded.objects.iter().all(|entry| is_old(entry, now)));
        }

        let was_looked_at = |path: &str| !input.is_busy || path.starts_with(Key::MODELS);
        let stale = marks.keys().filter(|path| !unneeded.contains_key(*path) && was_looked_at(path)).cloned().collect();
        let unmarked = unneeded.keys().filter(|path| !marks.contains_key(*path)).cloned().collect();
        unneeded.retain(|path, _| marks.get(path).is_some_and(|&marked| now.saturating_sub(marked) >= MARKED));
        let generation = history.last().map(|promotion| promotion.record.generation).unwrap_or_default();
        Ok(Survey { due: unneeded, unmarked, stale, generation })
    }

    /// Old objects that nobody reads: they are deleted without a mark.
    ///
    /// These are reports of generations before the last two, probes, announcements, checkpoints, drift counts and
    /// leftovers of backtests. `going` are versions that count as deleted.
    async fn litter(&self, current: Generation, going: &[Version], now: i64) -> Result<Vec<Entry>, Error> {
        let recent = Key::reports(Generation(current.0.saturating_sub(1)));
        let mut litter = self.store.entries(Key::REPORTS).await?;
        litter.retain(|entry| entry.name < recent);
        litter.extend(self.store.entries(Key::PROBES).await?);
        litter.extend(self.store.entries(Key::ANNOUNCEMENTS).await?);
        litter.extend(self.store.entries(Key::CHECKPOINTS).await?);
        litter.extend(self.left_of_backtests(going).await?);
        litter.retain(|entry| is_old(entry, now));
        let mut drift = self.store.entries(Key::DRIFT).await?;
        drift.retain(|entry| now.saturating_sub(entry.written) >= DRIFT_KEPT);
        litter.extend(drift);
        Ok(litter)
    }

    /// Backtests of versions that were deleted or are `going`, and parts of backtests.
    async fn left_of_backtests(&self, going: &[Version]) -> Result<Vec<Entry>, Error> {
        let mut entries = self.store.entries(Key::BACKTESTS).await?;
        if entries.is_empty() {
            return Ok(entries);
        }
        let there = self.store.list(Key::MODELS).await?;
        let mut there: BTreeSet<Version> = there.iter().filter_map(|path| Key::version_of(path)).collect();
        there.retain(|version| !going.contains(version));
        let is_kept = |path: &str| {
            Key::backtest_of(path).is_some_and(|(version, report)| report.is_some() && there.contains(&version))
        };
        entries.retain(|entry| !is_kept(&entry.name));
        Ok(entries)
    }

    /// Every version, oldest first, and the objects that their manifests name.
    async fn read_manifests(&self) -> Result<(Vec<(Version, Entry)>, Named), Error> {
        let entries = self.store.entries(Key::MODELS).await?;
        let versions = entries.into_iter().filter_map(|entry| Some((Key::version_of(&entry.name)?, entry)));
        let read = |(version, entry): (Version, Entry)| async move {
            match self.manifest(&version).await {
                Ok((manifest, _)) => Ok(Some((version, entry, manifest))),
                // Another retention run deleted it meanwhile.
                Err(Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let found: Vec<_> =
            futures_util::stream::iter(versions).map(read).buffered(REQUESTS_AT_ONCE).try_collect().await?;
        let mut named = Named::default();
        let add = |(version, entry, manifest): (Version, Entry, ModelManifest)| {
            named.add(manifest);
            (version, entry)
        };
        let versions = found.into_iter().flatten().map(add).collect();
        Ok((versions, named))
    }

    async fn unneeded_blobs(&self, named: &Named) -> Result<Vec<(String, Unneeded)>, Error> {
        let blobs = self.store.entries(Key::BLOBS).await?.into_iter();
        let unnamed = blobs.filter(|entry| Key::blob_of(&entry.name).is_some_and(|blob| !named.blobs.contains(&blob)));
        Ok(unnamed.map(|entry| (entry.name.clone(), Unneeded { kind: Kind::Blob, objects: vec![entry] })).collect())
    }

    /// A dataset is deleted as a whole, its manifest first.
    ///
    /// Marks and announcements are on the manifest.
    async fn unneeded_datasets(&self, named: &Named) -> Result<BTreeMap<String, Unneeded>, Error> {
        let mut unneeded = BTreeMap::new();
        for entry in self.store.entries(Key::DATASETS).await? {
            if let Some(dataset) = Key::dataset_of(&entry.name).filter(|dataset| !named.datasets.contains(dataset)) {
                let whole = unneeded.entry(Key::Dataset(&dataset).path());
                whole.or_insert(Unneeded { kind: Kind::Dataset, objects: Vec::new() }).objects.push(entry);
            }
        }
        Ok(unneeded)
    }
}

/// The unneeded objects and the stale marks in the bucket.
struct Survey {
    /// Unneeded, and marked at least a day ago; by the marked name.
    due: BTreeMap<String, Unneeded>,
    /// Unneeded, but not marked yet.
    unmarked: Vec<String>,
    /// Marked, but needed or no longer there.
    stale: Vec<String>,
    /// The newest generation.
    generation: Generation,
}

impl Survey {
    /// Whether there is anything to mark, to delete or to unmark.
    fn has_work(&self) -> bool {
        !(self.due.is_empty() && self.unmarked.is_empty() && self.stale.is_empty())
    }
}

fn is_old(entry: &Entry, now: i64) -> bool {
    now.saturating_sub(entry.written) >= YOUNG
}

/// Something that nothing needs: its objects in the order of deletion.
struct Unneeded {
    kind: Kind,
    objects: Vec<Entry>,
}

enum Kind {
    Version(Version),
    Blob,
    Dataset,
}

impl Unneeded {
    fn count_into(self, pruned: &mut Pruned) {
        pruned.bytes += self.objects.iter().map(|entry| entry.bytes).sum::<u64>();
        match self.kind {
            Kind::Version(version) => pruned.versions.push(version),
            Kind::Blob => pruned.blobs += 1,
            Kind::Dataset => pruned.datasets += 1,
        }
    }
}

/// The objects that manifests name.
#[derive(Default)]
struct Named {
    blobs: BTreeSet<Digest>,
    datasets: BTreeSet<Digest>,
}

impl Named {
    fn add(&mut self, manifest: ModelManifest) {
        self.blobs.insert(manifest.artifact);
        self.datasets.insert(manifest.dataset);
        self.datasets.extend(manifest.sample);
    }
}
