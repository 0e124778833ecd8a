//! One suite of behaviours for every store: in memory, and the S3 server that `up` starts (or finds by environment).
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use model::{
    Digest, Generation, Version, artifact,
    experiment::{self, Config},
    split,
    steps::{PromoteInput, PruneInput},
    trainers,
};
use registry::{
    Created, Error, Key, MemoryStore, ModelManifest, Registry, ReplicaId, S3Settings, S3Store, Serving, Store, Trust,
};

/// Everything that the contract promises.
async fn holds_the_contract(store: Arc<dyn Store>) {
    create_is_once(&*store).await;
    of_racing_writers_one_wins(&store).await;
    listing_is_sorted_and_complete(&*store).await;
    what_is_deleted_is_gone(&*store).await;
    let registry = Registry::new(Arc::clone(&store));
    assert_eq!(registry.probe().await.unwrap(), None);
    assert_eq!(store.list("probe/").await.unwrap(), Vec::<String>::new(), "the probe cleans up");
    replicas_are_waited_for_who_served_before(&registry).await;
    datasets_are_immutable_and_the_newest_import_is_found(&registry).await;
    promotion_is_once_and_conflicts_are_told(&registry).await;
    of_racing_promoters_one_wins(&registry).await;
}

async fn create_is_once(store: &dyn Store) {
    assert_eq!(store.get("suite/once").await.unwrap(), None);
    let first = Bytes::from_static(b"first");
    assert_eq!(store.create("suite/once", first.clone()).await.unwrap(), Created::New);
    assert_eq!(store.create("suite/once", Bytes::from_static(b"second")).await.unwrap(), Created::Exists);
    assert_eq!(store.get("suite/once").await.unwrap(), Some(first));
    let large = Bytes::from(vec![7; 3 << 20]);
    assert_eq!(store.create("suite/large", large.clone()).await.unwrap(), Created::New);
    assert_eq!(store.get("suite/large").await.unwrap(), Some(large));
}

async fn of_racing_writers_one_wins(store: &Arc<dyn Store>) {
    for round in 0..6 {
        let name = format!("suite/race/{round}");
        let body = |writer: u8| Bytes::from(vec![writer; 1000]);
        let results = join_all((0..8).map(|writer| store.create(&name, body(writer)))).await;
        let winners: Vec<u8> = (0..8).filter(|&w| matches!(results[usize::from(w)], Ok(Created::New))).collect();
        assert_eq!(winners.len(), 1, "round {round}: {results:?}");
        assert_eq!(store.get(&name).await.unwrap(), Some(body(winners[0])));
    }
}

async fn listing_is_sorted_and_complete(store: &dyn Store) {
    let names: Vec<String> = (0..25).map(|n| format!("suite/list/{n:03}")).collect();
    for name in names.iter().rev() {
        store.create(name, Bytes::from_static(b"x")).await.unwrap();
    }
    assert_eq!(store.list("suite/list/").await.unwrap(), names);
    assert_eq!(store.list("suite/nothing/").await.unwrap(), Vec::<String>::new());
}

async fn what_is_deleted_is_gone(store: &dyn Store) {
    store.delete("suite/deleted").await.unwrap();
    store.create("suite/deleted", Bytes::from_static(b"twelve bytes")).await.unwrap();
    let entries = store.entries("suite/deleted").await.unwrap();
    assert_eq!((entries.len(), entries[0].bytes), (1, 12));
    store.delete("suite/deleted").await.unwrap();
    assert_eq!(store.get("suite/deleted").await.unwrap(), None);
    assert_eq!(store.list("suite/deleted").await.unwrap(), Vec::<String>::new());
    assert_eq!(store.create("suite/deleted", Bytes::new()).await.unwrap(), Created::New);
    assert!(store.refuses_a_wrong_checksum("suite/wrong").await.unwrap());
    assert_eq!(store.get("suite/wrong").await.unwrap(), None);
}

