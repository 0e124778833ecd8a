//! The bucket in a file, and back: whole, closed, and refused wherever a byte is not as it was.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use bytes::Bytes;
use common::{TEMPLATE, block_on, manifest, promotion};
use model::{Digest, Generation, Row, Version, backtest::BacktestId, protocol::PruneInput};
use registry::{
    Created, DatasetManifest, Deed, Entry, Feedback, FeedbackId, ImportRecord, Key, KeyName, Label, MemoryStore,
    ModelManifest, PromotionRecord, Registry, ReplicaId, Role, Store, StoreError,
    backup::{BackedUp, Error, Restored, verify_backup},
};

fn on(store: &Arc<impl Store + 'static>) -> Registry {
    Registry::new(Arc::clone(store) as Arc<dyn Store>)
}

fn feedback(text: &str, label: Label) -> Feedback {
    Feedback {
        text: text.to_owned(),
        label,
        sentences: [].into(),
        reviewer: "anna".parse().unwrap(),
        note: None,
        model: None,
        request_id: None,
    }
}

/// A version with a dataset that is there.
async fn registered(registry: &Registry, number: usize, dataset: &DatasetManifest) -> Version {
    let manifest = ModelManifest { dataset: dataset.digest.clone(), ..manifest(number) };
    registry.put_artifact(TEMPLATE.0.clone()).await.unwrap();
    registry.register(&manifest).await.unwrap();
    manifest.version
}

/// A bucket with something of every kind that a backup holds, and of every kind that it leaves out.
async fn filled(store: &Arc<MemoryStore>) -> [Version; 2] {
    store.set_clock(1_795_399_809_000);
    let registry = on(store);
    let dataset = registry.import_dataset("sample.txt", model::SAMPLE_CORPUS, 1).await.unwrap();
    let versions = [registered(&registry, 0, &dataset).await, registered(&registry, 1, &dataset).await];
    for (at, version) in (0..).zip([&versions[0], &versions[1], &versions[0]]) {
        registry.promote(&promotion(version, &at.to_string(), Some(at)), 1000).await.unwrap();
    }
    registry.order_shadow(Some(&versions[0]), 0.5, "mona").await.unwrap();
    registry.order_shadow(Some(&versions[1]), 0.5, "mona").await.unwrap();
    for (text, label) in [("a", Label::Threat), ("b", Label::Harmless), ("a", Label::Harmless)] {
        registry.put_feedback(feedback(text, label)).await.unwrap();
    }
    registry.put_feedback(feedback("deleted", Label::Threat)).await.unwrap();
    let anna: KeyName = "anna".parse().unwrap();
    registry.delete_feedback(&FeedbackId::new("deleted", &anna)).await.unwrap();
    registry.create_key(&anna, &[Role::Review], "mona").await.unwrap();
    registry.create_key(&"gone".parse().unwrap(), &[Role::Operate], "mona").await.unwrap();
    registry.revoke_keys(&"gone".parse().unwrap(), None, "mona").await.unwrap();
    let deed = |action: &str| Deed {
        actor: "mona".to_owned(),
        key: None,
        action: action.to_owned(),
        subject: None,
        reason: None,
        request_id: None,
    };
    for action in ["promote", "train"] {
        let sequence = registry.audit(&deed(action)).await.unwrap();
        let outcome = registry::AuditOutcome { outcome: "done".to_owned(), detail: String::new() };
        registry.audit_outcome(sequence, &outcome).await.unwrap();
    }
    registry.put_encoder_base(&Digest::of(b"base"), vec![7; 9 << 20]).await.unwrap();
    let backtest = BacktestId::derive(0, "backtest", "run");
    put(store, &Key::Backtest(&versions[0], &backtest).path(), "{}").await;
    put(store, &Key::Drift(&versions[0], 400_000, 7).path(), "{}").await;
    put(store, &Key::Provenance(&dataset.digest).path(), "{}").await;

    // What is left out.
    registry.report_serving(&ReplicaId::new("api"), Generation(3), None).await.unwrap();
    registry.put_cases(&versions[0], &backtest, 0, Vec::new()).await.unwrap();
    registry.put_checkpoint(&Digest::of(b"work"), 1, vec![1]).await.unwrap();
    put(store, &Key::Retired(&Key::Model(&versions[1]).path()).path(), "").await;
    put(store, &Key::Deleting(&Key::Model(&versions[1]).path(), "3f9c2a1b").path(), "").await;
    put(store, "probe/3f9c2a1b", "").await;
    // An old import whose dataset retention has deleted, and what a backtest of a deleted version left.
    let gone = Digest::of(b"gone");
    put(store, &Key::Import(0, &gone).path(), &format!("{{\"dataset\":\"{gone}\",\"at\":0}}")).await;
    put(store, &Key::Backtest(&common::version(9), &backtest).path(), "{}").await;
    put(store, &Key::AuditOutcome(3).path(), "{}").await;
    versions
}

