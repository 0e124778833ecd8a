//! F16: clocks of the worker and the API that are an hour off, by libfaketime; and a store that refuses them.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use registry::{Key, S3Settings, S3Store, Store};
use serde_json::{Value, json};

use crate::{
    Stage, block_on,
    client::{ask, request},
    common::{both, install_crypto, wait_for},
    process::{Plan, Serve},
    proxy::{Fault, Proxy},
    tenant::Tenant,
};

/// The path of libfaketime. Without it, a test that needs it is skipped, or fails under CI.
fn faketime() -> Option<PathBuf> {
    let folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].into_iter().flat_map(|folder| {
        let inner = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        inner.chain([PathBuf::from(folder)]).collect::<Vec<_>>()
    });
    let found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "this test needs libfaketime (Debian: faketime)");
        eprintln!("not run: there is no libfaketime (Debian: faketime)");
    }
    found
}

/// The environment that puts a process's clock ahead or behind. Pauses keep their length.
fn shifted(library: &std::path::Path, by: &str) -> [(&'static str, String); 3] {
    let library = library.to_str().unwrap().to_owned();
    [("LD_PRELOAD", library), ("FAKETIME", by.to_owned()), ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned())]
}

fn post(api: &Serve, path: &str, body: &Value) -> (u16, Value) {
    let answer = ask(api.port, &request("POST", path, "", &body.to_string())).unwrap();
    (answer.status, answer.json())
}

/// Trains twice, promotes, rolls back, and prunes, with two clocks. Returns the last generation.
fn work(tenant: &Tenant, library: &std::path::Path, [of_worker, of_api]: [&str; 2], from: u64) -> u64 {
    let worker = shifted(library, of_worker).into_iter();
    let workplace = worker.fold(tenant.worker(), |place, (name, value)| place.with_variable(name, value));
    let _worker = workplace.start_ready();
    let plan =
        shifted(library, of_api).into_iter().fold(tenant.api(), |plan, (name, value)| plan.with_variable(name, value));
    let api = plan.start();
    assert!(wait_for(Duration::from_secs(20), || api.get("/health/live").is_ok_and(|answer| answer.status == 200)));
    let id = format!("run{of_worker}");
    tenant.start_training(&id, "if_gate_passes");
    let result = tenant.result(&id);
    assert!(result.contains("COMPLETED"), "{result}");
    let first = from == 0;
    let generation = || api.get("/health/ready").map_or(Value::Null, |answer| answer.json()["generation"].clone());
    if first {
        assert!(wait_for(Duration::from_secs(20), || generation() == from + 1), "{}", api.log());
        return from + 1;
    }
    // Rollbacks lead to each version in turn, and each one makes the next generation.
    let history = api.get("/models/history").unwrap().json();
    let newest = history["promotions"][0]["generation"].as_u64().unwrap();
    let (status, done) = post(&api, "/rollback", &json!({ "reason": "the clocks differ" }));
    if newest > 1 {
        assert_eq!((status, done["generation"].as_u64()), (200, Some(newest + 1)), "{done}");
        return newest + 1;
    }
    newest
}

#[test]
fn f16_clocks_that_are_an_hour_off_change_no_order_and_delete_nothing_that_is_young() {
    let Some(library) = faketime() else { return };
    let up = Stage::shared();
    let tenant = Tenant::new(&up, "clocks");
    let first = work(&tenant, &library, ["+1h", "-1h"], 0);
    let second = work(&tenant, &library, ["-1h", "+1h"], first);
    let history = block_on(tenant.registry().history()).unwrap();
    let generations: Vec<u64> = history.iter().map(|promotion| promotion.record.generation.0).collect();
    assert_eq!(generations, (1..=second).collect::<Vec<_>>());
    assert_eq!(block_on(tenant.registry().verify()).unwrap().problems, Vec::<String>::new());

    // An announced deletion counts for an hour of the store's time, whatever a worker's clock shows.
    let store = S3Store::new(&tenant.s3());
    let blob = block_on(store.list(Key::BLOBS)).unwrap().into_iter().next().unwrap();
    let young = block_on(tenant.registry().put_artifact(b"of a run under way".to_vec())).unwrap();
    let ahead = shifted(&library, "+1h")
        .into_iter()
        .fold(tenant.worker(), |place, (name, value)| place.with_variable(name, value));
    let _worker = ahead.start_ready();
    let pruned = tenant.run(&["models", "prune", "--keep", "1"]);
    assert!(pruned.status.success(), "{}", both(&pruned));
    assert!(block_on(store.get(&Key::Blob(&young).path())).unwrap().is_some(), "{}", both(&pruned));
    for path in block_on(store.list(Key::BLOBS)).unwrap() {
        block_on(store.create(&Key::Deleting(&path, "a-deleter").path(), Bytes::new())).unwrap();
    }
    // The same data and configuration make the same bytes.
    tenant.start_training("announced", "never");
    let pending =
        || both(&tenant.temporal(&["workflow", "describe", "--output", "json", "--workflow-id", "announced"]));
    let waits = || pending().contains("is being deleted by retention");
    assert!(wait_for(Duration::from_secs(20), waits), "{blob} is stored while it is deleted: {}", pending());
    eprintln!(
        "F16: clocks an hour ahead and behind: {second} generations in order, nothing young is deleted, announcements stand"
    );
}

#[test]
fn f16_a_store_that_refuses_a_clock_is_told_by_name() {
    install_crypto();
    let up = Stage::shared();
    let proxy = Proxy::of_http(up.ports.s3);
    let serve = Plan::new(&up).through(&up, &proxy).start_ready();
    proxy.on(|_| Fault::Error(403, "RequestTimeTooSkewed"));
    let settings = S3Settings { endpoint: proxy.url(), ..up.settings().s3().unwrap() };
    let started = Instant::now();
    let store: Arc<dyn Store> = Arc::new(S3Store::new(&settings));
    let error = block_on(store.get("anything")).unwrap_err();
    let took = started.elapsed();
    assert!(error.to_string().contains("RequestTimeTooSkewed"), "{error}");
    let trouble = || serve.get("/health/ready").unwrap().json()["trouble"].as_str().map(str::to_owned);
    let is_told = || trouble().is_some_and(|trouble| trouble.contains("RequestTimeTooSkewed"));
    assert!(wait_for(Duration::from_secs(5), is_told), "{:?}", trouble());
    assert_eq!(ask(serve.port, &crate::client::predict()).unwrap().status, 200);
    eprintln!("F16: a refused clock is named after {took:.1?}: {error}");
}
