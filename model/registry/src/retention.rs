//! What may be deleted: what no history names, nobody uses, and is not young.
//!
//! In two steps, a day apart: first an object is marked, then it is deleted. A marked version is not promoted any more, and
//! whoever stores a marked blob or dataset again takes the mark away. So nothing is deleted that somebody who started
//! before the mark was seen is about to name.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::{
    Digest, Version,
    steps::{PruneInput, Pruned},
};

use crate::{Error, Key, ModelManifest, Registry, store::Entry};

/// Younger objects may be part of something that is still being written: a day, as long as a training run may last.
const YOUNG: i64 = 24 * 3600 * 1000;

impl Registry {
    /// Marks, and a day later deletes, manifests past the newest `keep`, and the blobs, datasets and reports that nothing
    /// names.
    ///
    /// Never deleted: what the history names, what is younger than a day, what `input` names as in use; no blob and no
    /// dataset while `is_busy`, since a run may be about to name one. `now` is in milliseconds since 1970, UTC.
    pub async fn prune(&self, input: &PruneInput, now: i64) -> Result<Pruned, Error> {
        let is_old = |entry: &Entry| now.saturating_sub(entry.written) >= YOUNG;
        // Everything is read before anything is deleted; a manifest that cannot be read stops the whole.
        let history = self.history().await?;
        let promoted: BTreeSet<Version> = history.iter().map(|promotion| promotion.record.version.clone()).collect();
        let mut named = Named::default();
        let mut deleted = Pruned { was_busy: input.is_busy, ..Pruned::default() };
        let mut doomed: Vec<Entry> = Vec::new();
        let marks: BTreeMap<String, i64> =
            self.store.entries(Key::MARKS).await?.into_iter().map(|mark| (mark.name, mark.written)).collect();
        let is_due = |entry: &Entry| {
            marks.get(&Key::Retired(&entry.name).path()).is_some_and(|&marked| now.saturating_sub(marked) >= YOUNG)
        };
        let mut fresh: Vec<String> = Vec::new();
        let manifests = self.store.entries(Key::MODELS).await?;
        let spare = manifests.len().saturating_sub(input.keep as usize);
        for (at, entry) in manifests.into_iter().enumerate() {
            let Some(version) = Key::version_of(&entry.name) else { continue };
            match self.manifest(&version).await {
                Ok((manifest, _)) => named.add(&manifest),
                // Another run of retention was quicker.
                Err(Error::NotFound { .. }) => continue,
                Err(error) => return Err(error),
            }
            // Names sort by time: the oldest come first.
            if at < spare && is_old(&entry) && !promoted.contains(&version) && !input.in_use.contains(&version) {
                if is_due(&entry) {
                    deleted.versions.push(version);
                    doomed.push(entry);
                } else {
                    fresh.push(entry.name);
                }
            }
        }
        if !input.is_busy {
            named.datasets.extend(self.newest_import().await?.map(|manifest| manifest.digest));
            for entry in self.store.entries(Key::BLOBS).await? {
                if is_old(&entry) && Key::blob_of(&entry.name).is_some_and(|blob| !named.blobs.contains(&blob)) {
                    if is_due(&entry) {
                        deleted.blobs += 1;
                        doomed.push(entry);
                    } else {
                        fresh.push(entry.name);
                    }
                }
            }
            let mut datasets = BTreeSet::new();
            for entry in self.store.entries(Key::DATASETS).await? {
                let dataset = Key::dataset_of(&entry.name).filter(|dataset| !named.datasets.contains(dataset));
                if let Some(dataset) = dataset.filter(|_| is_old(&entry)) {
                    // A dataset goes as a whole: its manifest's mark decides.
                    let manifest = Key::Dataset(&dataset).path();
                    if is_due(&Entry { name: manifest.clone(), ..entry.clone() }) {
                        datasets.insert(dataset);
                        doomed.push(entry);
                    } else {
                        fresh.push(manifest);
                    }
                }
            }
            deleted.datasets = datasets.len() as u64;
        }
        let current = history.last().map(|promotion| promotion.record.generation).unwrap_or_default();
        let recent = Key::reports(model::Generation(current.0.saturating_sub(1)));
        let reports = self.store.entries(Key::REPORTS).await?;
        doomed.extend(reports.into_iter().filter(|entry| is_old(entry) && entry.name < recent));
        doomed.extend(self.store.entries(Key::PROBES).await?.into_iter().filter(is_old));
        let doomed_names = doomed.iter().map(|entry| &entry.name);
        let wanted: Vec<String> = fresh.iter().chain(doomed_names).map(|name| Key::Retired(name).path()).collect();
        // A version that is kept after all may be promoted again.
        let of_versions = Key::Retired(Key::MODELS).path();
        let lifted: Vec<&String> =
            marks.keys().filter(|mark| mark.starts_with(&of_versions) && !wanted.contains(mark)).collect();
        fresh.retain(|name| !marks.contains_key(&Key::Retired(name).path()));
        fresh.sort_unstable();
        fresh.dedup();
        deleted.marked = fresh.len() as u64;
        deleted.bytes = doomed.iter().map(|entry| entry.bytes).sum();
        if !input.dry_run {
            for mark in lifted {
                self.store.delete(mark).await?;
            }
            for name in &fresh {
                self.store.create(&Key::Retired(name).path(), Bytes::new()).await?;
            }
            for entry in &doomed {
                self.store.delete(&entry.name).await?;
                self.unmark(&entry.name).await?;
            }
        }
        Ok(deleted)
    }
}

impl Registry {
    /// Takes the mark off an object that is stored again.
    pub(crate) async fn unmark(&self, path: &str) -> Result<(), Error> {
        Ok(self.store.delete(&Key::Retired(path).path()).await?)
    }

    /// Whether a version is marked.
    pub(crate) async fn is_retired(&self, version: &Version) -> Result<bool, Error> {
        let mark = Key::Retired(&Key::Model(version).path()).path();
        Ok(self.store.get(&mark).await?.is_some())
    }
}

/// What manifests name.
#[derive(Default)]
struct Named {
    blobs: BTreeSet<Digest>,
    datasets: BTreeSet<Digest>,
}

impl Named {
    fn add(&mut self, manifest: &ModelManifest) {
        self.blobs.insert(manifest.artifact.clone());
        self.datasets.insert(manifest.dataset.clone());
        self.datasets.extend(manifest.sample.clone());
    }
}