const LEFT_OUT: [&str; 5] = ["serving/", "checkpoints/", "retired/", "deleting/", "probe/"];

async fn put(store: &MemoryStore, name: &str, body: &str) {
    store.create(name, body.to_owned().into()).await.unwrap();
}

async fn back_up(registry: &Registry) -> (Vec<u8>, BackedUp) {
    registry.back_up(Vec::new(), "0.0.0").await.unwrap()
}

async fn objects(store: &impl Store) -> Vec<(String, Bytes)> {
    let mut objects = Vec::new();
    for Entry { name, .. } in store.entries("").await.unwrap() {
        let bytes = store.get(&name).await.unwrap().unwrap();
        objects.push((name, bytes));
    }
    objects
}

async fn restore(file: &[u8]) -> Result<(Arc<MemoryStore>, Restored), Error> {
    let store = Arc::new(MemoryStore::default());
    let restored = on(&store).restore(file.to_vec()).await?;
    Ok((store, restored))
}

#[test]
fn a_bucket_comes_back_byte_for_byte_without_what_is_of_a_moment() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let versions = filled(&store).await;
        put(&store, "notes.txt", "of somebody else").await;
        let (file, written) = back_up(&on(&store)).await;
        assert_eq!(written.left_out.unknown, ["notes.txt"]);
        assert_eq!(written.left_out.deleted, 2, "an old import and an old backtest");
        let contents = verify_backup(&file[..]).unwrap();
        assert_eq!(contents, written.contents);
        assert_eq!((contents.about.generation, contents.versions, contents.datasets), (Generation(3), 2, 1));
        assert_eq!((contents.decisions, contents.keys, contents.about.program.as_str()), (3, 1, "0.0.0"));

        let (other, restored) = restore(&file).await.unwrap();
        assert_eq!((&restored.contents, restored.already), (&contents, 0));
        assert_eq!(restored.verification.problems, [""; 0]);
        let mut expected = objects(&*store).await;
        let gone = Key::Backtest(&common::version(9), &BacktestId::derive(0, "backtest", "run")).path();
        expected.retain(|(name, _)| {
            !LEFT_OUT.iter().any(|prefix| name.starts_with(prefix))
                && !name.contains(".cases-")
                && ![&gone, "notes.txt", &Key::AuditOutcome(3).path()].contains(&name.as_str())
                && !name.starts_with("imports/00000000000000")
        });
        assert_eq!(objects(&*other).await, expected);
        assert_eq!(contents.objects, expected.len() as u64);

        let again = on(&other);
        assert_eq!(again.production().await.unwrap().unwrap().record.version, versions[0]);
        assert_eq!(again.shadow(None).await.unwrap().unwrap().version.as_ref(), Some(&versions[1]));
        assert_eq!(again.feedback().await.unwrap().len(), 2);
        assert!(again.newest_import().await.unwrap().is_some());
        assert!(again.encoder_base(&Digest::of(b"base")).await.unwrap().is_some());
        assert_eq!(again.audit_trail(None, 9).await.unwrap().len(), 2);
        // The number of a deleted decision is not given again.
        let (item, _) = again.put_feedback(feedback("deleted", Label::Threat)).await.unwrap();
        assert_eq!(item.revision, 2);
    });
}