async fn replicas_are_waited_for_who_served_before(registry: &Registry) {
    let [a, b, c] = ["host-a", "host b/../x", ""].map(ReplicaId::new);
    assert!(b.as_str().starts_with("hostb..x-") && c.as_str().starts_with("replica-"), "{b:?} {c:?}");
    let at = |generation| async move { registry.serving(Generation(generation)).await.unwrap() };
    for replica in [&a, &b] {
        registry.report_serving(replica, Generation(3), None).await.unwrap();
    }
    let names = |replicas: &[&ReplicaId]| {
        let mut names: Vec<String> = replicas.iter().map(|replica| replica.as_str().to_owned()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(at(4).await, Serving { reported: vec![], missing: names(&[&a, &b]) });
    registry.report_serving(&a, Generation(4), Some(Generation(3))).await.unwrap();
    registry.report_serving(&c, Generation(4), None).await.unwrap();
    assert_eq!(at(4).await, Serving { reported: names(&[&a, &c]), missing: names(&[&b]) });
    // b still lives, two generations behind.
    for replica in [&a, &c] {
        registry.report_serving(replica, Generation(5), Some(Generation(4))).await.unwrap();
    }
    registry.renew_report(&a, Generation(5)).await.unwrap();
    assert_eq!(at(5).await, Serving { reported: names(&[&a, &c]), missing: names(&[&b]) });
    registry.forget_replica(&c, Generation(5)).await.unwrap();
    assert_eq!(at(6).await.missing, names(&[&a, &b]), "who stops is not waited for");
}

async fn datasets_are_immutable_and_the_newest_import_is_found(registry: &Registry) {
    assert_eq!(registry.newest_import().await.unwrap(), None);
    let first = registry.import_dataset("sample.txt", model::SAMPLE_CORPUS, 1000).await.unwrap();
    assert_eq!(registry.rows(&first).await.unwrap(), model::corpus::sample().rows);
    let shorter: Vec<u8> = model::SAMPLE_CORPUS[..80_000].rsplitn(2, |&b| b == b'\n').nth(1).unwrap().to_vec();
    let second = registry.import_dataset("shorter.txt", shorter, 2000).await.unwrap();
    assert_eq!(registry.newest_import().await.unwrap().unwrap().digest, second.digest);
    let again = registry.import_dataset("other-name.txt", model::SAMPLE_CORPUS, 3000).await.unwrap();
    assert_eq!(again, first, "the same rows are the same dataset");
    assert_eq!(registry.newest_import().await.unwrap().unwrap().digest, first.digest);
    let missing = registry.dataset(&Digest::of(b"nothing")).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}

async fn promotion_is_once_and_conflicts_are_told(registry: &Registry) {
    let [a, b] = [registered(registry, "a").await, registered(registry, "b").await];
    assert_eq!(registry.production().await.unwrap(), None);
    let unknown = promotion(&Version::derive(0, "x", "y", "z"), "change-0", None);
    assert!(matches!(registry.promote(&unknown, 0).await, Err(Error::NotFound { .. })));
    assert!(matches!(registry.rollback_target(None).await, Err(Error::NothingInProduction)));

    let first = registry.promote(&promotion(&a, "change-1", Some(0)), 1).await.unwrap();
    assert_eq!((first.generation, first.is_new), (Generation(1), true));
    assert_eq!(registry.promote(&promotion(&a, "change-1", Some(0)), 2).await.unwrap(), first, "a lost reply");
    let live = registry.promote(&promotion(&a, "change-2", None), 3).await.unwrap();
    assert_eq!((live.generation, live.is_new), (Generation(1), false), "it is live already");
    assert!(matches!(registry.rollback_target(None).await, Err(Error::NothingToRollBackTo)));

    let stale = registry.promote(&promotion(&b, "change-3", Some(7)), 4).await;
    assert!(matches!(stale, Err(Error::Conflict { generation: Generation(1), .. })), "{stale:?}");
    let second = registry.promote(&promotion(&b, "change-4", Some(1)), 5).await.unwrap();
    assert_eq!((second.generation, second.previous.as_ref()), (Generation(2), Some(&a)));
    assert_eq!(registry.promote(&promotion(&a, "change-1", Some(0)), 6).await.unwrap(), first, "even later");

    assert_eq!(registry.rollback_target(None).await.unwrap(), (a.clone(), Generation(2)));
    let history = registry.history().await.unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(history[1].record.previous_record.as_ref(), Some(&history[0].digest), "the chain");
}

async fn of_racing_promoters_one_wins(registry: &Registry) {
    let [a, b] = [registered(registry, "a").await, registered(registry, "b").await];
    for round in 0..4 {
        let current = registry.production().await.unwrap().unwrap().record;
        let next = if current.version == a { &b } else { &a };
        let promoters = (0..8).map(|promoter| {
            let input = promotion(next, &format!("race-{round}-{promoter}"), Some(current.generation.0));
            async move { registry.promote(&input, 0).await }
        });
        let results = join_all(promoters).await;
        let won = results.iter().filter(|result| result.is_ok()).count();
        let lost = results.iter().filter(|result| matches!(result, Err(Error::Conflict { .. }))).count();
        assert_eq!((won, lost), (1, 7), "round {round}: {results:?}");
        assert_eq!(registry.production().await.unwrap().unwrap().record.generation, current.generation.next());
    }
}

fn promotion(version: &Version, change_id: &str, expected: Option<u64>) -> PromoteInput {
    PromoteInput {
        version: version.clone(),
        change_id: change_id.to_owned(),
        expected_generation: expected.map(Generation),
        actor: "suite".to_owned(),
        reason: "test".to_owned(),
        gate: None,
        forced: false,
    }
}

/// A version with a real model, registered; the same name gives the same version.
async fn registered(registry: &Registry, name: &str) -> Version {
    let (train, test) = split::held_out(1, model::corpus::sample().rows);
    let trainer = trainers::find("multinomial_nb").unwrap();
    let trained = experiment::train(trainer, &train, &Config::default(), &|_, _| {}).unwrap();
    let bytes = artifact::encode(&trained.model);
    let manifest = ModelManifest {
        version: Version::derive(1_795_399_809, name, "run", trainer.name()),
        artifact_bytes: bytes.len() as u64,
        artifact: registry.put_artifact(bytes).await.unwrap(),
        features: trained.model.table().keys().len() as u64,
        sample: None,
        operation: model::operation::Operation::default(),
        dataset: Digest::of(b"sample"),
        trainer: trainer.name().to_owned(),
        preset: trainers::Preset::Default,
        seed: 1,
        held_out: experiment::evaluate(&trained.model, &test),
        cross_validation: trained.cross_validation,
        code_version: "test".to_owned(),
        workflow_id: name.to_owned(),
        run_id: "run".to_owned(),
        started: 1_795_399_809,
    };
    let (stored, _) = registry.register(&manifest).await.unwrap();
    assert_eq!(stored, manifest);
    manifest.version
}

#[test]
fn the_store_in_memory_holds_the_contract() {
    common::block_on(holds_the_contract(Arc::new(MemoryStore::default())));
}

#[test]
fn the_s3_server_holds_the_contract() {
    common::install_crypto();
    let up = common::Up::start();
    let settings = S3Settings { bucket: "contract-suite".to_owned(), ..up.settings().s3().unwrap() };
    common::block_on(async {
        let store = S3Store::new(&settings);
        store.ensure_bucket().await.unwrap();
        store.ensure_bucket().await.unwrap();
        holds_the_contract(Arc::new(store)).await;
    });
}

/// Any other server: `TEST_S3_ENDPOINT`, with the usual `AWS_*` variables.
#[test]
fn a_server_given_by_environment_holds_the_contract() {
    let Ok(endpoint) = std::env::var("TEST_S3_ENDPOINT") else {
        eprintln!("a_server_given_by_environment_holds_the_contract: not run, TEST_S3_ENDPOINT is not set");
        return;
    };
    common::install_crypto();
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let settings = S3Settings {
        endpoint,
        bucket: format!("contract-suite-{}", std::process::id()),
        region: "us-east-1".to_owned(),
        access_key_id: variable("AWS_ACCESS_KEY_ID"),
        secret_access_key: registry::Secret::new(variable("AWS_SECRET_ACCESS_KEY")),
    };
    common::block_on(async {
        let store = S3Store::new(&settings);
        store.ensure_bucket().await.unwrap();
        holds_the_contract(Arc::new(store)).await;
    });
}

/// Rounds of racing promoters; `THREATWATCH_RACES=200` for the whole measure.
#[test]
fn of_two_to_sixteen_racing_promoters_on_the_s3_server_one_wins_each_round() {
    let rounds: u64 = std::env::var("THREATWATCH_RACES").map_or(20, |rounds| rounds.parse().unwrap());
    common::install_crypto();
    let up = common::Up::start();
    let settings = S3Settings { bucket: "races".to_owned(), ..up.settings().s3().unwrap() };
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let store = S3Store::new(&settings);
        store.ensure_bucket().await.unwrap();
        let registry = Registry::new(Arc::new(store));
        let [a, b] = [registered(&registry, "a").await, registered(&registry, "b").await];
        for round in 0..rounds {
            let promoters = 2 + round % 15;
            let version = if round % 2 == 0 { &a } else { &b };
            let racing = (0..promoters).map(|promoter| {
                let input = promotion(version, &format!("{round}/{promoter}"), Some(round));
                let registry = registry.clone();
                tokio::spawn(async move { registry.promote(&input, 0).await })
            });
            let results = join_all(racing.collect::<Vec<_>>()).await;
            let won = results.iter().filter(|result| matches!(result, Ok(Ok(promoted)) if promoted.is_new)).count();
            let told = results.iter().filter(|result| {
                matches!(result, Ok(Err(Error::Conflict { generation, actor, .. }))
                    if *generation == Generation(round + 1) && actor == "suite")
            });
            assert_eq!((won, told.count() as u64), (1, promoters - 1), "round {round}: {results:?}");
        }
        let found = registry.verify().await.unwrap();
        assert_eq!((found.generations, found.problems), (rounds, vec![]));
    });
}

