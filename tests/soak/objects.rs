//! The objects in the bucket, and whether retention deletes all that nothing needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use model::{Digest, protocol::PruneInput};
use registry::{Key, ModelManifest};

use crate::{operator::now, stack::Stack};

/// Leftovers of a run that died before it registered its version, of a probe that died, and of abandoned fine-tuning.
const LITTER: [&str; 3] = ["an artifact that no manifest names", "probe/50a4c0de", "checkpoints"];
/// The number of versions that stay besides those of the history.
pub(crate) const KEEP: u32 = 2;

/// The objects of a bucket by the first part of their names.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Leaves litter behind, for retention to find.
pub(crate) fn litter(stack: &Stack) {
    stack.runtime.block_on(async {
        let [artifact, probe, checkpoint] = LITTER;
        stack.registry.put_artifact(artifact.as_bytes().to_vec()).await.unwrap();
        let checkpoint = Key::Checkpoint(&Digest::of(checkpoint.as_bytes()), 1, 1).path();
        for path in [probe.to_owned(), checkpoint] {
            stack.store.create(&path, Bytes::from_static(b"litter")).await.unwrap();
        }
    });
}

pub(crate) fn counts(stack: &Stack) -> Counts {
    let mut counts = Counts::new();
    for path in all(stack) {
        let prefix = path.split('/').next().unwrap_or_default().to_owned();
        *counts.entry(prefix).or_default() += 1;
    }
    counts
}

fn all(stack: &Stack) -> Vec<String> {
    stack.runtime.block_on(stack.store.list("")).unwrap()
}

/// Runs retention on each of the next four days. Returns the deleted versions.
///
/// It marks versions, deletes them a day later, then marks the blobs that nothing names any more, and deletes those.
pub(crate) fn prune(stack: &Stack) -> Vec<String> {
    let mut deleted = Vec::new();
    for days in 1..=4 {
        let clock = now() + Duration::from_hours(25 * days).as_millis() as i64;
        let input = PruneInput { keep: KEEP, ..PruneInput::default() };
        let pruned = stack.runtime.block_on(stack.registry.prune(&input, clock)).unwrap();
        deleted.extend(pruned.versions.iter().map(ToString::to_string));
    }
    deleted
}

/// Objects that retention should have deleted.
pub(crate) fn unneeded(stack: &Stack, promoted: &BTreeSet<String>) -> Vec<String> {
    let manifests = stack.runtime.block_on(stack.registry.manifests()).unwrap();
    unneeded_of(&all(stack), &manifests, promoted)
}

fn unneeded_of(paths: &[String], manifests: &[ModelManifest], promoted: &BTreeSet<String>) -> Vec<String> {
    let artifacts: BTreeSet<&Digest> = manifests.iter().map(|manifest| &manifest.artifact).collect();
    let datasets: BTreeSet<&Digest> =
        manifests.iter().flat_map(|manifest| [Some(&manifest.dataset), manifest.sample.as_ref()]).flatten().collect();
    // Newest first.
    let spare = manifests.iter().map(|manifest| manifest.version.to_string()).skip(KEEP as usize);
    let mut unneeded: Vec<String> = spare.filter(|version| !promoted.contains(version)).collect();
    let is_litter = |path: &&String| {
        let is_temporary = ["probe/", Key::CHECKPOINTS, Key::ANNOUNCEMENTS, Key::MARKS];
        let of_nobody = Key::blob_of(path).is_some_and(|blob| !artifacts.contains(&blob))
            || Key::dataset_of(path).is_some_and(|dataset| !datasets.contains(&dataset));
        of_nobody || is_temporary.iter().any(|prefix| path.starts_with(prefix))
    };
    unneeded.extend(paths.iter().filter(is_litter).cloned());
    unneeded
}

#[test]
fn what_nothing_needs_is_told() {
    let blob = Key::Blob(&Digest::of(b"a")).path();
    let dataset = Key::Shard(&Digest::of(b"b"), 1).path();
    let paths = [&blob, "probe/1", &dataset, "checkpoints/a/b", "history/production/0000000001.json", "retired/x"];
    let paths = paths.map(str::to_owned);
    let found = unneeded_of(&paths, &[], &BTreeSet::new());
    assert_eq!(found, [&paths[0], &paths[1], &paths[2], &paths[3], &paths[5]].map(String::clone));
}