#[test]
fn an_empty_bucket_is_backed_up_too() {
    block_on(async {
        let (file, written) = back_up(&on(&Arc::new(MemoryStore::default()))).await;
        assert_eq!((written.contents.objects, written.contents.about.generation), (0, Generation(0)));
        assert_eq!(restore(&file).await.unwrap().1.contents, written.contents);
    });
}

#[test]
fn each_wrong_byte_and_each_missing_end_is_refused_before_anything_is_written() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        filled(&store).await;
        let (file, _) = back_up(&on(&store)).await;
        let refused = |file: Vec<u8>, what: String| async move {
            let store = Arc::new(MemoryStore::default());
            let error = on(&store).restore(file).await.expect_err(&what);
            assert!(store.list("").await.unwrap().is_empty(), "{what}: {error}");
            error
        };
        for at in 0..60 {
            let mut flipped = file.clone();
            let byte = at * (file.len() - 1) / 59;
            flipped[byte] ^= 1 << (at % 8);
            refused(flipped, format!("byte {byte} of {}", file.len())).await;
        }
        for at in 1..40 {
            let length = at * file.len() / 40;
            let error = refused(file[..length].to_vec(), format!("{length} bytes")).await;
            assert!(matches!(error, Error::Truncated), "{length}: {error}");
        }
        for length in 0..4 {
            assert!(matches!(
                refused(file[..length].to_vec(), String::new()).await,
                Error::NoBackup | Error::Truncated
            ));
        }
        let all_but_one = file[..file.len() - 1].to_vec();
        assert!(matches!(refused(all_but_one, "its last byte".to_owned()).await, Error::Truncated));
        refused([&file[..], b"x"].concat(), "a byte behind".to_owned()).await;
        let twice = refused([&file[..], &file[..]].concat(), "twice".to_owned()).await;
        assert!(twice.to_string().contains("follows its end"), "{twice}");
        for other in [&b""[..], b"PK\x03\x04", b"a text", &zstd::bulk::compress(b"a text", 1).unwrap()] {
            let error = refused(other.to_vec(), "another file".to_owned()).await;
            assert!(matches!(error, Error::NoBackup | Error::Damaged(_)), "{error}");
        }
    });
}

