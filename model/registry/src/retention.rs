//! What may be deleted: what no history names, nobody uses, and is not young.

use std::collections::BTreeSet;

use model::{
    Digest, Version,
    steps::{PruneInput, Pruned},
};

use crate::{Error, Key, ModelManifest, Registry, store::Entry};

/// Younger objects may be part of something that is still being written: a day, as long as a training run may last.
const YOUNG: i64 = 24 * 3600 * 1000;

impl Registry {
    /// Deletes manifests past the newest `keep`, and the blobs, datasets and reports that nothing names.
    ///
    /// Never deleted: what the history names, what is younger than a day, what `input` names as in use. Blobs and
    /// datasets go only when no manifest named them at the beginning, so a version's bytes outlive its manifest by one
    /// call; and none go while `is_busy`, since a run may be about to name one. `now` is in milliseconds since 1970, UTC.
    pub async fn prune(&self, input: &PruneInput, now: i64) -> Result<Pruned, Error> {
        let is_old = |entry: &Entry| now.saturating_sub(entry.written) >= YOUNG;
        // Everything is read before anything is deleted; a manifest that cannot be read stops the whole.
        let history = self.history().await?;
        let promoted: BTreeSet<Version> = history.iter().map(|promotion| promotion.record.version.clone()).collect();
        let mut named = Named::default();
        let mut deleted = Pruned { was_busy: input.is_busy, ..Pruned::default() };
        let mut doomed: Vec<Entry> = Vec::new();
        let manifests = self.store.entries(Key::MODELS).await?;
        let spare = manifests.len().saturating_sub(input.keep as usize);
        for (at, entry) in manifests.into_iter().enumerate() {
            let Some(version) = Key::version_of(&entry.name) else { continue };
            named.add(&self.manifest(&version).await?.0);
            // Names sort by time: the oldest come first.
            if at < spare && is_old(&entry) && !promoted.contains(&version) && !input.in_use.contains(&version) {
                deleted.versions.push(version);
                doomed.push(entry);
            }
        }
        if !input.is_busy {
            named.datasets.extend(self.newest_import().await?.map(|manifest| manifest.digest));
            for entry in self.store.entries(Key::BLOBS).await? {
                if is_old(&entry) && Key::blob_of(&entry.name).is_some_and(|blob| !named.blobs.contains(&blob)) {
                    deleted.blobs += 1;
                    doomed.push(entry);
                }
            }
            let mut datasets = BTreeSet::new();
            for entry in self.store.entries(Key::DATASETS).await? {
                let dataset = Key::dataset_of(&entry.name).filter(|dataset| !named.datasets.contains(dataset));
                if let Some(dataset) = dataset.filter(|_| is_old(&entry)) {
                    datasets.insert(dataset);
                    doomed.push(entry);
                }
            }
            deleted.datasets = datasets.len() as u64;
        }
        let current = history.last().map(|promotion| promotion.record.generation).unwrap_or_default();
        let recent = Key::reports(model::Generation(current.0.saturating_sub(1)));
        let reports = self.store.entries(Key::REPORTS).await?;
        doomed.extend(reports.into_iter().filter(|entry| is_old(entry) && entry.name < recent));
        doomed.extend(self.store.entries(Key::PROBES).await?.into_iter().filter(is_old));
        deleted.bytes = doomed.iter().map(|entry| entry.bytes).sum();
        if !input.dry_run {
            for entry in &doomed {
                self.store.delete(&entry.name).await?;
            }
        }
        Ok(deleted)
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
