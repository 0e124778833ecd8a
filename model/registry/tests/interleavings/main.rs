//! Promotion, rollback, registration and retention in every order of their operations on the store.
//!
//! `docs/design/registry.md` says why objects are safe from retention. These tests check each argument in all orders.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;
mod scheduler;

use std::sync::Arc;

use bytes::Bytes;
use common::{TEMPLATE, input, manifest, version};
use model::{Digest, Generation, Version, protocol::PruneInput};
use registry::{DatasetManifest, Error, Key, MemoryStore, ModelManifest, Registry, Store};
use scheduler::{Actor, DAY, Ending, Scenario, Told, explore, now};

/// What a promotion writes. It removes stale marks.
const PROMOTES: &[&str] = &[Key::HISTORY, Key::MARKS];
/// What retention writes if only versions are to be deleted.
const RETAINS: &[&str] = &[Key::MODELS, Key::MARKS, Key::ANNOUNCEMENTS];
/// What retention writes if objects of every kind are to be deleted.
const RETAINS_ALL: &[&str] = &[Key::MODELS, Key::BLOBS, Key::DATASETS, Key::MARKS, Key::ANNOUNCEMENTS];
/// What a training run writes.
const TRAINS: &[&str] = &[Key::MODELS, Key::BLOBS, Key::MARKS];
/// The answer of a retention run that deleted something.
const DELETED: &str = "deleted";
/// Tries of an actor after transient errors.
const TRIES: usize = 2;

/// Runs something on a new store and returns its objects: name, bytes, when written.
fn prepared(what: impl AsyncFnOnce(&MemoryStore, Registry)) -> Vec<(String, Bytes, i64)> {
    let store = Arc::new(MemoryStore::default());
    now(what(&store, Registry::new(Arc::clone(&store) as Arc<dyn Store>)));
    let entries = now(store.entries("")).unwrap().into_iter();
    let read = |name: &str| now(store.get(name)).unwrap().unwrap();
    entries.map(|entry| (entry.name.clone(), read(&entry.name), entry.written)).collect()
}

async fn register(registry: &Registry, manifest: &ModelManifest) -> Result<(), Error> {
    registry.put_artifact(TEMPLATE.0.clone()).await?;
    registry.register(manifest).await.map(drop)
}

async fn promote(registry: &Registry, number: usize, change: &str) -> Result<Generation, Error> {
    let mut promoted = registry.promote(&input(version(number), change.to_owned(), None), 0).await;
    for _ in 1..TRIES {
        if promoted.as_ref().is_err_and(Error::is_transient) {
            promoted = registry.promote(&input(version(number), change.to_owned(), None), 0).await;
        }
    }
    promoted.map(|promoted| promoted.generation)
}

async fn roll_back(registry: &Registry, to: Option<&Version>, change: &str) -> Result<Generation, Error> {
    let (target, generation) = registry.rollback_target(to).await?;
    let promoted = registry.promote(&input(target, change.to_owned(), Some(generation)), 0).await?;
    Ok(promoted.generation)
}

fn keep(keep: u32) -> PruneInput {
    PruneInput { keep, ..PruneInput::default() }
}

/// Versions 0, 1 and 2.
///
/// First 1 and then 2 was promoted. Retention that keeps one version may delete only 0.
async fn three_versions(registry: &Registry) {
    for number in 0..3 {
        register(registry, &manifest(number)).await.unwrap();
    }
    for number in 1..3 {
        promote(registry, number, &format!("before {number}")).await.unwrap();
    }
}

/// Three versions. Version 0 was marked a day ago and may be deleted now.
async fn with_a_mark(store: &MemoryStore, registry: Registry) {
    three_versions(&registry).await;
    store.set_clock(2 * DAY);
    assert_eq!(registry.prune(&keep(1), 2 * DAY).await.unwrap().marked, 1);
}

fn told<T, U>(result: Result<T, Error>, what: impl FnOnce(T) -> U) -> Result<U, String> {
    result.map(what).map_err(|error| error.to_string())
}

fn promoter(numbers: &'static [usize]) -> Actor {
    Actor::new(PROMOTES, move |registry, _| async move {
        let mut last = Ok(Generation(0));
        for number in numbers {
            last = promote(&registry, *number, &format!("promotion of {number}")).await;
        }
        told(last, |generation| format!("promoted as {generation}"))
    })
}

fn roller() -> Actor {
    Actor::new(PROMOTES, |registry, _| async move {
        match roll_back(&registry, None, "rollback").await {
            Err(Error::Conflict { .. }) => Ok("conflict".to_owned()),
            ended => told(ended, |generation| format!("rolled back as {generation}")),
        }
    })
}