/// The same archive with other members.
fn rewritten(file: &[u8], change: impl Fn(&str, Vec<u8>) -> Vec<(String, Vec<u8>)>) -> Vec<u8> {
    let mut archive = tar::Archive::new(zstd::stream::Decoder::new(file).unwrap());
    let mut tar = tar::Builder::new(zstd::stream::Encoder::new(Vec::new(), 1).unwrap());
    for member in archive.entries().unwrap() {
        let mut member = member.unwrap();
        let name = member.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut member, &mut bytes).unwrap();
        for (name, bytes) in change(&name, bytes) {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, &bytes[..]).unwrap();
        }
    }
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_file_that_was_packed_anew_is_held_to_its_index_and_its_references() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let versions = filled(&store).await;
        let (file, _) = back_up(&on(&store)).await;
        let same = rewritten(&file, |name, bytes| vec![(name.to_owned(), bytes)]);
        assert!(verify_backup(&same[..]).is_ok());
        let told = |file: &[u8]| verify_backup(file).unwrap_err().to_string();
        let without = |gone: &str| {
            rewritten(&file, |name, bytes| {
                let is_gone = name.contains(gone);
                if is_gone { Vec::new() } else { vec![(name.to_owned(), bytes)] }
            })
        };
        let model = Key::Model(&versions[0]).path();
        for (gone, said) in [
            ("blobs/", "which is not in the file before it"),
            ("shard-00000", "which is not in the file before it"),
            (&model, "which is not in the file before it"),
            ("history/production/0000000002", "generation 2 is missing"),
            ("history/production/0000000003", "is in the index and not in the file"),
            ("keys/anna", "is in the index and not in the file"),
            ("index.jsonl", "cut short"),
            ("backup.json", "not a backup"),
        ] {
            assert!(told(&without(gone)).contains(said), "{gone}: {}", told(&without(gone)));
        }
        let changed = |of: &'static str, from: &'static str, to: &'static str| {
            rewritten(&file, move |name, bytes| {
                let text = String::from_utf8_lossy(&bytes).replace(from, to);
                let bytes = if name.contains(of) { text.into_bytes() } else { bytes };
                vec![(name.to_owned(), bytes)]
            })
        };
        for (of, from, to, said) in [
            ("history/production/0000000002", "\"test\"", "\"tost\"", "does not name the record before it"),
            ("models/", "\"test\"", "\"tost\"", "is not the manifest that was promoted"),
            ("keys/anna", "mona", "lisa", "is not what the index says"),
            ("index.jsonl", "keys/anna", "keys/hanna", "is in the index and not in the file"),
            ("backup.json", "\"format\": 1", "\"format\": 2", "format 2; this program reads format 1"),
            ("backup.json", "\"generation\": 3", "\"generation\": 4", "ends at generation 3, not 4"),
        ] {
            assert!(told(&changed(of, from, to)).contains(said), "{of}: {}", told(&changed(of, from, to)));
        }
        let twice = rewritten(&file, |name, bytes| {
            let copies = if name.contains("keys/anna") { 2 } else { 1 };
            vec![(name.to_owned(), bytes); copies]
        });
        assert!(told(&twice).contains("is in the file twice"));
        let more = rewritten(&file, |name, bytes| vec![(name.replace("keys/anna", "secrets/anna"), bytes)]);
        assert!(told(&more).contains("which this program does not know"));
    });
}

#[test]
fn only_a_bucket_that_holds_nothing_else_is_written_to() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        filled(&store).await;
        let (file, written) = back_up(&on(&store)).await;
        let target = Arc::new(MemoryStore::default());
        let refused = || async { on(&target).restore(file.clone()).await.unwrap_err().to_string() };
        for (name, said) in [
            ("zzz", "zzz, which is not in the backup"),
            (&Key::Record(Generation(4)).path(), "0000000004.json, which is not in the backup"),
            (&Key::Record(Generation(1)).path(), "0000000001.json, which differs from the one in the backup"),
            (&Key::Retired("models/a.json").path(), "retired/models/a.json, which is not in the backup"),
        ] {
            put(&target, name, "of others").await;
            assert!(refused().await.contains(said), "{}", refused().await);
            target.delete(name).await.unwrap();
        }
        // Of the same length, and changed.
        let record = Key::Record(Generation(1)).path();
        let mut bytes = store.get(&record).await.unwrap().unwrap().to_vec();
        bytes[20] ^= 1;
        target.create(&record, bytes.into()).await.unwrap();
        assert!(refused().await.contains("differs"), "{}", refused().await);
        assert_eq!(target.list("").await.unwrap(), std::slice::from_ref(&record), "nothing was written");
        target.delete(&record).await.unwrap();
        // A replica that waits for a model disturbs nothing.
        on(&target).report_serving(&ReplicaId::new("api"), Generation(0), None).await.unwrap();
        assert_eq!(on(&target).restore(file.clone()).await.unwrap().contents, written.contents);
        let again = on(&target).restore(file.clone()).await.unwrap();
        assert_eq!(again.already, written.contents.objects);
    });
}

/// A store where something happens before each read and each write.
struct Watched<F> {
    store: Arc<MemoryStore>,
    before: F,
}

