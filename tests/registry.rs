//! One suite for every store: in memory, and the S3 server that `up` starts or the environment names.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "../model/registry/tests/common/mod.rs"]
mod models;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use model::{Digest, Generation, Version};
use registry::{Created, Error, MemoryStore, Registry, ReplicaId, S3Settings, S3Store, Serving, Store};

use models::{promotion, registered};

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
    let [a, b] = [registered(registry, 0).await, registered(registry, 1).await];
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
    let [a, b] = [registered(registry, 0).await, registered(registry, 1).await];
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
        let [a, b] = [registered(&registry, 0).await, registered(&registry, 1).await];
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
