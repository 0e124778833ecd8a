//! Encrypted payloads: what Temporal stores, who can read it, how keys are changed; on real servers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use common::{BINARY, Up, both, browser, dump_dom, free_ports, wait_for};

/// In the reasons, actors and mistakes of this test, and nowhere else.
const CANARY: &str = "xylophone";
const SETTING: &str = "THREATWATCH_PAYLOAD_KEY_FILE";

fn key(id: &str) -> String {
    format!("{id} {}\n", model::Digest::of(id.as_bytes()))
}

fn write_keys(path: &Path, ids: &[&str]) {
    let whole = path.with_extension("new");
    fs::write(&whole, ids.iter().map(|id| key(id)).collect::<String>()).unwrap();
    fs::set_permissions(&whole, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&whole, path).unwrap();
}

/// A stack whose payloads are encrypted with `k1`, and its key file.
fn start() -> (Up, PathBuf) {
    let dir: TempDir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("payload-keys");
    write_keys(&keys, &["k1"]);
    let up = Up::start_with(dir, free_ports(), &[], &[(SETTING, keys.to_str().unwrap())]);
    (up, keys)
}

trait Encrypted {
    fn endpoint(&self) -> String;
    /// The Temporal CLI with the API as its codec server.
    fn decoded(&self, arguments: &[&str]) -> String;
    fn start_run(&self, kind: &str, id: &str, input: &Value);
    /// A run's history as Temporal holds it.
    fn history(&self, id: &str) -> Value;
    fn waits_for_approval(&self, id: &str);
    fn worker_state(&self) -> Value;
    fn keys_are(&self, first: &str);
}

impl Encrypted for Up {
    fn endpoint(&self) -> String {
        format!("{}/codec", self.ports.api_url())
    }

    fn decoded(&self, arguments: &[&str]) -> String {
        both(&self.temporal(&[arguments, &["--codec-endpoint", &self.endpoint()]].concat()))
    }

    fn start_run(&self, kind: &str, id: &str, input: &Value) {
        let input = input.to_string();
        let arguments = ["workflow", "start", "--type", kind, "--task-queue", "threatwatch", "--workflow-id", id];
        let started = self.decoded(&[&arguments[..], &["--input", &input]].concat());
        assert!(started.contains("RunId"), "{started}");
    }

    fn history(&self, id: &str) -> Value {
        let shown = self.temporal(&["workflow", "show", "-o", "json", "--no-json-shorthand-payloads", "-w", id]);
        serde_json::from_slice(&shown.stdout).unwrap_or_else(|_| panic!("{id}: {}", both(&shown)))
    }

    fn waits_for_approval(&self, id: &str) {
        let input = json!({ "trainers": ["multinomial_nb"], "auto_promote": "after_approval", "reason": CANARY });
        self.start_run("TrainWorkflow", id, &input);
        let stage = || self.get(&format!("/runs/status?workflow_id={id}")).1;
        assert!(wait_for(Duration::from_mins(1), || stage().contains(r#""stage":"approval""#)), "{}", stage());
    }

    fn worker_state(&self) -> Value {
        let url = format!("{}/health/ready", self.ports.worker_url());
        common::block_on(async {
            match reqwest::get(url).await {
                Ok(response) => response.json().await.unwrap_or_default(),
                Err(_) => Value::Null,
            }
        })
    }

    fn keys_are(&self, first: &str) {
        let of = |state: &Value| state["payload_keys"][0].as_str().is_some_and(|key| key.starts_with(first));
        let both_know = || of(&self.worker_state()) && of(&self.get_json("/health/live"));
        assert!(wait_for(Duration::from_secs(20), both_know), "{} {}", self.worker_state(), self.get("/health/live").1);
    }
}

/// Every payload of a history with the path to it.
fn payloads<'a>(value: &'a Value, path: &str, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| payloads(item, &format!("{path}/{at}"), found));
        }
        Value::Object(fields)
            if fields.get("metadata").is_some_and(Value::is_object) && !fields.contains_key("payloads") =>
        {
            found.push((path.to_owned(), value));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| payloads(field, &format!("{path}/{name}"), found));
        }
        _ => {}
    }
}

/// What the payloads of a history say.
fn words_of(history: &Value) -> String {
    let mut found = Vec::new();
    payloads(history, "", &mut found);
    let data = found.iter().filter_map(|(_, payload)| STANDARD.decode(payload["data"].as_str()?).ok());
    data.map(|data| String::from_utf8_lossy(&data).into_owned() + "\n").collect()
}