impl<F> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a watched store")
    }
}

fn watched(
    store: &Arc<MemoryStore>,
    before: impl Fn(&Arc<MemoryStore>, &str) -> Result<(), StoreError> + Send + Sync + 'static,
) -> Registry {
    Registry::new(Arc::new(Watched { store: Arc::clone(store), before }))
}

#[async_trait]
impl<F: Fn(&Arc<MemoryStore>, &str) -> Result<(), StoreError> + Send + Sync> Store for Watched<F> {
    async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        (self.before)(&self.store, name)?;
        self.store.get(name).await
    }

    async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
        (self.before)(&self.store, name)?;
        self.store.create(name, body).await
    }

    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        self.store.entries(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.store.delete(name).await
    }

    async fn refuses_a_wrong_checksum(&self, name: &str) -> Result<bool, StoreError> {
        self.store.refuses_a_wrong_checksum(name).await
    }
}

fn away(name: &str) -> StoreError {
    let (name, reason) = (name.to_owned(), "it is away".to_owned());
    StoreError { operation: "write", name, reason, is_transient: true, source: None }
}

/// Does at once what never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

/// References that a reader of the bucket would follow to nothing.
async fn dangling(store: &MemoryStore) -> Vec<String> {
    let objects: BTreeMap<String, Bytes> = objects(store).await.into_iter().collect();
    let mut problems = Vec::new();
    for (name, bytes) in &objects {
        let mut needs = Vec::new();
        if name.starts_with(Key::MODELS) {
            let manifest: ModelManifest = serde_json::from_slice(bytes).unwrap();
            needs.extend([Key::Blob(&manifest.artifact).path(), Key::Dataset(&manifest.dataset).path()]);
        } else if name.starts_with(Key::DATASETS) && name.ends_with("/manifest.json") {
            let manifest: DatasetManifest = serde_json::from_slice(bytes).unwrap();
            needs.extend(manifest.shards.iter().map(|shard| Key::Shard(&manifest.digest, shard.number).path()));
        } else if name.starts_with(Key::HISTORY) {
            let record: PromotionRecord = serde_json::from_slice(bytes).unwrap();
            needs.push(Key::Model(&record.version).path());
            needs.extend((1..record.generation.0).map(|before| Key::Record(Generation(before)).path()));
        } else if name.starts_with(Key::IMPORTS) {
            let record: ImportRecord = serde_json::from_slice(bytes).unwrap();
            needs.push(Key::Dataset(&record.dataset).path());
        } else if name.starts_with("keys/gone/") && Key::is_api_key(name) {
            needs.push(name.replace(".key.json", ".revoked.json"));
        }
        let missing = needs.into_iter().filter(|need| !objects.contains_key(need));
        problems.extend(missing.map(|need| format!("{name} names {need}")));
    }
    problems
}

#[test]
fn a_restore_that_is_interrupted_leaves_no_reference_to_nothing_and_is_run_again() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        filled(&store).await;
        let (file, written) = back_up(&on(&store)).await;
        let expected = objects(&*restore(&file).await.unwrap().0).await;
        for writes in 0..written.contents.objects {
            let target = Arc::new(MemoryStore::default());
            let left = AtomicI64::new(writes as i64);
            let interrupted =
                watched(
                    &target,
                    move |_, name| {
                        if left.fetch_sub(1, Ordering::Relaxed) > 0 { Ok(()) } else { Err(away(name)) }
                    },
                );
            let error = interrupted.restore(file.clone()).await.unwrap_err();
            assert!(matches!(&error, Error::Registry(error) if error.is_transient()), "{error}");
            assert_eq!(dangling(&target).await, [""; 0], "after {writes} writes");
            let again = on(&target).restore(file.clone()).await.unwrap();
            assert!(again.already >= writes.min(1) && again.verification.problems.is_empty(), "{again:?}");
            assert_eq!(objects(&*target).await, expected, "after {writes} writes");
        }
    });
}

