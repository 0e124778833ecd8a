//! Two versions of the worker at once, and histories that outlive a release; on real servers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use common::{BINARY, Up, both, free_ports, signal, wait_for};

const DEPLOYMENT: &str = "threatwatch";

/// A worker of one version, ended when dropped.
struct Worker(Child);

impl Worker {
    fn start(up: &Up, build_id: &str) -> Self {
        let address = format!("127.0.0.1:{}", free_ports().worker);
        let mut command = Command::new(BINARY);
        command.args(["worker", "--address", &address, "--deployment-name", DEPLOYMENT, "--build-id", build_id]);
        let log = fs::File::create(up.dir.path().join(format!("worker-{build_id}.log"))).unwrap();
        command.arg("--state-dir").arg(up.state_dir()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            signal("-TERM", self.0.id());
        }
        self.0.wait().unwrap();
    }
}

/// What `temporal worker deployment COMMAND` says of a version; it may not be there yet.
fn deployment(up: &Up, command: &str, build_id: &str) -> std::process::Output {
    let mut arguments = vec!["worker", "deployment", command, "--deployment-name", DEPLOYMENT, "--build-id", build_id];
    if command == "set-current-version" {
        arguments.push("--yes");
    }
    arguments.extend(["--output", "json"]);
    up.temporal(&arguments)
}

/// Sends new runs to a version, as soon as its worker has reported both of its queues to Temporal.
fn roll_out(up: &Up, build_id: &str) {
    let queues = || {
        let described = deployment(up, "describe-version", build_id);
        let told: Value = serde_json::from_slice(&described.stdout).unwrap_or_default();
        let names = told["taskQueuesInfos"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<_> = names.iter().map(|queue| queue["name"].as_str().unwrap_or("").to_owned()).collect();
        names.sort();
        names.dedup();
        names
    };
    let is_there = || queues() == [workflows::TASK_QUEUE, workflows::FINE_TUNING_QUEUE];
    let log = || fs::read_to_string(up.dir.path().join(format!("worker-{build_id}.log"))).unwrap();
    assert!(wait_for(Duration::from_mins(1), is_there), "{:?}\n{}", queues(), log());
    let set = deployment(up, "set-current-version", build_id);
    assert!(set.status.success(), "{}", both(&set));
}

fn describe(up: &Up, id: &str) -> Value {
    let told = up.temporal(&["workflow", "describe", "--workflow-id", id, "--output", "json"]);
    serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{}", both(&told)))
}

/// The version that a run is with, and how it is bound to it.
fn version_of(up: &Up, id: &str) -> (String, String) {
    let told = describe(up, id);
    let versioning = &told["workflowExecutionInfo"]["versioningInfo"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&versioning["deploymentVersion"]["buildId"]), text(&versioning["behavior"]))
}

