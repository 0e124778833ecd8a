//! `kill -9` of each part that `up` runs and of `up` itself; a store that is silent at the first start of `up`.

use std::{
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    client::{Asking, address, get},
    common::{Up, both, free_ports, processes_with, signal, wait_for},
};

/// The time limit for a restart: three times the longest on a quiet machine.
///
/// `up` waits a second before it starts a part again. The matrix has no bound.
const AGAIN: Duration = Duration::from_secs(30);

/// The program of the object store.
fn store_of(up: &Up) -> &'static str {
    if up.pids("weed mini").is_empty() { "minio server" } else { "weed mini" }
}

#[test]
fn each_part_that_is_killed_runs_again_and_an_up_that_is_killed_leaves_nobody_and_goes_on() {
    let up = Up::start();
    let asking = Asking::start(up.ports.api);
    let parts = [("the worker", "threatwatch worker"), ("Temporal", "temporal server"), ("S3", store_of(&up))];
    let mut figures = Vec::new();
    let dry = json!({ "version": up.get_json("/models/production")["version"], "dry_run": true });
    for (part, word) in parts {
        let gone = up.output().matches("is running again").count();
        let killed = Instant::now();
        up.kill_9(word);
        assert!(wait_for(AGAIN, || up.output().matches("is running again").count() > gone), "{part}: {}", up.output());
        // A dry run of a promotion needs all parts.
        let works = || up.post("/promote", &dry).0 == 200;
        assert!(wait_for(AGAIN, works), "{part}: {:?}", up.post("/promote", &dry));
        figures.push(format!("{part} {:.1?}", killed.elapsed()));
    }
    let asked = asking.end();
    asked.require_all();
    let killed = Instant::now();
    up.kill_9("threatwatch serve");
    let serves = || get(up.ports.api, "/health/ready").is_ok_and(|answer| answer.status == 200);
    assert!(wait_for(AGAIN, serves), "{}", up.output());
    figures.push(format!("the API {:.1?}", killed.elapsed()));
    eprintln!("kill -9, until all works again: {}; {} verdicts, errors 0", figures.join(", "), asked.verdicts.len());

    let before = up.get_json("/models/production");
    up.start_training("under-way", &[r#"{"trainers":["multinomial_nb"]}"#]);
    std::thread::sleep(Duration::from_millis(500));
    let mut up = up;
    let dir = up.dir.path().display().to_string();
    let (code, _) = up.stop("-KILL");
    let killed = Instant::now();
    assert_eq!(code, None);
    assert!(wait_for(Duration::from_secs(10), || processes_with(&dir).is_empty()), "{:?}", processes_with(&dir));
    let gone = killed.elapsed();
    let (handle, ports) = up.left_behind();
    // A process that ends may lose its name before its sockets close.
    for port in [ports.api, ports.temporal, ports.temporal_ui, ports.s3, ports.worker] {
        assert!(wait_for(Duration::from_secs(10), || TcpListener::bind(address(port)).is_ok()), "{port} is taken");
    }
    let started = Instant::now();
    let up = Up::start_in(handle, ports, &[]);
    let again = started.elapsed();
    assert!(up.result("under-way").contains("COMPLETED"), "{}", up.output());
    let models = up.get_json("/models");
    let of_run = models["models"].as_array().unwrap().iter().filter(|model| model["workflow_id"] == "under-way");
    assert_eq!(of_run.count(), 1, "{models}");
    let after = up.get_json("/models/production");
    assert_eq!((&after["version"], &after["generation"]), (&before["version"], &before["generation"]));
    let verified = up.run(&["models", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));
    eprintln!("kill -9 of `up`: no orphan after {gone:.1?}; up again in {again:.1?}; the run under way made 1 version");
}

#[test]
fn an_up_whose_own_store_falls_silent_at_its_first_start_starts_it_again() {
    let (dir, ports) = (tempfile::tempdir().unwrap(), free_ports());
    let (place, port) = (dir.path().display().to_string(), ports.s3);
    let started = Instant::now();
    let up = std::thread::scope(|scope| {
        let starting = scope.spawn(|| Up::start_in(dir, ports, &[]));
        // The store is stopped as soon as it listens, before the bucket is created.
        let listening = Instant::now();
        while TcpStream::connect(address(port)).is_err() {
            assert!(listening.elapsed() < Duration::from_mins(1), "the store does not listen");
            std::thread::sleep(Duration::from_millis(1));
        }
        let servers = processes_with(&place).into_iter();
        let stores = servers.filter(|(_, line)| line.contains("weed mini") || line.contains("minio server"));
        for (pid, line) in stores {
            // Not the process of `up` that starts it, which has the same words in its command line.
            if !line.contains("run-bound") {
                signal("-STOP", pid);
            }
        }
        starting.join().unwrap()
    });
    let took = started.elapsed();
    let said = up.output();
    assert!(said.contains("the object store accepts no write"), "it was not silent: {said}");
    assert!(said.contains("s3 ended (it did not answer)") && said.contains("s3 is running again"), "{said}");
    assert_eq!(up.post("/predict", &json!({ "text": "I will kill you" })).0, 200);
    eprintln!("a store that is silent at the first start: `up` is up after {took:.1?}");
    // 20 s of silence, a try of 15 s that began before their end, and a start.
    assert!(took < Duration::from_secs(3 * 50), "{took:?}");
}