/// A bucket with a version, a blob and a dataset that retention deletes when it is run by a clock of ten days later.
async fn with_something_due(store: &Arc<MemoryStore>) -> Version {
    const DAY: i64 = 24 * 3600 * 1000;
    store.set_clock(0);
    let registry = on(store);
    let kept = registry.import_dataset("sample.txt", model::SAMPLE_CORPUS, 1).await.unwrap();
    let live = registered(&registry, 5, &kept).await;
    registry.promote(&promotion(&live, "1", None), 0).await.unwrap();
    let due = registered(&registry, 0, &kept).await;
    registered(&registry, 6, &kept).await;
    registry.put_artifact(b"of a run that died".to_vec()).await.unwrap();
    let rows = model::corpus::sample().rows.into_iter().rev().collect::<Vec<Row>>();
    registry.put_sample(&kept, rows).await.unwrap();
    store.set_clock(DAY);
    let marked = registry.prune(&PruneInput { keep: 1, ..PruneInput::default() }, DAY).await.unwrap();
    assert_eq!(marked.marked, 3);
    store.set_clock(10 * DAY);
    due
}

#[test]
fn a_backup_is_whole_at_whichever_moment_retention_deletes() {
    block_on(async {
        let mut deleted_meanwhile = 0;
        for at in 0.. {
            let store = Arc::new(MemoryStore::default());
            let due = with_something_due(&store).await;
            let left = AtomicI64::new(at);
            let busy = watched(&store, move |store, _| {
                if left.fetch_sub(1, Ordering::Relaxed) == 0 {
                    let input = PruneInput { keep: 1, ..PruneInput::default() };
                    let pruned = now(on(store).prune(&input, 10 * 24 * 3600 * 1000)).unwrap();
                    assert_eq!((pruned.versions.len(), pruned.blobs, pruned.datasets), (1, 1, 1));
                }
                Ok(())
            });
            let (file, written) = back_up(&busy).await;
            assert_eq!(verify_backup(&file[..]).unwrap(), written.contents, "at read {at}");
            let (other, restored) = restore(&file).await.unwrap();
            assert!(restored.verification.problems.is_empty() && restored.verification.generations == 1);
            assert!(on(&other).newest_import().await.unwrap().is_some());
            deleted_meanwhile += written.left_out.deleted;
            if store.get(&Key::Model(&due).path()).await.unwrap().is_some() {
                assert!(at > 5, "retention never ran");
                break;
            }
        }
        assert!(deleted_meanwhile > 0);
    });
}

#[test]
fn people_go_on_working_while_a_backup_is_made() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let versions = filled(&store).await;
        let anna: KeyName = "anna".parse().unwrap();
        let [a, b] = ["a", "b"].map(|text| FeedbackId::new(text, &anna));
        let (promoted, deleted) = (AtomicBool::new(false), AtomicBool::new(false));
        let other = versions[1].clone();
        let busy = watched(&store, move |store, name| {
            if name.starts_with("blobs/") && !promoted.swap(true, Ordering::Relaxed) {
                now(on(store).promote(&promotion(&other, "meanwhile", None), 0)).unwrap();
            }
            // The second revision is gone when the first was read.
            let second = Key::Feedback(a.comment(), "anna", 2).path();
            if name == second && !deleted.swap(true, Ordering::Relaxed) {
                assert!(now(on(store).delete_feedback(&a)).unwrap());
            }
            Ok(())
        });
        let (file, written) = back_up(&busy).await;
        assert_eq!(on(&store).production().await.unwrap().unwrap().record.generation, Generation(4));
        assert_eq!((written.contents.about.generation, written.contents.decisions), (Generation(3), 1));
        let (other, _) = restore(&file).await.unwrap();
        let there = on(&other).feedback().await.unwrap();
        assert_eq!(there.keys().collect::<Vec<_>>(), [&b], "a deleted decision does not come back");
        let (item, _) = on(&other).put_feedback(feedback("a", Label::Threat)).await.unwrap();
        assert_eq!(item.revision, 3, "its numbers are not given again");
    });
}