#[test]
fn a_run_ends_on_the_version_that_it_started_on_while_new_ones_go_to_the_new() {
    let up = Up::start();
    let old = Worker::start(&up, "0.1.0");
    roll_out(&up, "0.1.0");
    let waits = json!({ "trainers": ["multinomial_nb"], "auto_promote": "after_approval" }).to_string();
    up.start_training("on-the-old", &[&waits]);
    let stage = || up.get_json("/runs/status?workflow_id=on-the-old")["stage"].as_str().map(str::to_owned);
    assert!(wait_for(Duration::from_secs(30), || stage().as_deref() == Some("approval")), "{:?}", stage());
    let pinned = "VERSIONING_BEHAVIOR_PINNED";
    assert_eq!(version_of(&up, "on-the-old"), ("0.1.0".to_owned(), pinned.to_owned()));

    let new = Worker::start(&up, "0.2.0-rc.1");
    roll_out(&up, "0.2.0-rc.1");
    let trained = up.train_by_cli("on-the-new", &[r#"{"trainers":["multinomial_nb"]}"#]);
    assert!(trained.contains("COMPLETED"), "{trained}");
    assert_eq!(version_of(&up, "on-the-new"), ("0.2.0-rc.1".to_owned(), pinned.to_owned()));

    // What is under way ends where it began: without the old worker it waits, although the new one has nothing to do.
    drop(old);
    let old = std::thread::scope(|scope| {
        let approving = scope.spawn(|| up.succeed(&["approve", "on-the-old", "--reason", "looks right"]));
        assert!(!wait_for(Duration::from_secs(5), || approving.is_finished()), "the new worker took it");
        let old = Worker::start(&up, "0.1.0");
        let said = approving.join().unwrap();
        assert!(said.contains("approved"), "{said}");
        old
    });
    let done = up.result("on-the-old");
    assert!(done.contains("COMPLETED") && done.contains("looks right"), "{done}");
    assert_eq!(version_of(&up, "on-the-old").0, "0.1.0");

    // Back again: new runs go where the current version is.
    let set = deployment(&up, "set-current-version", "0.1.0");
    assert!(set.status.success(), "{}", both(&set));
    up.train_by_cli("after-going-back", &[r#"{"trainers":["multinomial_nb"]}"#]);
    assert_eq!(version_of(&up, "after-going-back").0, "0.1.0");
    drop((old, new));

    let wrong = up.run(&["worker", "--deployment-name", "a.b"]);
    assert!(wrong.status.code() == Some(2) && both(&wrong).contains("--deployment-name"), "{}", both(&wrong));
}

#[test]
fn a_history_is_saved_as_the_replay_reads_it_and_none_is_replaced() {
    let up = Up::start();
    let file: PathBuf = up.dir.path().join("first.json");
    let name = file.to_str().unwrap();
    let saved: Value =
        serde_json::from_str(&up.succeed(&["history", "save", "train-first-model", name, "--json"])).unwrap();
    let events = saved["events"].as_u64().unwrap();
    let bytes = fs::read(&file).unwrap();
    let history = common::block_on(async {
        temporalio_client::WorkflowHistory::from_json(&bytes).unwrap().into_events().await.unwrap()
    });
    assert_eq!((history.len() as u64, history[0].event_id), (events, 1), "{saved}");
    assert!(events > 20, "{saved}");

    let again = up.run(&["history", "save", "train-first-model", name]);
    assert!(!again.status.success() && both(&again).contains("exists already"), "{}", both(&again));
    assert_eq!(fs::read(&file).unwrap(), bytes);
    let (run, other) = (saved["run_id"].as_str().unwrap(), up.dir.path().join("second.json"));
    let other = other.to_str().unwrap();
    for arguments in [
        vec!["nobody", other],
        vec!["train-first-model", other, "--run-id", "6f1f2f5e-3a53-4f53-8a57-6dd9a2f0f3b1"],
        vec!["train-first-model", other, "--run-id", "first"],
    ] {
        let missing = up.run(&[&["history", "save"], &arguments[..]].concat());
        let named = arguments.last().filter(|_| arguments.len() > 2).unwrap_or(&arguments[0]);
        let words = both(&missing);
        assert!(!missing.status.success() && words.contains(&format!("`{named}`")), "{words}");
        assert!(!fs::exists(other).unwrap(), "nothing is left behind");
    }
    up.succeed(&["history", "save", "train-first-model", other, "--run-id", run]);
    // Byte for byte it may differ: some of its objects have no order.
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert!(json(&fs::read(other).unwrap()) == json(&bytes));
    let nowhere = up.run(&["history", "save", "train-first-model", "/nowhere/at/all.json"]);
    assert!(!nowhere.status.success() && both(&nowhere).contains("/nowhere/at/all.json"), "{}", both(&nowhere));

    // The gate refuses a weaker model, and the run says so.
    let weaker = r#"{"trainers":["multinomial_nb"],"preset":"sklearn","auto_promote":"if_gate_passes"}"#;
    let refused = up.train_by_cli("refused", &[weaker]);
    assert!(refused.contains("COMPLETED") && refused.contains(r#""promoted":false"#), "{refused}");
    up.record_history("refused", "train-gate-refused");
}
