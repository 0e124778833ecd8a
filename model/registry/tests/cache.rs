//! The cache: three generations of one bucket on disk, each whole or not used.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{fs, path::PathBuf, sync::Arc};

use common::{block_on, promotion, registered};
use model::{Digest, Generation};
use registry::{Bundle, Cache, Error, Keys, MemoryStore, Registry, Role};

/// Promotes versions one after the other. Returns each bundle and the digest of its record.
async fn bundles(registry: &Registry, number: usize) -> Vec<(Bundle, Digest)> {
    let mut bundles = Vec::new();
    for at in 0..number {
        let version = registered(registry, at).await;
        registry.promote(&promotion(&version, &at.to_string(), None), 0).await.unwrap();
        let promoted = registry.promotion(Generation(at as u64 + 1)).await.unwrap().unwrap();
        bundles.push((registry.bundle(&promoted).await.unwrap(), promoted.digest));
    }
    bundles
}

fn newest(cache: &Cache) -> Digest {
    cache.production().unwrap().promotion.digest
}

fn kept_folders(folder: &std::path::Path) -> Vec<PathBuf> {
    let store = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut folders: Vec<PathBuf> = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

#[test]
fn the_last_three_generations_are_kept_and_the_newest_whole_one_serves() {
    block_on(async {
        let registry = Registry::new(Arc::new(MemoryStore::default()));
        let bundles = bundles(&registry, 5).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path(), "a bucket");
        assert!(cache.production().is_none(), "nothing is kept yet");
        for (at, (bundle, digest)) in bundles.iter().enumerate() {
            for _ in 0..2 {
                cache.keep(bundle, Generation(at as u64 + 1), digest).unwrap();
            }
            assert_eq!(newest(&cache), *digest);
        }
        let folders = kept_folders(folder.path());
        assert_eq!(folders.len(), 3, "{folders:?}");
        assert!(folders[0].file_name().unwrap().to_str().unwrap().starts_with("0000000003-"), "{folders:?}");
        let production = bundles[4].0.clone().open(&bundles[4].1).await.unwrap();
        assert_eq!(
            (production.promotion.record.generation, production.manifest.version),
            (Generation(5), common::version(4))
        );

        // A folder that a killed process left unfinished is not used, and is deleted with the next generation.
        let unfinished = folders[0].with_file_name(".new-0000");
        fs::create_dir(&unfinished).unwrap();
        fs::write(unfinished.join("artifact"), "half").unwrap();
        assert_eq!(newest(&cache), bundles[4].1);
        let being_written = folders[0].with_file_name(".new-0001");
        fs::create_dir(&being_written).unwrap();
        let two_hours_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(2);
        fs::File::open(&unfinished).unwrap().set_modified(two_hours_ago).unwrap();
        fs::remove_dir_all(&folders[2]).unwrap();
        assert_eq!(newest(&cache), bundles[3].1);
        cache.keep(&bundles[4].0, Generation(5), &bundles[4].1).unwrap();
        assert!(!unfinished.exists() && being_written.exists(), "another process may be writing");
        assert!(Cache::new(folder.path(), "another bucket").production().is_none());
    });
}