/// Runs retention once for each number of versions to keep.
fn retention(writes: &'static [&'static str], keeps: &'static [u32]) -> Actor {
    Actor::new(writes, move |registry, store| async move {
        let mut deleted = 0;
        let mut last = Ok(());
        for number in keeps {
            // Others may run before this retention run begins, and a day may pass.
            let _ = store.get(Key::MARKS).await;
            let pruned = registry.prune(&keep(*number), store.now()).await;
            deleted +=
                pruned.as_ref().map_or(0, |pruned| pruned.versions.len() as u64 + pruned.blobs + pruned.datasets);
            last = pruned.map(drop);
        }
        told(last, |()| if deleted > 0 { DELETED.to_owned() } else { "pruned".to_owned() })
    })
}

/// A run that repeats another: stores the same bytes and registers a version with them.
fn trainer(number: usize) -> Actor {
    Actor::new(TRAINS, move |registry, _| async move {
        let mut done = register(&registry, &manifest(number)).await;
        for _ in 1..TRIES {
            if done.as_ref().is_err_and(Error::is_transient) {
                done = register(&registry, &manifest(number)).await;
            }
        }
        told(done, |()| "registered".to_owned())
    })
}

/// In every ending, each version in the history loads, and a rollback to each succeeds.
fn holds(ending: &Ending) {
    let registry = Registry::new(Arc::clone(&ending.store) as Arc<dyn Store>);
    let order = &ending.order;
    now(async {
        assert_eq!(registry.verify().await.unwrap().problems, Vec::<String>::new(), "{order:?}");
        let history = registry.history().await.unwrap();
        for promotion in &history[..history.len().saturating_sub(1)] {
            let back = roll_back(&registry, Some(&promotion.record.version), &format!("{:?}", promotion.digest)).await;
            assert!(back.is_ok(), "{}: {back:?} after {order:?}", promotion.record.version);
        }
        // After retention has run again, days later, no needless mark or announcement stays.
        let store = &ending.store;
        for day in [7, 9] {
            let later = day * DAY + store.now();
            store.set_clock(later);
            registry.prune(&keep(1), later).await.unwrap();
        }
        let left = [store.list(Key::MARKS).await.unwrap(), store.list(Key::ANNOUNCEMENTS).await.unwrap()].concat();
        assert_eq!(left, Vec::<String>::new(), "{order:?}");
        assert_eq!(registry.verify().await.unwrap().problems, Vec::<String>::new(), "{order:?}");
    });
}

fn told_by(ending: &Ending, actor: usize) -> Option<&Told> {
    ending.told[actor].as_ref()
}

/// How often the first actor succeeded, and how often retention deleted something.
///
/// A scenario in which one of them never happens proves nothing.
#[derive(Debug, Default)]
struct Balance {
    done: usize,
    deleted: usize,
}

impl Balance {
    fn add(&mut self, ending: &Ending) {
        self.done += usize::from(told_by(ending, 0).is_some_and(Result::is_ok));
        self.deleted += usize::from(ending.told.iter().flatten().any(|told| told.as_deref() == Ok(DELETED)));
    }

    fn require_both(&self) {
        assert!(self.done > 0 && self.deleted > 0, "{self:?}");
    }
}

/// Checks what must hold in every ending, and `also`, the scenario's own check.
fn always_holds(scenario: &Scenario, mut also: impl FnMut(&Ending)) {
    let mut balance = Balance::default();
    let explored = explore(scenario, |ending| {
        balance.add(ending);
        also(ending);
        holds(ending);
    });
    show(scenario, &explored);
    balance.require_both();
}

fn show(scenario: &Scenario, explored: &scheduler::Explored) {
    println!("{}: {explored:?}", scenario.name);
    assert!(explored.endings > 1, "nothing was tried");
}

#[test]
fn a_rollback_is_never_refused_while_others_promote_and_retention_marks() {
    let scenario = Scenario {
        name: "two promotions, a rollback, retention",
        objects: prepared(async |_, registry| three_versions(&registry).await),
        starts_at: 2 * DAY,
        actors: vec![promoter(&[0, 2]), roller(), retention(RETAINS, &[1])],
        ..Scenario::default()
    };
    let explored = explore(&scenario, |ending| {
        assert!(told_by(ending, 1).unwrap().is_ok(), "{:?} after {:?}", ending.told, ending.order);
        holds(ending);
    });
    show(&scenario, &explored);
}

#[test]
fn a_promotion_and_two_nights_of_retention_agree_on_whether_a_version_stays() {
    let scenario = Scenario {
        name: "a promotion and two nights of retention",
        objects: prepared(async |_, registry| three_versions(&registry).await),
        starts_at: 2 * DAY,
        actors: vec![promoter(&[0]), retention(RETAINS, &[1, 1])],
        days: 2,
        losses: 1,
        ..Scenario::default()
    };
    always_holds(&scenario, |_| {});
}

#[test]
fn two_retentions_of_different_minds_never_delete_what_is_promoted() {
    let scenario = Scenario {
        name: "a promotion, a retention that deletes, one that keeps",
        objects: prepared(with_a_mark),
        starts_at: 3 * DAY,
        actors: vec![promoter(&[0]), retention(RETAINS, &[1]), retention(RETAINS, &[9])],
        late: 1,
        ..Scenario::default()
    };
    always_holds(&scenario, |_| {});
}

