//! Retention, verification and replicas: what is kept, what is deleted, which changes are reported.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::{block_on, promotion, registered};
use model::{Generation, Version, protocol::PruneInput};
use registry::{Error, Key, MemoryStore, Registry, ReplicaId, Store};

#[test]
fn what_history_names_is_never_pruned_nor_what_is_young_or_in_use() {
    const DAY: i64 = 24 * 3600 * 1000;
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        let mut versions = Vec::new();
        for number in 0..5 {
            versions.push(registered(&registry, number).await);
        }
        versions.sort_unstable();
        registry.promote(&promotion(&versions[0], "1", None), 0).await.unwrap();
        let orphan = registry.put_artifact(b"left behind by a run that died".to_vec()).await.unwrap();
        let unused = registry.put_dataset("sample.txt", model::SAMPLE_CORPUS).await.unwrap();
        let prune = |input: PruneInput, now| {
            let registry = registry.clone();
            async move { registry.prune(&input, now).await.unwrap() }
        };
        let keep = |keep| PruneInput { keep, ..PruneInput::default() };

        let young = prune(keep(1), DAY - 1).await;
        assert_eq!((&young.versions[..], young.marked), (&[][..], 0), "all is younger than a day");
        let in_use = PruneInput { in_use: vec![versions[1].clone()], is_busy: true, ..keep(1) };
        // An object is marked first and deleted a day later. A dry run does neither.
        let dry = PruneInput { dry_run: true, ..in_use.clone() };
        store.set_clock(DAY);
        for expected in [2, 2] {
            assert_eq!(
                (prune(dry.clone(), DAY).await.marked, prune(dry.clone(), 2 * DAY).await.versions),
                (expected, vec![])
            );
        }
        assert_eq!(prune(in_use.clone(), DAY).await.marked, 2);
        let refused = registry.promote(&promotion(&versions[2], "marked", None), 0).await;
        assert!(matches!(&refused, Err(Error::Retired(version)) if *version == versions[2]), "{refused:?}");
        assert_eq!(prune(in_use.clone(), 2 * DAY - 1).await.versions, [], "marked less than a day ago");
        let kept = prune(PruneInput { keep: 9, ..in_use.clone() }, DAY).await;
        assert_eq!((kept.marked, store.list(Key::MARKS).await.unwrap().len()), (0, 0), "kept after all");
        assert_eq!(prune(in_use.clone(), DAY).await.marked, 2);
        let would = prune(PruneInput { dry_run: true, ..in_use.clone() }, 2 * DAY).await;
        assert_eq!((&would.versions[..], would.blobs, would.datasets, would.was_busy), (&versions[2..4], 0, 0, true));
        assert_eq!(registry.manifests().await.unwrap().len(), 5, "a dry run deletes nothing");
        let did = prune(in_use, 2 * DAY).await;
        assert_eq!((did.versions, did.bytes), (would.versions, would.bytes));
        let left: Vec<Version> = registry.manifests().await.unwrap().into_iter().map(|m| m.version).collect();
        assert_eq!(left, [&versions[4], &versions[1], &versions[0]].map(Clone::clone));

        store.set_clock(2 * DAY);
        assert_eq!(prune(keep(1), 2 * DAY).await.marked, 3, "a version, an orphan, a dataset");
        // Storing a marked object again removes its mark.
        let again = registry.put_artifact(b"left behind by a run that died".to_vec()).await.unwrap();
        registry.put_dataset("sample.txt", model::SAMPLE_CORPUS).await.unwrap();
        assert_eq!(again, orphan);
        let did = prune(keep(1), 3 * DAY).await;
        assert_eq!((&did.versions[..], did.blobs, did.datasets, did.marked), (&versions[1..2], 0, 0, 2));
        store.set_clock(3 * DAY);
        let did = prune(keep(1), 4 * DAY).await;
        assert_eq!((did.blobs, did.datasets), (1, 1));
        assert!(matches!(registry.artifact(&orphan).await, Err(Error::NotFound { .. })));
        assert!(matches!(registry.dataset(&unused.digest).await, Err(Error::NotFound { .. })));
        assert!(registry.load(&versions[0]).await.is_ok(), "it is in production");
        assert!(registry.load(&versions[4]).await.is_ok(), "it is the newest");
        assert_eq!(registry.verify().await.unwrap().problems, Vec::<String>::new());
    });
}

