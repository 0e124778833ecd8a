//! A program that embeds threatwatch (`examples/custom_worker`), next to a stack without its extensions.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use common::{BINARY, Up, both, free_ports, signal, wait_for};

/// Builds the example, unless it is built, and says where it is.
fn custom_worker() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // Variables that cargo sets for a test would make it rebuild dependencies that read them.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG") || name.starts_with("CARGO_MAN"))
    {
        cargo.env_remove(name);
    }
    let cargo = cargo
        .args(["build", "--workspace", "--example", "custom_worker", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", both(&cargo));
    Path::new(BINARY).parent().unwrap().join("examples/custom_worker")
}

/// A process of the example, ended when dropped.
struct Forum(Child);

impl Forum {
    /// Starts it and waits until its output has `ready`.
    fn start(up: &Up, name: &str, ready: &str, arguments: &[&str]) -> Self {
        let log = up.dir.path().join(name);
        let output = fs::File::create(&log).unwrap();
        let mut command = Command::new(custom_worker());
        command.args(arguments).env("THREATWATCH_STATE_DIR", up.state_dir()).env("FORUM_INBOX", inbox(up));
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let mut forum = Self(command.spawn().unwrap());
        let said = || fs::read_to_string(&log).unwrap();
        let is_ready = wait_for(Duration::from_secs(30), || {
            assert!(forum.0.try_wait().unwrap().is_none(), "{name} ended: {}", said());
            said().contains(ready)
        });
        assert!(is_ready, "{name}: {}", said());
        forum
    }
}

impl Drop for Forum {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            signal("-TERM", self.0.id());
        }
        self.0.wait().unwrap();
    }
}

fn inbox(up: &Up) -> PathBuf {
    up.dir.path().join("inbox")
}

/// The sample as an export of a forum whose members shout.
fn write_export(up: &Up) {
    let line = |(at, row): (usize, model::Row)| {
        let text = if at % 3 == 0 { row.text.to_uppercase() } else { row.text };
        format!("{}\n", json!({ "commenter": row.commenter, "comment": row.comment, "text": text, "label": row.label }))
    };
    let lines: String = model::corpus::sample().rows.into_iter().enumerate().map(line).collect();
    fs::write(inbox(up).join("2026-11-20.jsonl"), lines).unwrap();
}

/// Runs a workflow on the forum's queue by the Temporal CLI. Returns its result as JSON.
fn run(up: &Up, kind: &str, id: &str, input: &Value) -> Value {
    run_on(up, "forum", kind, id, input)
}

fn run_on(up: &Up, queue: &str, kind: &str, id: &str, input: &Value) -> Value {
    let arguments = ["workflow", "start", "--type", kind, "--task-queue", queue, "--workflow-id", id];
    let input = input.to_string();
    let started = up.temporal(&[&arguments[..], &["--input", &input]].concat());
    assert!(started.status.success(), "{}", both(&started));
    let result = up.temporal(&["workflow", "result", "--workflow-id", id, "--output", "json"]);
    serde_json::from_slice(&result.stdout).unwrap_or_else(|_| panic!("{id}: {}", both(&result)))
}

/// What a check of the gate found.
fn finding<'a>(gate: &'a Value, check: &str) -> &'a Value {
    let found = gate["checks"].as_array().unwrap().iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("{check} is not in {gate}"))
}