#[test]
fn retention_that_dies_leaves_nothing_that_hurts_anybody() {
    let scenario = Scenario {
        name: "a promotion, a retention that deletes, one that keeps, of whom one may die",
        objects: prepared(with_a_mark),
        starts_at: 3 * DAY,
        actors: vec![promoter(&[0]), retention(RETAINS, &[1]), retention(RETAINS, &[9])],
        deaths: 1,
        ..Scenario::default()
    };
    always_holds(&scenario, |_| {});
}

#[test]
fn a_version_that_is_registered_and_promoted_again_stays() {
    let again = Actor::new(&[Key::MODELS, Key::HISTORY, Key::MARKS], |registry, _| async move {
        told(registry.register(&manifest(0)).await, |_| String::new())?;
        told(promote(&registry, 0, "promotion").await, |generation| format!("promoted as {generation}"))
    });
    let scenario = Scenario {
        name: "two retentions that delete a version, which is registered again and promoted",
        objects: prepared(with_a_mark),
        starts_at: 3 * DAY,
        actors: vec![again, retention(RETAINS, &[1]), retention(RETAINS, &[1])],
        ..Scenario::default()
    };
    always_holds(&scenario, |_| {});
}

/// The blob of a deleted version, marked a day ago.
async fn with_a_marked_blob(store: &MemoryStore, registry: Registry) {
    registry.put_artifact(TEMPLATE.0.clone()).await.unwrap();
    store.set_clock(2 * DAY);
    assert_eq!(registry.prune(&keep(1), 2 * DAY).await.unwrap().marked, 1);
}

#[test]
fn bytes_that_are_stored_again_stay_whatever_retention_was_about_to_do() {
    let scenario = Scenario {
        name: "a training run that makes old bytes again, and two retentions",
        objects: prepared(with_a_marked_blob),
        starts_at: 3 * DAY,
        actors: vec![trainer(0), retention(RETAINS_ALL, &[1]), retention(RETAINS_ALL, &[1])],
        deaths: 1,
        ..Scenario::default()
    };
    always_holds(&scenario, |_| {});
}

#[test]
fn bytes_that_are_stored_again_stay_over_nights() {
    let scenario = Scenario {
        name: "a training run that makes old bytes again, and two nights of retention",
        objects: prepared(with_a_marked_blob),
        starts_at: 3 * DAY,
        actors: vec![trainer(0), retention(RETAINS_ALL, &[1, 1])],
        days: 2,
        late: 1,
        // Retention knows of runs that need longer, and leaves blobs alone while they run.
        brisk: &[0],
        ..Scenario::default()
    };
    always_holds(&scenario, |_| {});
}

/// A dataset that no version names, marked a day ago. Only retention reads its shard.
async fn with_a_marked_dataset(store: &MemoryStore, registry: Registry) {
    let digest = Digest::of(b"a dataset");
    let source = registry::Source {
        name: "rows.jsonl".to_owned(),
        format: model::corpus::Format::Jsonl,
        sha256: Digest::of(b"a file"),
        bytes: 6,
    };
    let manifest = DatasetManifest {
        digest: digest.clone(),
        source,
        sentences: 1,
        threats: 1,
        comments: 1,
        commenters: 1,
        quarantined: 0,
        quarantine: Vec::new(),
        shards: Vec::new(),
        sample_of: None,
        built_on: None,
    };
    store.create(&Key::Dataset(&digest).path(), serde_json::to_vec(&manifest).unwrap().into()).await.unwrap();
    store.create(&Key::Shard(&digest, 0).path(), Bytes::from_static(b"shard")).await.unwrap();
    registry.put_artifact(TEMPLATE.0.clone()).await.unwrap();
    store.set_clock(2 * DAY);
    assert_eq!(registry.prune(&keep(1), 2 * DAY).await.unwrap().marked, 2, "the dataset and the blob");
}

#[test]
fn a_dataset_that_a_run_uses_stays_whatever_retention_was_about_to_do() {
    let user = Actor::new(TRAINS, |registry, _| async move {
        let dataset = told(registry.claim_dataset(&Digest::of(b"a dataset")).await, |dataset| dataset.digest)?;
        let manifest = ModelManifest { dataset, ..manifest(0) };
        told(register(&registry, &manifest).await, |()| "registered".to_owned())
    });
    let scenario = Scenario {
        name: "a training run that uses an old dataset, and two retentions",
        objects: prepared(with_a_marked_dataset),
        starts_at: 3 * DAY,
        actors: vec![user, retention(RETAINS_ALL, &[1]), retention(RETAINS_ALL, &[1])],
        ..Scenario::default()
    };
    always_holds(&scenario, |ending| {
        if told_by(ending, 0).is_some_and(Result::is_ok) {
            let digest = Digest::of(b"a dataset");
            for path in [Key::Dataset(&digest).path(), Key::Shard(&digest, 0).path()] {
                assert!(now(ending.store.get(&path)).unwrap().is_some(), "{path} after {:?}", ending.order);
            }
        }
    });
}