#[test]
fn what_came_late_is_fetched_and_what_is_lost_is_named() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        let versions = filled(&store).await;
        let dataset = on(&store).newest_import().await.unwrap().unwrap().digest;
        // Gone when it is copied, and back when its manifest is.
        let shard = Key::Shard(&dataset, 0).path();
        let (of_shard, manifest) = (shard.clone(), Key::Dataset(&dataset).path());
        let kept = Mutex::new(None);
        let busy = watched(&store, move |store, name| {
            let mut kept = kept.lock().unwrap();
            if name == of_shard && kept.is_none() {
                *kept = now(store.get(name)).unwrap();
                now(store.delete(name)).unwrap();
            } else if name == manifest {
                now(store.create(&of_shard, kept.clone().unwrap())).unwrap();
            }
            Ok(())
        });
        let (file, written) = back_up(&busy).await;
        assert_eq!(verify_backup(&file[..]).unwrap(), written.contents);
        assert!(restore(&file).await.unwrap().1.verification.problems.is_empty());

        let blob = Key::Blob(&Digest::of(&TEMPLATE.0)).path();
        for lost in [&shard, &blob, &Key::Model(&versions[1]).path()] {
            let bytes = store.get(lost).await.unwrap().unwrap();
            store.delete(lost).await.unwrap();
            let error = on(&store).back_up(Vec::new(), "0.0.0").await.unwrap_err();
            assert!(matches!(&error, Error::Incomplete { object, .. } if object == lost), "{lost}: {error}");
            store.create(lost, bytes).await.unwrap();
        }
        // Damaged rows: bytes that cannot be decompressed, and other rows that can.
        let whole = store.get(&shard).await.unwrap().unwrap();
        let rows = zstd::decode_all(&whole[..]).unwrap();
        let other = zstd::encode_all(&rows[..rows.len() / 2], 3).unwrap();
        for damaged in [b"no rows".to_vec(), other] {
            store.corrupt(&shard, |bytes| bytes.clone_from(&damaged));
            let error = on(&store).back_up(Vec::new(), "0.0.0").await.unwrap_err().to_string();
            assert!(error.contains(&shard) && error.contains("corrupt"), "{error}");
        }
        store.corrupt(&shard, |bytes| *bytes = whole.to_vec());
        store.corrupt(&blob, |bytes| bytes[100] ^= 1);
        let error = on(&store).back_up(Vec::new(), "0.0.0").await.unwrap_err().to_string();
        assert!(error.contains(&blob) && error.contains("corrupt"), "{error}");
    });
}

/// A disk that is full after some bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_and_a_store_that_goes_away_end_a_backup() {
    block_on(async {
        let store = Arc::new(MemoryStore::default());
        filled(&store).await;
        let (file, _) = back_up(&on(&store)).await;
        for bytes in [0, 100, file.len() / 2, file.len() - 1] {
            let error = on(&store).back_up(Full(bytes), "0.0.0").await.map(drop).unwrap_err();
            assert!(
                matches!(&error, Error::File(error) if error.kind() == io::ErrorKind::StorageFull),
                "{bytes}: {error}"
            );
        }
        assert!(on(&store).back_up(Full(file.len() + 100), "0.0.0").await.is_ok());
        let left = AtomicI64::new(20);
        let busy = watched(
            &store,
            move |_, name| {
                if left.fetch_sub(1, Ordering::Relaxed) > 0 { Ok(()) } else { Err(away(name)) }
            },
        );
        let error = busy.back_up(Vec::new(), "0.0.0").await.unwrap_err();
        assert!(matches!(&error, Error::Registry(error) if error.is_transient()), "{error}");
    });
}
