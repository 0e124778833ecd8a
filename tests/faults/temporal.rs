//! F3: Temporal is killed and comes back; Temporal does not answer.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    Stage,
    client::{Answer, Asking, ask, p99, request},
    common::wait_for,
    process::Serve,
    proxy::{Mode, Proxy},
    tenant::{Temporal, Tenant, first_model},
};

/// How long Temporal is away.
const AWAY: Duration = Duration::from_secs(30);
/// The time limit for the refusal of a request that needs Temporal, as in the matrix.
const REFUSED: Duration = Duration::from_secs(2);
/// Twice the time after which a silent connection is given up: it is probed every 10 s, and closed 5 s later.
const ANEW: Duration = Duration::from_secs(30);
/// The time limit for the worker: twice the 10 s of the matrix, for busy machines.
const BACK: Duration = Duration::from_secs(20);

fn train(api: &Serve) -> (Answer, Duration) {
    let body = json!({ "trainers": ["multinomial_nb"] }).to_string();
    let started = Instant::now();
    let answer = ask(api.port, &request("POST", "/train", "", &body)).unwrap();
    (answer, started.elapsed())
}

/// Requests training runs while Temporal is away. Returns the longest time that a refusal took.
fn all_are_refused(api: &Serve, time: Duration) -> Duration {
    let (started, mut longest) = (Instant::now(), Duration::ZERO);
    while started.elapsed() < time {
        let (answer, took) = train(api);
        let kind = answer.problem();
        assert_eq!((answer.status, &*kind), (503, "/problems/orchestrator-unavailable"), "{answer:?}");
        assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{answer:?}");
        assert!(took <= REFUSED, "{took:?}");
        longest = longest.max(took);
        std::thread::sleep(Duration::from_millis(200));
    }
    longest
}

#[test]
fn f3_temporal_is_killed_for_thirty_seconds_and_verdicts_go_on_and_no_run_is_lost_or_doubled() {
    let up = Stage::shared();
    let dir = tempfile::tempdir().unwrap();
    let temporal = Mutex::new(Temporal::start(&dir.path().join("temporal.db")));
    let proxy = Proxy::start(temporal.lock().unwrap().port);
    let tenant = Tenant::with_temporal_at(&up, "temporal", format!("127.0.0.1:{}", proxy.port));
    let _worker = tenant.worker().start_ready();
    let api = tenant.api().start();
    assert!(wait_for(Duration::from_secs(20), || api.get("/health/live").is_ok_and(|answer| answer.status == 200)));
    first_model(&api);

    let asking = Asking::start(api.port);
    std::thread::sleep(Duration::from_secs(2));
    tenant.start_training("under-way", "never");
    let killed = Instant::now();
    temporal.lock().unwrap().kill();
    // A request that is in flight now may still be answered.
    let is_known = || train(&api).0.status == 503;
    assert!(wait_for(REFUSED, is_known), "not known to be away");
    let known = killed.elapsed();
    let refused = all_are_refused(&api, AWAY.saturating_sub(killed.elapsed()));

    temporal.lock().unwrap().start_again();
    let answers = || temporal.lock().unwrap().answers();
    assert!(wait_for(Duration::from_secs(30), answers));
    let answered = Instant::now();
    // The worker answers queries.
    let status = || tenant.temporal(&["workflow", "query", "--type", "status", "--workflow-id", "under-way"]);
    assert!(wait_for(BACK, || status().status.success()), "the worker does not come back");
    let back = answered.elapsed();
    assert!(tenant.result("under-way").contains("COMPLETED"));
    assert_eq!(tenant.versions_of("under-way"), 1);
    assert!(wait_for(BACK, || train(&api).0.status == 202));
    let asked = asking.end();
    asked.require_all();
    let during = asked.verdicts.iter().filter(|(at, _)| *at > killed).map(|&(_, took)| took);
    let (verdicts, p99) = (asked.verdicts.len(), p99(during));
    eprintln!(
        "F3: {AWAY:?} away, {verdicts} verdicts, errors 0, p99 {p99:?}; known {known:?}, /train refused within \
         {refused:?}; the worker works again after {back:?}; 1 version of the run under way"
    );

    // Silence instead of a closed port.
    proxy.set(Mode::Silent);
    assert!(wait_for(3 * REFUSED, is_known), "a silent Temporal is not known to be away");
    let refused = all_are_refused(&api, Duration::from_secs(5));
    // Then every connection ends after some kilobytes, sometimes in the middle of an answer.
    let back = Instant::now();
    proxy.set(Mode::Cut(20_000));
    let mut started = 0;
    assert!(wait_for(ANEW, || train(&api).0.status == 202), "the silent connection is not made anew");
    let anew = back.elapsed();
    for _ in 0..20 {
        started += u32::from(train(&api).0.status == 202);
    }
    proxy.set(Mode::Pass);
    assert!(started > 0);
    assert!(wait_for(BACK, || train(&api).0.status == 202));
    eprintln!(
        "F3: silent: /train refused within {refused:?}, made anew after {anew:.1?}; cut after 20 kB: {started} of 20 runs started"
    );
}
