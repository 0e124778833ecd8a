//! F4, F5, F12: the store refuses connections, does not answer, or is away when a replica starts.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    Stage,
    client::{Answer, Asking, Connection, ask, p99, predict, request},
    common::wait_for,
    process::{Plan, Serve},
    proxy::{Mode, Proxy},
};

/// The time limit for a verdict after a start, for `stale`, and for recovery.
const SOON: Duration = Duration::from_secs(2);
/// The time limit for the refusal of a request that needs the store.
const REFUSED: Duration = Duration::from_secs(3);

fn is_stale(serve: &Serve) -> bool {
    let ready = serve.get("/health/ready").unwrap();
    assert_eq!(ready.status, 200, "{ready:?}");
    ready.json()["stale"] == true
}

/// Waits for the first verdict. Returns it and how long it took.
fn first_verdict(serve: &Serve, since: Instant) -> (Answer, Duration) {
    let patience = Duration::from_secs(15);
    loop {
        match ask(serve.port, &predict()) {
            Ok(answer) if answer.status == 200 => return (answer, since.elapsed()),
            other => assert!(since.elapsed() < patience, "no verdict: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A request for every route that needs the store.
fn requests_for_the_store(stage: &Stage) -> Vec<(&'static str, Vec<u8>)> {
    let promotion = json!({ "version": stage.other_version(), "force": true, "reason": "the store is away" });
    let rollback = json!({ "reason": "the store is away" });
    vec![
        ("GET /models", request("GET", "/models", "", "")),
        ("GET /models/history", request("GET", "/models/history", "", "")),
        ("GET /audit", request("GET", "/audit", "", "")),
        ("POST /rollback", request("POST", "/rollback", "", &rollback.to_string())),
        ("POST /promote", request("POST", "/promote", "", &promotion.to_string())),
    ]
}

/// Sends all requests at once and checks that each is refused in time. Returns the longest time.
fn all_are_refused(serve: &Serve, requests: &[(&'static str, Vec<u8>)]) -> Duration {
    let refused = |route: &str, bytes: &[u8]| {
        let started = Instant::now();
        let answer = ask(serve.port, bytes).unwrap();
        let took = started.elapsed();
        assert_eq!((answer.status, &*answer.problem()), (503, "/problems/store-unavailable"), "{route}: {answer:?}");
        let retry_after = answer.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
        assert!(retry_after.is_some_and(|seconds| seconds > 0), "{route}: {answer:?}");
        assert!(took < REFUSED, "{route}: {took:?}");
        took
    };
    std::thread::scope(|scope| {
        let asking: Vec<_> = requests.iter().map(|(route, bytes)| scope.spawn(move || refused(route, bytes))).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).max().unwrap()
    })
}

/// The folder of the newest generation in a plan's cache.
fn newest_cached(plan: &Plan) -> PathBuf {
    let store = fs::read_dir(plan.cache()).unwrap().next().unwrap().unwrap().path();
    let folders = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    folders.max().unwrap()
}

#[test]
fn f12_a_replica_that_starts_without_the_store_serves_within_two_seconds_what_was_in_production() {
    let stage = Stage::enter();
    let proxy = Proxy::start(stage.up.ports.s3);
    let replicas = stage.replicas();
    let plan = Plan::new(&stage.up).through(&stage.up, &proxy);
    let serve = plan.start_ready();
    let (before, _) = stage.production();
    stage.promote_the_other();
    let (version, generation) = stage.production();
    let serves = |serve: &Serve| serve.get("/health/ready").unwrap().json()["generation"].as_u64();
    assert!(wait_for(SOON, || serves(&serve) == Some(generation)), "{:?}", serves(&serve));
    serve.kill();
    stage.forget_all_but(&replicas);
    proxy.set(Mode::Refuse);

    let started = Instant::now();
    let serve = plan.start();
    let (verdict, took) = first_verdict(&serve, started);
    eprintln!("F12: the first verdict after a start without the store: {took:?}");
    assert!(took <= SOON, "{took:?}");
    assert_eq!(verdict.header("x-model-version"), Some(&*version));
    let ready = serve.get("/health/ready").unwrap();
    assert_eq!((ready.status, ready.json()["stale"].as_bool()), (200, Some(true)), "{ready:?}");
    assert!(ready.json()["stale_since"].as_str().unwrap().starts_with("20"), "{ready:?}");
    assert!(ready.json()["trouble"].as_str().unwrap().len() > 10, "{ready:?}");
    serve.kill();

    // One byte of the newest model is wrong, so the model before serves.
    let artifact = newest_cached(&plan).join("artifact");
    let mut bytes = fs::read(&artifact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&artifact, bytes).unwrap();
    let started = Instant::now();
    let serve = plan.start();
    let (verdict, took) = first_verdict(&serve, started);
    assert!(took <= SOON, "{took:?}");
    assert_eq!(verdict.header("x-model-version"), Some(&*before));
    assert!(verdict.json()["generation"].as_u64() < Some(generation), "{verdict:?}");

    // The newest model serves again as soon as the store answers.
    proxy.set(Mode::Pass);
    let patience = Duration::from_secs(5);
    assert!(wait_for(patience, || serves(&serve) == Some(generation)), "{:?}", serves(&serve));
    assert!(wait_for(patience, || !is_stale(&serve)));
}

#[test]
fn f12_a_replica_with_an_empty_cache_says_that_the_store_is_away_and_serves_when_it_is_back() {
    let stage = Stage::enter();
    let proxy = Proxy::start(stage.up.ports.s3);
    // The store comes back at different points of the replica's loop.
    for away in [0, 900, 1800].map(Duration::from_millis) {
        proxy.set(Mode::Refuse);
        let serve = Plan::new(&stage.up).through(&stage.up, &proxy).start();
        let is_up = || serve.get("/health/live").is_ok_and(|answer| answer.status == 200);
        assert!(wait_for(Duration::from_secs(10), is_up), "{}", serve.log());
        for answer in [serve.get("/health/ready").unwrap(), ask(serve.port, &predict()).unwrap()] {
            assert_eq!((answer.status, &*answer.problem()), (503, "/problems/store-unavailable"), "{answer:?}");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
        std::thread::sleep(away);
        proxy.set(Mode::Pass);
        let (_, took) = first_verdict(&serve, Instant::now());
        eprintln!("F12: the first verdict after the store is back, with an empty cache: {took:?}");
        assert!(took <= SOON, "{away:?}: {took:?}");
    }
}

#[test]
fn f4_a_store_that_refuses_stops_no_verdict_and_is_told_of_at_once() {
    let stage = Stage::enter();
    let proxy = Proxy::start(stage.up.ports.s3);
    let serve = Plan::new(&stage.up).through(&stage.up, &proxy).start_ready();
    let requests = requests_for_the_store(&stage);
    let asking = Asking::start(serve.port);
    std::thread::sleep(SOON);

    proxy.set(Mode::Refuse);
    let away = Instant::now();
    let at_once = all_are_refused(&serve, &requests);
    assert!(wait_for(SOON.saturating_sub(away.elapsed()), || is_stale(&serve)), "not known to be away");
    let known = away.elapsed();
    let mut later = Duration::ZERO;
    while away.elapsed() < SOON {
        later = later.max(all_are_refused(&serve, &requests));
    }
    // The refused requests have ended, so only verdicts use the processor.
    let alone = Instant::now();
    std::thread::sleep(SOON);
    let asked = asking.end();
    asked.require_all();
    let in_time = |is_meant: &dyn Fn(Instant) -> bool| {
        p99(asked.verdicts.iter().filter(|(at, _)| is_meant(*at)).map(|&(_, took)| took))
    };
    let (before, during) = (in_time(&|at| at < away), in_time(&|at| at >= alone));
    eprintln!("F4: p99 {before:?} before, {during:?} while it is away; {} verdicts, errors 0", asked.verdicts.len());
    assert!(during <= 3 * before + Duration::from_millis(20), "p99 {before:?}, then {during:?}");

    let share = serve.cpu_share_over(Duration::from_secs(10));
    proxy.set(Mode::Pass);
    let back = Instant::now();
    assert!(wait_for(SOON, || !is_stale(&serve)), "still stale");
    let (back, percent) = (back.elapsed(), share * 100.0);
    eprintln!("F4: refused within {at_once:?}, later {later:?}; stale {known:?}; idle {percent:.1}%; back {back:?}");
    assert!(share < 0.05, "{percent:.1}% of a core while idle");
}

#[test]
fn f5_a_store_that_says_nothing_stops_no_verdict_and_nothing_piles_up() {
    let stage = Stage::enter();
    let proxy = Proxy::start(stage.up.ports.s3);
    let serve = Plan::new(&stage.up).through(&stage.up, &proxy).start_ready();
    let requests = requests_for_the_store(&stage);
    let asking = Asking::start(serve.port);
    for path in ["/models", "/models/history", "/audit"] {
        assert_eq!(serve.get(path).unwrap().status, 200);
    }
    let threads_before = serve.threads();

    proxy.set(Mode::Silent);
    let silent = Instant::now();
    proxy.most_open();
    let at_once = all_are_refused(&serve, &requests);
    assert!(wait_for(REFUSED, || is_stale(&serve)), "not known to be away");
    let (mut later, mut threads) = (Duration::ZERO, 0);
    while silent.elapsed() < Duration::from_secs(20) {
        later = later.max(all_are_refused(&serve, &requests));
        threads = threads.max(serve.threads());
        std::thread::sleep(Duration::from_millis(100));
    }
    let open = proxy.most_open();
    asking.end().require_all();

    proxy.set(Mode::Pass);
    let back = Instant::now();
    assert!(wait_for(SOON, || !is_stale(&serve)), "still stale");
    let back = back.elapsed();
    eprintln!("F5: refused within {at_once:?}, later {later:?}; {open} connections; back {back:?}");
    eprintln!("F5: {threads_before} threads, then {threads}");
    assert!(open < 64, "{open} connections to the store");
    assert!(threads <= threads_before + 4, "{threads_before} threads, then {threads}");
    // A request on a connection that was used before is answered, too.
    let mut connection = Connection::open(serve.port).unwrap();
    for _ in 0..2 {
        assert_eq!(connection.exchange(&requests[0].1).unwrap().status, 200);
    }
}