#[test]
fn a_changed_byte_anywhere_is_never_served_and_is_mended() {
    block_on(async {
        let registry = Registry::new(Arc::new(MemoryStore::default()));
        let bundles = bundles(&registry, 2).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path(), "a bucket");
        for (at, (bundle, digest)) in bundles.iter().enumerate() {
            cache.keep(bundle, Generation(at as u64 + 1), digest).unwrap();
        }
        let place = kept_folders(folder.path()).pop().unwrap();
        for name in ["record.json", "manifest.json", "artifact"] {
            let (path, before) = (place.join(name), fs::read(place.join(name)).unwrap());
            for at in (0..before.len()).step_by(before.len() / 20 + 1) {
                let mut changed = before.clone();
                changed[at] ^= 1;
                fs::write(&path, changed).unwrap();
                assert_eq!(newest(&cache), bundles[0].1, "{name}, byte {at}");
            }
            fs::write(&path, &before[..before.len() / 2]).unwrap();
            assert_eq!(newest(&cache), bundles[0].1, "half of {name}");
            fs::remove_file(&path).unwrap();
            assert_eq!(newest(&cache), bundles[0].1, "no {name}");
            cache.keep(&bundles[1].0, Generation(2), &bundles[1].1).unwrap();
            assert_eq!(newest(&cache), bundles[1].1, "kept again");
        }
        // A bundle that is not whole is not kept at all.
        let mixed = Bundle { artifact: b"another".to_vec().into(), ..bundles[1].0.clone() };
        assert!(cache.keep(&mixed, Generation(2), &bundles[1].1).is_err());
        assert_eq!(newest(&cache), bundles[1].1);
        let other = mixed.open(&bundles[1].1).await.map(|_| ());
        assert!(matches!(other, Err(Error::Corrupt { .. })), "{other:?}");
    });
}

#[test]
fn keys_are_kept_without_the_keys_themselves_and_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    block_on(async {
        let registry = Registry::new(Arc::new(MemoryStore::default()));
        let (_, secret) = registry.create_key(&"bot".parse().unwrap(), &[Role::Predict], "test").await.unwrap();
        let keys = registry.keys(&Keys::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path(), "a bucket");
        assert_eq!(cache.keys(), None);
        cache.keep_keys(&keys).unwrap();
        assert_eq!(cache.keys(), Some(keys));
        let file = kept_folders(folder.path()).pop().unwrap();
        assert!(!fs::read_to_string(&file).unwrap().contains(secret.expose()));
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    });
}

#[test]
fn a_model_that_cannot_be_read_gives_way_to_the_one_before() {
    block_on(async {
        let registry = Registry::new(Arc::new(MemoryStore::default()));
        let bundles = bundles(&registry, 2).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path(), "a bucket");
        cache.keep(&bundles[0].0, Generation(1), &bundles[0].1).unwrap();
        // All digests are right, but the artifact is from a later release.
        let artifact = bytes::Bytes::from_static(b"another format");
        let (_, mut manifest) = bundles[1].0.verify(&bundles[1].1).unwrap();
        manifest.artifact = Digest::of(&artifact);
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut record = registry.promotion(Generation(2)).await.unwrap().unwrap().record;
        record.manifest = Digest::of(&manifest);
        let record = serde_json::to_vec(&record).unwrap();
        let digest = Digest::of(&record);
        let future = Bundle { record: record.into(), manifest: manifest.into(), artifact };
        cache.keep(&future, Generation(2), &digest).unwrap();
        assert_eq!(newest(&cache), bundles[0].1);
    });
}

#[test]
fn a_history_that_begins_anew_takes_the_place_of_the_old_one() {
    block_on(async {
        let (old, new) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
        let old = bundles(&Registry::new(old), 4).await;
        let new_registry = Registry::new(new);
        registered(&new_registry, 7).await;
        let new = bundles(&new_registry, 2).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path(), "a bucket");
        for (at, (bundle, digest)) in old.iter().enumerate() {
            cache.keep(bundle, Generation(at as u64 + 1), digest).unwrap();
        }
        // The bucket was emptied and trained on again.
        let input = common::input(common::version(7), "anew".to_owned(), None);
        let fresh = Registry::new(Arc::new(MemoryStore::default()));
        registered(&fresh, 7).await;
        fresh.promote(&input, 0).await.unwrap();
        let first = fresh.promotion(Generation(1)).await.unwrap().unwrap();
        let bundle = fresh.bundle(&first).await.unwrap();
        cache.keep(&bundle, Generation(1), &first.digest).unwrap();
        assert_eq!(newest(&cache), first.digest, "not generation 4 of a history that is gone");
        cache.keep(&new[1].0, Generation(2), &new[1].1).unwrap();
        assert_eq!(newest(&cache), new[1].1);
    });
}