#[test]
fn a_replica_that_does_not_renew_its_report_is_dead() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        let [dead, alive] = ["dead", "alive"].map(ReplicaId::new);
        for replica in [&dead, &alive] {
            registry.report_serving(replica, Generation(1), None).await.unwrap();
        }
        assert_eq!(registry.serving(Generation(2)).await.unwrap().missing.len(), 2);
        store.set_clock(3 * registry::RENEW.as_millis() as i64);
        registry.renew_report(&alive, Generation(1)).await.unwrap();
        assert_eq!(registry.serving(Generation(2)).await.unwrap().missing, [alive.as_str()]);
    });
}

#[test]
fn a_changed_history_is_told_generation_by_generation() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        let [a, b] = [registered(&registry, 0).await, registered(&registry, 1).await];
        for (generation, version) in [(0, &a), (1, &b), (2, &a), (3, &b)] {
            let input = promotion(version, &generation.to_string(), Some(generation));
            registry.promote(&input, 1000 * (generation as i64 + 1)).await.unwrap();
        }
        let at = |at| {
            let registry = registry.clone();
            async move { registry.production_at(at).await.unwrap().map(|p| p.record.generation.0) }
        };
        assert_eq!([at(999).await, at(1000).await, at(2500).await, at(9999).await], [None, Some(1), Some(2), Some(4)]);
        let problems = || async { registry.verify().await.unwrap().problems.join("; ") };
        assert_eq!(problems().await, "");
        let record = |generation| Key::Record(Generation(generation)).path();
        let rewrite = |generation, from: &str, to: &str| {
            store.corrupt(&record(generation), |bytes| {
                *bytes = String::from_utf8(bytes.clone()).unwrap().replace(from, to).into_bytes();
            });
        };
        rewrite(2, r#""reason": "test""#, r#""reason": "rewritten""#);
        assert!(problems().await.contains("generation 3 names another digest"), "{}", problems().await);
        rewrite(2, "rewritten", "test");
        assert_eq!(problems().await, "");
        let kept = store.get(&record(3)).await.unwrap().unwrap();
        store.delete(&record(3)).await.unwrap();
        // A gap must not be taken for the end: retention would delete production, and a rollback would start too early.
        for refused in [
            registry.prune(&PruneInput::default(), i64::MAX).await.map(drop),
            registry.rollback_target(None).await.map(drop),
        ] {
            assert!(matches!(&refused, Err(Error::Corrupt { path, .. }) if *path == record(3)), "{refused:?}");
        }
        assert!(problems().await.contains("generation 3 is missing"), "{}", problems().await);
        store.create(&record(3), kept).await.unwrap();
        store.delete(&Key::Model(&a).path()).await.unwrap();
        assert!(problems().await.contains("cannot be loaded"), "{}", problems().await);
    });
}

#[test]
fn changed_bytes_are_refused_wherever_they_are() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        let version = registered(&registry, 0).await;
        let dataset = registry.import_dataset("sample.txt", model::SAMPLE_CORPUS, 1).await.unwrap();
        let (manifest, _) = registry.manifest(&version).await.unwrap();
        let blob = Key::Blob(&manifest.artifact).path();
        for byte in 0..100 {
            let flip = |bytes: &mut Vec<u8>| {
                let at = byte * (bytes.len() - 1) / 99;
                bytes[at] ^= 1 << (byte % 8);
            };
            store.corrupt(&blob, flip);
            assert!(matches!(registry.load(&version).await, Err(Error::Corrupt { .. })), "byte {byte}");
            let refused = registry.promote(&promotion(&version, "change", None), 0).await;
            assert!(matches!(refused, Err(Error::Corrupt { .. })), "byte {byte}");
            store.corrupt(&blob, flip);
        }
        assert!(registry.load(&version).await.is_ok());
        // The manifest of a promoted version: with any flipped bit it is not the promoted one.
        registry.promote(&promotion(&version, "first", None), 0).await.unwrap();
        let manifest = Key::Model(&version).path();
        for byte in 0..100 {
            let flip = |bytes: &mut Vec<u8>| {
                let at = byte * (bytes.len() - 1) / 99;
                bytes[at] ^= 1 << (byte % 8);
            };
            store.corrupt(&manifest, flip);
            let found = registry.verify().await.unwrap().problems;
            assert!(!found.is_empty(), "byte {byte}");
            store.corrupt(&manifest, flip);
        }
        assert_eq!(registry.verify().await.unwrap().problems, Vec::<String>::new());
        store.corrupt(&Key::Shard(&dataset.digest, 0).path(), |bytes| bytes.truncate(bytes.len() / 2));
        assert!(matches!(registry.rows(&dataset).await, Err(Error::Corrupt { .. })));
        store.corrupt(&Key::Model(&version).path(), |bytes| bytes.insert(0, b'x'));
        assert!(matches!(registry.manifest(&version).await, Err(Error::Corrupt { .. })));
    });
}
