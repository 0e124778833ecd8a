//! F9: the disk of each part is full, and later has room again.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use registry::{S3Settings, S3Store, Store};
use serde_json::json;

use crate::{
    Stage, block_on,
    client::{Asking, ask, request},
    common::{Up, both, free_ports, wait_for},
    disk::Mounted,
    tenant::{Temporal, Tenant, first_model},
};

/// The time limit for recovery after space is free. The longest pause between two tries is half a minute.
const RECOVERY: Duration = Duration::from_secs(90);

#[test]
fn f9_a_full_disk_under_the_store_loses_nothing_and_runs_go_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::in_memory(&dir.path().join("state/s3"), 64) else { return };
    let up = Up::start_in(dir, free_ports(), &[]);
    let settings = up.settings().s3().unwrap();
    let store = Arc::new(S3Store::new(&S3Settings { region: "f9".to_owned(), ..settings }));
    let (old, large) = (Bytes::from(vec![1; 100_000]), Bytes::from(vec![2; 3 << 20]));
    block_on(store.create("faults/old", old.clone())).unwrap();
    let production = up.get_json("/models/production");
    let asking = Asking::start(up.ports.api);

    let filler = disk.fill();
    let started = Instant::now();
    let error = block_on(store.create("faults/large", large.clone())).unwrap_err();
    let refused = started.elapsed();
    assert!(error.is_transient && error.to_string().contains("faults/large"), "{error}");
    assert!(refused < Duration::from_secs(18), "{refused:?}");
    assert_eq!(block_on(store.get("faults/old")).unwrap(), Some(old.clone()), "the old object is whole");
    let read = block_on(store.get("faults/large"));
    assert!(matches!(read, Ok(None)), "nothing of it is left: {read:?}");
    // With another seed, the artifact is new.
    up.start_training("full", &[r#"{"trainers":["multinomial_nb"],"seed":9}"#]);
    let pending = || both(&up.temporal(&["workflow", "describe", "--output", "json", "--workflow-id", "full"]));
    let is_told = || pending().contains("in the object store");
    assert!(wait_for(Duration::from_secs(40), is_told), "the run does not say why it waits: {}", pending());

    filler.remove();
    let freed = Instant::now();
    let small = || block_on(store.create("faults/small", Bytes::from_static(b"small")));
    let writes = || small().is_ok();
    assert!(wait_for(RECOVERY, writes), "no write after there is room");
    let wrote = freed.elapsed();
    assert!(up.result("full").contains("COMPLETED"), "{}", up.output());
    let ran = freed.elapsed();
    asking.end().require_all();
    assert_eq!(block_on(store.get("faults/old")).unwrap(), Some(old));
    assert_eq!(up.get_json("/models/production"), production);
    let verified = up.run(&["models", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));
    eprintln!(
        "F9: the store's disk: refused after {refused:.1?} ({}), a write {wrote:.1?} after there is room, the run \
         {ran:.1?}; /predict errors 0",
        error.reason
    );
    assert!(ran < RECOVERY, "{ran:?}");
    // It is unmounted first, so that the directory can be removed.
    drop(disk);
}

#[test]
fn f9_a_full_disk_under_temporal_is_told_and_runs_start_again_when_there_is_room() {
    let up = Stage::shared();
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::in_memory(&dir.path().join("disk"), 16) else { return };
    let temporal = Temporal::start(&dir.path().join("disk/temporal.db"));
    let tenant = Tenant::with_temporal_at(&up, "disk", temporal.address());
    let _worker = tenant.worker().start_ready();
    let api = tenant.api().start();
    assert!(wait_for(Duration::from_secs(20), || api.get("/health/live").is_ok_and(|answer| answer.status == 200)));
    first_model(&api);
    let asking = Asking::start(api.port);
    let train = || {
        let started = Instant::now();
        let answer = ask(api.port, &request("POST", "/train", "", r#"{"trainers":["multinomial_nb"]}"#)).unwrap();
        (answer, started.elapsed())
    };

    let mut temporal = temporal;
    let filler = disk.fill();
    // First the free space within the database's file is used up.
    let mut refused = None;
    let is_refused = || {
        let (answer, took) = train();
        refused = (answer.status != 202).then_some((answer, took));
        refused.is_some()
    };
    assert!(wait_for(Duration::from_mins(1), is_refused), "runs are started on a full disk");
    let (answer, took) = refused.unwrap();
    let kind = answer.problem();
    assert!(answer.status == 503 && kind == "/problems/orchestrator-unavailable", "{answer:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");

    filler.remove();
    let freed = Instant::now();
    // In production, `up` restarts a server that has ended. Here the test does it.
    let starts = || {
        if temporal.has_ended() {
            temporal.start_again();
        }
        train().0.status == 202
    };
    assert!(wait_for(RECOVERY, starts), "{:?}", train().0);
    tenant.start_training("after", "never");
    let result = tenant.result("after");
    assert!(result.contains("COMPLETED"), "{result}");
    let worked = freed.elapsed();
    asking.end().require_all();
    assert_eq!(tenant.versions_of("after"), 1);
    eprintln!(
        "F9: Temporal's disk: /train refused with 503 after {took:.1?}; a run is done {worked:.1?} after there is room"
    );
}

#[test]
fn f9_a_full_disk_under_the_api_and_the_worker_stops_neither() {
    let up = Stage::shared();
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::in_memory(&dir.path().join("disk"), 2) else { return };
    let place = dir.path().join("disk");
    let tenant = Tenant::new(&up, "cache");
    // All files of API and worker are on the small disk.
    let full = place.to_str().unwrap();
    let worker = tenant.worker().logged_in(&place.join("worker.log")).with_variable("TMPDIR", full).start_ready();
    let plan = tenant.api().cached_in(&place.join("cache")).logged_in(&place.join("api.log"));
    let plan = plan.with_variable("TMPDIR", full);
    let filler = disk.fill();
    let api = plan.start();
    assert!(wait_for(Duration::from_secs(20), || api.get("/health/live").is_ok_and(|answer| answer.status == 200)));
    first_model(&api);
    let asking = Asking::start(api.port);
    tenant.start_training("full", "if_gate_passes");
    assert!(tenant.result("full").contains("COMPLETED"));
    // The log lines of requests are lost, and no request fails because of that.
    for _ in 0..20 {
        assert_eq!(api.get("/models").unwrap().status, 200);
    }
    let generation = api.get("/health/ready").unwrap().json()["generation"].clone();
    assert!(generation.as_u64() >= Some(1), "{generation}");
    asking.end().require_all();
    let cached = || fs::read_dir(place.join("cache")).map_or(0, Iterator::count);

    filler.remove();
    // The cache is filled when the disk has space again. It is tried once a minute.
    let freed = Instant::now();
    let is_kept = || {
        let store = fs::read_dir(place.join("cache")).into_iter().flatten().flatten().next();
        let kept = store.and_then(|store| fs::read_dir(store.path()).ok());
        let kept = kept.into_iter().flatten().flatten();
        kept.filter(|entry| entry.file_name().to_string_lossy().starts_with("00000")).count() > 0
    };
    assert!(wait_for(RECOVERY, is_kept), "{} folders in the cache", cached());
    let kept = freed.elapsed();
    let body = json!({ "text": "hello" }).to_string();
    assert_eq!(ask(api.port, &request("POST", "/predict", "", &body)).unwrap().status, 200);
    drop(worker);
    eprintln!(
        "F9: the disk of API and worker: a run and a promotion are done, /predict errors 0; kept {kept:.1?} later"
    );
}