#[test]
fn somebody_elses_worker_hosts_our_workflows_with_plug_ins_of_its_own() {
    let up = Up::start();
    fs::create_dir(inbox(&up)).unwrap();
    let _worker = Forum::start(&up, "forum.out", "the forum's worker is up", &[]);

    // Their own workflow and activity, on their own queue.
    assert_eq!(run(&up, "ForumWorkflow", "nightly", &Value::Null)["result"], "nothing to learn");
    let empty = run(&up, "TrainWorkflow", "empty", &json!({ "source": "forum_inbox" }));
    assert!(empty.to_string().contains("`forum_inbox` has no dataset"), "{empty}");
    let nowhere = run(&up, "TrainWorkflow", "nowhere", &json!({ "source": "nowhere" }));
    assert!(nowhere.to_string().contains("it has forum_inbox, import, sample"), "{nowhere}");
    write_export(&up);

    // Our workflow with their source, trainer, feature and check.
    let input = json!({ "trainers": ["forum_odds"], "source": "forum_inbox" });
    let trained = run(&up, "TrainWorkflow", "theirs", &input);
    let report = &trained["result"];
    assert_eq!(report["trainer"], "forum_odds", "{trained}");
    assert_eq!(finding(&report["gate"], "fits_telephones")["passed"], true, "{report}");
    let version = report["version"].as_str().unwrap();
    let history = both(&up.temporal(&["workflow", "show", "--workflow-id", "theirs", "--output", "json"]));
    assert!(history.contains("ingest"), "{history}");

    // It refuses when it should: our trainer knows more than telephones load.
    let large = run(&up, "TrainWorkflow", "large", &json!({ "trainers": ["stacked"], "source": "forum_inbox" }));
    let found = finding(&large["result"]["gate"], "fits_telephones");
    assert_eq!((&found["passed"], &large["result"]["gate"]["passed"]), (&json!(false), &json!(false)), "{large}");
    assert!(found["value"].as_f64().unwrap() > found["at_most"].as_f64().unwrap(), "{found}");

    // Everybody sees it: the registry needs no extension.
    let listed = up.succeed(&["models", "list"]);
    assert!(listed.contains(version) && listed.contains("forum_odds"), "{listed}");
    let manifest: Value = serde_json::from_str(&up.succeed(&["models", "show", version])).unwrap();
    assert_eq!((&manifest["trainer"], &manifest["workflow_id"]), (&json!("forum_odds"), &json!("theirs")));
    let features = common::block_on(async {
        // This very test does not know the feature either.
        let registry = up.settings().registry().await.unwrap();
        registry.load(&version.parse().unwrap()).await.unwrap_err().to_string()
    });
    assert!(features.contains("`shouted_words`") && features.contains("registers the missing extractor"), "{features}");

    // Who does not know it says so and changes nothing.
    let (status, problem) = up.post_json("/train", &input);
    let detail = problem["detail"].as_str().unwrap();
    assert!(status == 422 && detail.contains("no trainer is named `forum_odds`"), "{status}: {problem}");
    let refused = run_on(&up, "threatwatch", "TrainWorkflow", "unknown-trainer", &input);
    assert!(refused.to_string().contains("no trainer is named `forum_odds`"), "{refused}");
    let promotion = json!({ "version": version, "force": true, "reason": "it fits" });
    let (status, problem) = up.post_json("/promote", &promotion);
    assert!(status == 422 && problem["detail"].as_str().unwrap().contains("`shouted_words`"), "{status}: {problem}");

    // The worker that knows the plug-in promotes the version. It serves where the plug-in is known. Elsewhere the model
    // before serves.
    let port = free_ports().api;
    let address = format!("127.0.0.1:{port}");
    let _api = Forum::start(&up, "forum-api.out", "listening", &["serve", "--address", &address]);
    let promoted = run(&up, "PromoteWorkflow", "promote-production", &promotion);
    assert_eq!(promoted["result"]["generation"], 2, "{promoted}");
    let record = common::block_on(async {
        let registry = up.settings().registry().await.unwrap();
        registry.production().await.unwrap().unwrap().record
    });
    let checks = record.gate.unwrap().checks;
    assert!(checks.iter().any(|finding| finding.check == "fits_telephones" && finding.passed), "{checks:?}");
    let theirs = |path: &str, body: Value| {
        common::block_on(async {
            let request = reqwest::Client::new();
            let url = format!("http://{address}{path}");
            let request = if body.is_null() { request.get(url) } else { request.post(url).json(&body) };
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        })
    };
    let is_live = || theirs("/health/ready", Value::Null).1["generation"] == 2;
    assert!(wait_for(Duration::from_secs(10), is_live), "{}", theirs("/health/ready", Value::Null).1);
    let text = json!({ "text": "I will KILL you", "explain": true });
    let (status, verdict) = theirs("/predict", text.clone());
    assert_eq!((status, &verdict["trainer"]), (200, &json!("forum_odds")), "{verdict}");
    let is_told = || up.get("/health/ready").1.contains("`shouted_words`");
    assert!(wait_for(Duration::from_secs(10), is_told), "{}", up.get("/health/ready").1);
    let (status, verdict) = up.post_json("/predict", &text);
    assert!(status == 200 && verdict["generation"] == 1, "{status}: {verdict}");
    let (status, started) = theirs("/train", json!({ "trainers": ["forum_odds"] }));
    assert_eq!(status, 202, "the API with the extension lets the trainer's name through: {started}");
    let nightly = run(&up, "ForumWorkflow", "nightly", &Value::Null);
    let learned = common::block_on(async {
        let manifests = up.settings().registry().await.unwrap().manifests().await.unwrap();
        manifests.into_iter().find(|manifest| manifest.workflow_id == "nightly-train").unwrap()
    });
    assert_eq!(learned.trainer, "forum_odds");
    assert!(nightly["result"].as_str().unwrap().starts_with(&format!("{} ", learned.version)), "{nightly}");
    let verified = Command::new(custom_worker()).args(["models", "verify", "--state-dir"]).arg(up.state_dir()).output();
    let verified = verified.unwrap();
    assert!(verified.status.success(), "{}", both(&verified));
}

#[test]
fn an_extension_of_a_name_that_is_taken_is_refused() {
    struct Ours;

    impl model::gate::Check for Ours {
        fn name(&self) -> &'static str {
            "scoring_speed"
        }

        fn judge(&self, _: &model::gate::Evidence<'_>) -> model::gate::Answer {
            unreachable!("it is never asked")
        }
    }

    let refused = activities::Extensions::new().check(&Ours).register().unwrap_err().to_string();
    assert!(refused.contains("the gate check `scoring_speed` cannot be added"), "{refused}");
}