/// `binary/encrypted` in base64.
const ENCRYPTED: &str = "YmluYXJ5L2VuY3J5cHRlZA==";

fn keys_of(history: &Value) -> Vec<String> {
    let mut found = Vec::new();
    payloads(history, "", &mut found);
    let mut keys: Vec<String> = found
        .iter()
        .filter_map(|(_, payload)| payload["metadata"]["encryption-key-id"].as_str().map(str::to_owned))
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Whether the server's database has these bytes.
fn database_has(up: &Up, bytes: &str) -> bool {
    let files = fs::read_dir(up.state_dir())
        .unwrap()
        .flatten()
        .filter(|file| file.file_name().to_str().is_some_and(|name| name.starts_with("temporal.db")));
    let mut found = false;
    for file in files {
        let content = fs::read(file.path()).unwrap();
        found |= content.windows(bytes.len()).any(|window| window == bytes.as_bytes());
    }
    found
}

#[test]
fn temporal_holds_no_plain_text_and_everything_works_as_before() {
    let (up, keys) = start();
    let first = up.get_json("/models/production")["version"].as_str().unwrap().to_owned();
    up.succeed(&["train", "--wait", "--trainer", "multinomial_nb", "--reason", CANARY]);
    up.waits_for_approval("approved");
    assert!(up.succeed(&["approve", "approved", "--reason", CANARY]).contains("approved is approved"));
    assert!(up.decoded(&["workflow", "result", "-w", "approved"]).contains(CANARY));
    up.waits_for_approval("rejected");
    let say = json!({ "workflow_id": "rejected", "actor": CANARY, "reason": CANARY });
    assert_eq!(up.post_json("/runs/reject", &say).0, 200);
    assert!(up.decoded(&["workflow", "result", "-w", "rejected"]).contains(CANARY));
    // Failures, of an input and of an activity: their words are data too.
    up.start_run("TrainWorkflow", "wrong", &json!({ "trainers": [CANARY] }));
    up.start_run("TrainWorkflow", "nowhere", &json!({ "dataset": "ab".repeat(32), "reason": CANARY }));
    for (id, words) in [("wrong", CANARY), ("nowhere", "no dataset")] {
        // This command knows no failure's attributes, the next one does.
        let failed = up.decoded(&["workflow", "result", "-w", id]);
        assert!(failed.contains("FAILED") && failed.contains("Encoded failure"), "{id}: {failed}");
        let failed =
            words_of(&serde_json::from_str(&up.decoded(&["workflow", "show", "-o", "json", "-w", id])).unwrap());
        assert!(failed.contains(words), "{id}: {failed}");
    }
    let failed = up.run(&["train", "--wait", "--dataset", &"ab".repeat(32), "--reason", CANARY]);
    assert!(!failed.status.success() && both(&failed).contains("no dataset"), "{}", both(&failed));
    let refused = up.post_json("/promote", &json!({ "version": "20200101T000000Z-00000000", "reason": CANARY }));
    assert_eq!(refused.0, 404, "{}", refused.1);
    let rolled = up.post_json("/rollback", &json!({ "reason": CANARY, "actor": CANARY }));
    assert_eq!((rolled.0, rolled.1["version"].as_str()), (200, Some(first.as_str())), "{}", rolled.1);
    let promoted = "promote-production";
    for number in 0..3 {
        let decided =
            json!({ "text": format!("number {number} of the museum"), "label": "harmless", "reviewer": CANARY });
        assert_eq!(up.post_json("/feedback", &decided).0, 201);
    }
    up.start_run("BacktestWorkflow", "back", &json!({ "candidate": up.get_json("/models")["models"][0]["version"] }));
    assert!(up.decoded(&["workflow", "result", "-w", "back"]).contains("COMPLETED"));
    up.start_run("FeedbackWorkflow", "learn", &json!({ "least_decisions": 1000, "training": { "reason": CANARY } }));
    assert!(up.decoded(&["workflow", "result", "-w", "learn"]).contains("COMPLETED"));
    up.succeed(&["schedule", "create", "--promote", "after-approval"]);
    up.succeed(&["schedule", "pause", "--reason", CANARY]);
    up.succeed(&["schedule", "resume", "--reason", CANARY]);
    up.succeed(&["schedule", "trigger"]);
    let listed = || both(&up.temporal(&["workflow", "list", "--query", "WorkflowType='TrainWorkflow'"]));
    let nightly = || listed().split_whitespace().find(|word| word.starts_with("train-nightly-")).map(str::to_owned);
    assert!(wait_for(Duration::from_secs(20), || nightly().is_some()), "{}", listed());

    let runs = ["train-first-model", "approved", "rejected", "wrong", "nowhere", promoted, "back", "learn"];
    let scheduled = nightly().unwrap();
    let mut sealed = 0;
    for id in runs.into_iter().chain([scheduled.as_str()]) {
        let history = up.history(id);
        let text = history.to_string();
        let mut found = Vec::new();
        payloads(&history, "", &mut found);
        for (path, payload) in found {
            // What runs are found by, and the headline and details that the starter gives: never words of people.
            // And the names of changes in our code.
            let is_plain =
                ["/searchAttributes/", "/userMetadata/", "/details/patch-data/"].iter().any(|it| path.contains(it));
            let is_sealed = payload["metadata"]["encoding"] == ENCRYPTED;
            assert!(is_sealed || is_plain, "{id}: {path}: {payload}");
            sealed += usize::from(is_sealed);
        }
        assert!(!text.contains(CANARY) && !words_of(&history).contains(CANARY), "{id}");
        assert_eq!(keys_of(&history), ["azE="], "{id}: k1");
        if matches!(id, "wrong" | "nowhere") {
            assert!(text.contains("Encoded failure") && text.contains("encodedAttributes"), "{text}");
        }
    }
    println!("{sealed} payloads of {} histories are encrypted", runs.len() + 1);
    let schedule = both(&up.temporal(&["schedule", "describe", "-s", "nightly-training", "-o", "json"]));
    assert!(
        schedule.contains(ENCRYPTED) && !schedule.contains("after_approval") && !schedule.contains(CANARY),
        "{schedule}"
    );

    // An input that was written without the codec is the proof that plain text would be found.
    up.start_training("control", &[r#"{"trainers":["zzz-control-zzz"]}"#]);
    assert!(up.result("control").contains("FAILED"), "what is not encrypted is read all the same");
    assert!(wait_for(Duration::from_secs(10), || database_has(&up, "zzz-control-zzz")), "the control is not found");
    assert!(!database_has(&up, CANARY));

    // In the Web UI, the input of a run is shown as it is.
    let described = both(&up.temporal(&["workflow", "describe", "-w", "approved", "-o", "json"]));
    let run = serde_json::from_str::<Value>(&described).unwrap()["workflowExecutionInfo"]["execution"]["runId"].clone();
    if let Some(browser) = browser() {
        let ui = up.ports.temporal_ui_url();
        let page = format!("{ui}/namespaces/default/workflows/approved/{}/timeline", run.as_str().unwrap());
        let shown = || dump_dom(&browser, &page).contains(CANARY);
        assert!(wait_for(Duration::from_mins(1), shown), "{}", dump_dom(&browser, &page));
    }
    let well = up.run(&["doctor"]);
    assert!(well.status.success() && both(&well).contains("encrypted in Temporal with the key k1:"), "{}", both(&well));

    // A command with another key file gets an error in one sentence.
    let other = keys.with_file_name("other");
    write_keys(&other, &["k9"]);
    let mut doctor = Command::new(BINARY);
    let told = doctor.args(["doctor", "--state-dir"]).arg(up.state_dir()).env(SETTING, &other).output().unwrap();
    let words = both(&told);
    assert!(!told.status.success() && words.contains("the worker encrypts with the key k1:"), "{words}");
    assert!(words.contains("which this command does not have (it has k9:") && words.contains(SETTING), "{words}");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o644)).unwrap();
    let mut status = Command::new(BINARY);
    let told =
        status.args(["schedule", "show", "--state-dir"]).arg(up.state_dir()).env(SETTING, &other).output().unwrap();
    assert!(!told.status.success() && both(&told).contains("chmod 600"), "{}", both(&told));
}

/// A worker beside that of `up`, without its keys.
struct Keyless {
    process: Child,
    dir: TempDir,
    url: String,
}

impl Keyless {
    fn start(up: &Up) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = fs::read_to_string(up.state_dir().join("env")).unwrap();
        let lines = settings.lines().filter(|line| !line.starts_with(SETTING)).map(|line| format!("{line}\n"));
        fs::write(dir.path().join("env"), lines.collect::<String>()).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let address = format!("127.0.0.1:{}", free_ports().worker);
        let mut command = Command::new(BINARY);
        command.args(["worker", "--address", &address, "--state-dir"]).arg(dir.path());
        let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Self { process, dir, url: format!("http://{address}/health/ready") }
    }

    fn status(&self) -> u16 {
        common::block_on(async { reqwest::get(&self.url).await.map_or(0, |response| response.status().as_u16()) })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for Keyless {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_worker_without_the_key_says_so_takes_no_work_and_destroys_no_run() {
    let (up, _) = start();
    let keyless = Keyless::start(&up);
    assert!(wait_for(Duration::from_secs(30), || keyless.status() == 200), "{}", keyless.log());
    // Temporal gives work to whichever worker it likes: runs are started until this one had some.
    let mut ids = Vec::new();
    let has_stopped = || {
        if keyless.status() != 503 && ids.len() < 40 {
            let id = format!("run-{}", ids.len());
            up.start_run("TrainWorkflow", &id, &json!({ "trainers": ["multinomial_nb"] }));
            ids.push(id);
        }
        keyless.status() == 503
    };
    assert!(wait_for(Duration::from_secs(30), has_stopped), "{}", keyless.log());
    let log = keyless.log();
    assert!(log.contains("is encrypted with the key `k1` (") && log.contains(SETTING), "{log}");
    for id in &ids {
        let done = up.decoded(&["workflow", "result", "-w", id]);
        assert!(done.contains("COMPLETED"), "{id}: {done}\n{}", keyless.log());
    }
}

#[test]
fn keys_are_changed_while_runs_go_on_and_a_key_that_is_gone_stops_nothing_for_good() {
    let (up, keys) = start();
    up.waits_for_approval("before");
    up.waits_for_approval("later");

    // The new key first, the old one beside it; nothing is started again.
    write_keys(&keys, &["k2", "k1"]);
    up.keys_are("k2:");
    assert!(up.succeed(&["approve", "before", "--reason", "rotated"]).contains("before is approved"));
    let done = up.decoded(&["workflow", "result", "-w", "before"]);
    assert!(done.contains("COMPLETED") && done.contains("rotated"), "{done}");
    let history = up.decoded(&["workflow", "show", "-o", "json", "-w", "before"]);
    assert!(words_of(&serde_json::from_str(&history).unwrap()).contains(CANARY), "the input is of the old key");
    assert_eq!(keys_of(&up.history("before")), ["azE=", "azI="], "both k1 and k2");
    up.succeed(&["train", "--wait", "--trainer", "multinomial_nb"]);
    assert!(up.get("/runs/status?workflow_id=train-first-model").1.contains(r#""stage":"done""#), "an old run");

    // The old key goes too early, and the worker has forgotten its runs.
    write_keys(&keys, &["k2"]);
    let has_one = || up.worker_state()["payload_keys"].as_array().is_some_and(|keys| keys.len() == 1);
    assert!(wait_for(Duration::from_secs(20), has_one), "{}", up.worker_state());
    up.kill_9("threatwatch worker");
    let lacks = || up.worker_state()["lacking"].as_str().is_some_and(|key| key.contains("`k1`"));
    let asked = || {
        // A query wakes the run.
        let _ = up.get("/runs/status?workflow_id=later");
        lacks()
    };
    let log = || fs::read_to_string(up.state_dir().join("logs/worker.log")).unwrap();
    assert!(wait_for(Duration::from_mins(1), asked), "{}: {}", up.worker_state(), log());
    let doctor = up.run(&["doctor"]);
    assert!(!doctor.status.success() && both(&doctor).contains("takes no work"), "{}", both(&doctor));
    let described = both(&up.temporal(&["workflow", "describe", "-w", "later", "-o", "json"]));
    assert!(described.contains("WORKFLOW_EXECUTION_STATUS_RUNNING"), "{described}");

    write_keys(&keys, &["k2", "k1"]);
    assert!(wait_for(Duration::from_secs(20), || up.worker_state()["lacking"].is_null()), "{}", up.worker_state());
    let approved = || up.run(&["approve", "later", "--reason", "the key is back"]).status.success();
    assert!(wait_for(Duration::from_mins(1), approved), "{}", both(&up.run(&["approve", "later", "--reason", "x"])));
    let done = up.decoded(&["workflow", "result", "-w", "later"]);
    assert!(done.contains("COMPLETED") && done.contains("the key is back"), "{done}");

    // `up` still uses the keys that it was started with.
    let (dir, ports) = up.into_parts();
    let up = Up::start_in(dir, ports, &[]);
    up.keys_are("k2:");
    assert!(up.get("/runs/status?workflow_id=later").1.contains(r#""stage":"done""#));
}