#[test]
fn what_history_names_is_never_pruned_nor_what_is_young_or_in_use() {
    const DAY: i64 = 24 * 3600 * 1000;
    common::block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        let mut versions = Vec::new();
        for name in ["a", "b", "c", "d", "e"] {
            versions.push(registered(&registry, name).await);
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
        // First the mark, a day later the deed; a dry run does neither.
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
        // Who stores a marked thing again takes the mark away.
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
    common::block_on(async {
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
    common::block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        let [a, b] = [registered(&registry, "a").await, registered(&registry, "b").await];
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
        assert!(problems().await.contains("generation 3 does not name the record before it"), "{}", problems().await);
        rewrite(2, "rewritten", "test");
        assert_eq!(problems().await, "");
        let kept = store.get(&record(3)).await.unwrap().unwrap();
        store.delete(&record(3)).await.unwrap();
        // A gap must not be taken for the end: production would be pruned, and rollback would start from the past.
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

/// Stores that break one promise each.
mod liars {
    use async_trait::async_trait;
    use bytes::Bytes;
    use registry::{Created, Entry, MemoryStore, Store, StoreError};

    #[derive(Clone, Copy, Debug, PartialEq)]
    pub(super) enum Lie {
        /// Every writer is told that it created the object; the first stays.
        EverybodyWins,
        /// The condition is ignored: the last writer overwrites.
        Overwrites,
        /// Nobody is told that he won.
        NobodyWins,
        /// A body with a wrong checksum is kept.
        KeepsWrongChecksums,
    }

    #[derive(Debug)]
    pub(super) struct Liar(pub(super) MemoryStore, pub(super) Lie);

    #[async_trait]
    impl Store for Liar {
        async fn get(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
            self.0.get(name).await
        }

        async fn create(&self, name: &str, body: Bytes) -> Result<Created, StoreError> {
            match self.1 {
                Lie::EverybodyWins => self.0.create(name, body).await.map(|_| Created::New),
                Lie::Overwrites => {
                    self.0.delete(name).await?;
                    self.0.create(name, body).await
                }
                Lie::NobodyWins => self.0.create(name, body).await.map(|_| Created::Exists),
                Lie::KeepsWrongChecksums => self.0.create(name, body).await,
            }
        }

        async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
            self.0.entries(prefix).await
        }

        async fn delete(&self, name: &str) -> Result<(), StoreError> {
            self.0.delete(name).await
        }

        async fn refuses_a_wrong_checksum(&self, name: &str) -> Result<bool, StoreError> {
            if self.1 == Lie::KeepsWrongChecksums {
                self.0.keep_wrong_checksums();
            }
            self.0.refuses_a_wrong_checksum(name).await
        }
    }
}

#[test]
fn a_store_that_breaks_a_promise_is_not_trusted_with_promotions() {
    use liars::{Liar, Lie};
    common::block_on(async {
        for (lie, named) in [
            (Lie::EverybodyWins, "8 of 8 racing writers"),
            (Lie::Overwrites, "racing writers"),
            (Lie::NobodyWins, "none of 8 writers"),
            (Lie::KeepsWrongChecksums, "checksum"),
        ] {
            let registry = Registry::new(Arc::new(Liar(MemoryStore::default(), lie)));
            let trust = Trust::new(registry);
            assert_eq!(trust.known_objection(), None, "nobody asked yet");
            let error = trust.require().await.unwrap_err();
            assert!(matches!(&error, Error::Unsafe(reason) if reason.contains(named)), "{lie:?}: {error}");
            assert!(trust.known_objection().is_some_and(|reason| reason.contains(named)));
        }
        let trust = Trust::new(Registry::new(Arc::new(MemoryStore::default())));
        assert!(trust.require().await.is_ok());
    });
}

#[test]
fn a_silent_or_absent_server_is_given_up_in_bounded_time() {
    common::install_crypto();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let absent = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for address in [silent.local_addr().unwrap(), absent] {
        let settings = S3Settings {
            endpoint: format!("http://{address}"),
            bucket: "threatwatch".to_owned(),
            region: "us-east-1".to_owned(),
            access_key_id: "a".to_owned(),
            secret_access_key: registry::Secret::new("b".to_owned()),
        };
        let started = std::time::Instant::now();
        let error = common::block_on(S3Store::new(&settings).get("x")).unwrap_err();
        assert!(error.is_transient, "{error}");
        assert!(started.elapsed().as_secs() < 17, "{address}: {:?}", started.elapsed());
    }
}

#[test]
fn changed_bytes_are_refused_wherever_they_are() {
    common::block_on(async {
        let store = Arc::new(MemoryStore::default());
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        let version = registered(&registry, "a").await;
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
        // A promoted version's manifest: whatever bit is flipped, it is another manifest than the one promoted.
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
