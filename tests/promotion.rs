//! Promotion from the users' view: approval, force, replicas, rollback, the history, retention; on real servers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use common::{BINARY, Up, both, free_ports, signal, wait_for};

/// Another replica of the service beside that of `up`.
struct Replica {
    process: Child,
    url: String,
}

impl Replica {
    fn start(up: &Up) -> Self {
        let port = free_ports().api;
        let mut command = Command::new(BINARY);
        command.args(["serve", "--address", &format!("127.0.0.1:{port}"), "--state-dir"]).arg(up.state_dir());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let replica = Self { process, url: format!("http://127.0.0.1:{port}") };
        assert!(wait_for(Duration::from_secs(20), || replica.generation().is_some()), "the replica does not serve");
        replica
    }

    fn get(&self, path: &str) -> Option<String> {
        let url = format!("{}{path}", self.url);
        common::block_on(async { reqwest::get(url).await.ok()?.text().await.ok() })
    }

    fn generation(&self) -> Option<u64> {
        serde_json::from_str::<Value>(&self.get("/health/ready")?).ok()?["generation"].as_u64()
    }

    fn end(&mut self, name: &str) {
        signal(name, self.process.id());
        self.process.wait().unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// When a replica loaded what it serves, in seconds since 1970.
fn loaded(metrics: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with("threatwatch_model_loaded_timestamp_seconds")).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

fn newest_other_than(up: &Up, live: &str) -> String {
    let models = up.get_json("/models");
    let mut versions = models["models"].as_array().unwrap().iter().map(|model| model["version"].as_str().unwrap());
    versions.find(|version| *version != live).unwrap().to_owned()
}

#[test]
fn a_promotion_reaches_three_replicas_within_two_seconds_and_names_the_one_that_died() {
    let up = Up::start();
    let mut second = Replica::start(&up);
    let mut third = Replica::start(&up);
    let first = up.get_json("/models/production")["version"].as_str().unwrap().to_owned();
    let other = newest_other_than(&up, &first);
    for (path, body, generation) in [
        ("/promote", json!({ "version": other, "force": true, "reason": "the other trainer" }), 2_u64),
        ("/rollback", json!({ "reason": "back" }), 3),
    ] {
        let (status, done) = up.post_json(path, &body);
        assert_eq!((status, done["generation"].as_u64()), (200, Some(generation)), "{done}");
        assert_eq!(done["replicas"]["reported"].as_array().unwrap().len(), 3, "{done}");
        assert_eq!(done["replicas"]["missing"], json!([]), "{done}");
        let record = common::block_on(async {
            let registry = up.settings().registry().await.unwrap();
            registry.production().await.unwrap().unwrap().record
        });
        for metrics in [up.get("/metrics").1, second.get("/metrics").unwrap(), third.get("/metrics").unwrap()] {
            let took = loaded(&metrics) - record.at as f64 / 1000.0;
            assert!((0.0..=2.0).contains(&took), "{path}: {took} s");
        }
        assert_eq!([second.generation(), third.generation()], [Some(generation); 2]);
    }

    // Of two promotions at once, one wins. The answer to the other names the winner.
    let body = |actor: &str| json!({ "version": other, "force": true, "reason": "at once", "actor": actor, "expected_generation": 3 });
    let answers = std::thread::scope(|scope| {
        let both = ["Ann", "Bob"].map(|actor| (actor, scope.spawn(|| up.post_json("/promote", &body(actor)))));
        both.map(|(actor, answer)| (actor, answer.join().unwrap()))
    });
    let mut statuses = answers.each_ref().map(|(_, (status, _))| *status);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{answers:?}");
    let winner = answers.iter().find(|(_, (status, _))| *status == 200).unwrap().0;
    let (_, (_, problem)) = answers.iter().find(|(_, (status, _))| *status == 409).unwrap();
    assert!(problem["detail"].as_str().unwrap().contains(winner), "{winner} won: {problem}");
    assert_eq!(up.post("/rollback", &json!({})).0, 200);

    // One dies, one stops: who died is named once, who stopped is not waited for.
    second.end("-KILL");
    third.end("-TERM");
    let (_, done) = up.post_json("/promote", &json!({ "version": other, "force": true, "reason": "again" }));
    assert_eq!(done["replicas"]["reported"].as_array().unwrap().len(), 1, "{done}");
    assert_eq!(done["replicas"]["missing"].as_array().unwrap().len(), 1, "{done}");
    let started = Instant::now();
    up.succeed(&["models", "verify"]);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn the_actor_is_the_keys_name_and_every_deed_is_on_record() {
    let up = Up::start();
    let make = |name: &str, role: &str| up.succeed(&["keys", "new", name, "--role", role]).trim().to_owned();
    let live = up.get_json("/models/production")["version"].as_str().unwrap().to_owned();
    let other = newest_other_than(&up, &live);
    up.succeed(&["promote", &live]);
    let (operator, moderator) = (make("olga", "operate"), make("mona", "review"));
    let is_closed = || up.get("/models").0 == 401;
    assert!(wait_for(Duration::from_secs(5), is_closed), "from the first key on, every API asks for one");
    let asked = |key: &str, path: &str, body: &Value| {
        common::block_on(async {
            let request = reqwest::Client::builder().no_proxy().build().unwrap();
            let url = format!("{}{path}", up.ports.api_url());
            let request = if body.is_null() { request.get(url) } else { request.post(url).json(body) };
            let answer = request.header("x-api-key", key).send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        })
    };
    let mut body = json!({ "version": other, "force": true, "reason": "her own words", "actor": "mallory" });
    assert_eq!(asked(&moderator, "/promote", &body).0, 403);
    let (status, done) = asked(&operator, "/promote", &body);
    assert_eq!(status, 200, "{done}");
    let (_, history) = asked(&operator, "/models/history", &Value::Null);
    assert_eq!(history["promotions"][0]["actor"], "olga", "{history}");
    body["expected_generation"] = 7.into();
    assert_eq!(asked(&operator, "/promote", &body).0, 409);

    start_waiting(&up, "waits-for-mona", 600);
    let stage = || asked(&moderator, "/runs/status?workflow_id=waits-for-mona", &Value::Null).1["stage"].clone();
    assert!(wait_for(Duration::from_secs(30), || stage() == "approval"), "{}", stage());
    let say = json!({ "workflow_id": "waits-for-mona", "reason": "good enough", "actor": "mallory" });
    assert_eq!(asked(&operator, "/runs/approve", &say).0, 403, "who operates does not approve");
    let (status, said) = asked(&moderator, "/runs/approve", &say);
    assert_eq!((status, &said["outcome"]), (200, &json!("approved")), "{said}");
    let result = up.result("waits-for-mona");
    assert!(result.contains("mona") && !result.contains("mallory"), "{result}");

    // A caller that hangs up does not undo its request, and the end is on the audit trail.
    let body = json!({ "version": live, "force": true, "reason": "in a hurry" }).to_string();
    let mut hurried = std::net::TcpStream::connect(("127.0.0.1", up.ports.api)).unwrap();
    let head = format!(
        "POST /promote HTTP/1.1\r\nhost: localhost\r\nx-api-key: {operator}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    std::io::Write::write_all(&mut hurried, head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(hurried);
    let newest = || asked(&operator, "/audit?limit=1", &Value::Null).1["entries"][0].clone();
    let is_done = || newest()["reason"] == "in a hurry" && newest()["outcome"] == "done";
    assert!(wait_for(Duration::from_secs(20), is_done), "{}", newest());

    let audit = Command::new(BINARY)
        .args(["audit", "--json", "--state-dir"])
        .arg(up.state_dir())
        .env("THREATWATCH_API_KEY", &operator)
        .output()
        .unwrap();
    assert!(audit.status.success(), "{}", both(&audit));
    let audit: Value = serde_json::from_slice(&audit.stdout).unwrap();
    let entries = audit["entries"].as_array().unwrap();
    let of = |entry: &Value| ["actor", "action", "outcome"].map(|name| entry[name].as_str().unwrap_or("-").to_owned());
    let user = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let expected = [
        ["olga", "promote_by_force", "done"],
        ["mona", "approve", "done"],
        ["olga", "promote_by_force", "refused"],
        ["olga", "promote_by_force", "done"],
        [&user, "keys_new", "done"],
        [&user, "keys_new", "done"],
        [&user, "promote", "done"],
    ];
    assert_eq!(entries.iter().map(of).collect::<Vec<_>>(), expected, "{audit}");
    assert_eq!(entries[3]["reason"], "her own words");
    assert!(entries[3]["request_id"].is_string() && entries[3]["key"].is_string(), "{audit}");
    assert!(!audit.to_string().contains("mallory"));
    let without = up.run(&["audit"]);
    assert!(!without.status.success() && both(&without).contains("THREATWATCH_API_KEY"), "{}", both(&without));
}

#[test]
fn a_refused_version_goes_live_only_by_force_with_a_reason_and_the_history_tells() {
    let up = Up::start();
    up.succeed(&["train", "--wait", "--sklearn"]);
    let models = up.get_json("/models");
    let weaker = models["models"].as_array().unwrap().iter().find(|m| m["preset"] == "sklearn").unwrap().clone();
    let (weaker, live) = (weaker["version"].as_str().unwrap(), models["production"]["version"].as_str().unwrap());

    let (status, problem) = up.post_json("/promote", &json!({ "version": weaker }));
    assert_eq!((status, problem["type"].as_str()), (422, Some("/problems/gate-failed")), "{problem}");
    up.record_history("promote-production", "promote-refused");
    let (status, dry) = up.post_json("/promote", &json!({ "version": weaker, "dry_run": true }));
    assert_eq!((status, dry["outcome"].as_str(), dry["gate"]["passed"].as_bool()), (200, Some("dry_run"), Some(false)));
    let checks = dry["gate"]["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 9, "{dry}");
    assert!(checks.iter().all(|c| c["meaning"].as_str().unwrap().len() > 20), "{dry}");
    assert!(checks.iter().any(|c| c["check"] == "calibration" && c["at_most"].is_number()), "{dry}");
    let flips = &dry["gate"]["flips"];
    assert!(flips["missed"].as_u64().unwrap() > 0, "{flips}");
    assert_eq!(flips["missed"].as_u64().unwrap().min(50), flips["missed_rows"].as_array().unwrap().len() as u64);
    let refused = up.run(&["promote", weaker, "--dry-run"]);
    assert!(!refused.status.success() && both(&refused).contains("threats newly missed: rows"), "{}", both(&refused));

    let (status, problem) = up.post_json("/promote", &json!({ "version": weaker, "force": true }));
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("`reason`"), "{problem}");
    let forced = json!({ "version": weaker, "force": true, "reason": "to compare", "actor": "me" });
    assert_eq!(up.post_json("/promote", &forced).0, 200);
    let history = up.get_json("/models/history");
    assert_eq!(
        (history["promotions"][0]["forced"].as_bool(), history["promotions"][1]["forced"].as_bool()),
        (Some(true), Some(false))
    );
    let listed = up.temporal(&["workflow", "list", "--query", "GateResult='forced'"]);
    assert!(both(&listed).contains("promote-production"), "{}", both(&listed));

    // What was live when, and how the two differ.
    let first = history["promotions"][1]["at"].as_str().unwrap();
    assert_eq!(up.get_json("/models/production")["version"], weaker);
    let at = |time: &str| up.get(&format!("/models/production?at={time}"));
    assert!(at(first).1.contains(live), "at the very time that the history shows");
    assert_eq!(at("2001-01-01T00:00:00Z").0, 404);
    assert_eq!(at("yesterday").0, 422);
    let compared = up.get_json(&format!("/models/compare?a={live}&b={weaker}"));
    let facts: Vec<&str> =
        compared["differences"].as_array().unwrap().iter().map(|d| d["fact"].as_str().unwrap()).collect();
    assert!(facts.contains(&"preset") && !facts.contains(&"dataset"), "{facts:?}");
    let pr_auc = compared["figures"].as_array().unwrap().iter().find(|f| f["figure"] == "pr_auc").unwrap();
    assert!(pr_auc["difference"].as_f64().unwrap() < -0.1 && pr_auc["intervals_overlap"].is_boolean(), "{pr_auc}");
    let compared = up.succeed(&["models", "compare", live, weaker]);
    assert!(compared.contains("preset") && compared.contains('['), "{compared}");
    for row in ["cross-validation, sentences: PR-AUC", "held out, comments: ECE"] {
        assert!(compared.contains(row), "{compared}");
    }

    // Upkeep: the same bytes again, nothing to delete yet, everything there.
    let again = up.succeed(&["models", "reproduce", live]);
    assert!(again.contains("reproduced to the byte"), "{again}");
    let would = up.succeed(&["models", "prune", "--dry-run", "--keep", "1"]);
    assert!(would.contains("would be deleted: 0 versions"), "{would}");
    let verified = up.succeed(&["models", "verify"]);
    assert!(verified.contains("2 generations, 3 versions"), "{verified}");
    up.record_history("promote-production", "promote-forced");
    up.record_history(&format!("reproduce-{live}"), "reproduce");
    up.record_history("retention", "retention");
}

/// Starts a run that waits for approval, and waits until it does.
fn waiting_run(up: &Up, id: &str, seconds: u32) {
    start_waiting(up, id, seconds);
    let stage = || up.get_json(&format!("/runs/status?workflow_id={id}"))["stage"].as_str().map(str::to_owned);
    assert!(wait_for(Duration::from_secs(30), || stage().as_deref() == Some("approval")), "{:?}", stage());
}

/// Starts a run that is going to wait for approval.
fn start_waiting(up: &Up, id: &str, seconds: u32) {
    let input =
        json!({ "trainers": ["multinomial_nb"], "auto_promote": "after_approval", "approval_seconds": seconds });
    up.start_training(id, &[&input.to_string()]);
}

#[test]
fn a_run_waits_durably_for_approval_and_takes_it_once() {
    let up = Up::start();
    waiting_run(&up, "approved", 600);
    let say = |id: &str, reason: &str| json!({ "workflow_id": id, "actor": "the moderator", "reason": reason });
    for (path, body, expected, named) in [
        ("/runs/approve", say("approved", ""), 422, "`reason`"),
        ("/runs/approve", json!({ "workflow_id": "approved", "reason": "good" }), 400, "`actor`"),
        ("/runs/approve", say("nobody", "good"), 404, "no such workflow"),
        ("/runs/approve", say("", "good"), 404, "no such workflow"),
        ("/runs/reject", say("train-first-model", "bad"), 404, "it has ended"),
    ] {
        let (status, problem) = up.post_json(path, &body);
        assert_eq!(status, expected, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(named), "{problem}");
    }
    assert_eq!(up.get_json("/models/production")["generation"], 1, "nobody approved yet");

    // The worker dies, then the server. The run still waits.
    up.kill_9("threatwatch worker");
    up.kill_9("temporal server");
    let answers = || up.get("/runs/status?workflow_id=approved").1.contains(r#""stage":"approval""#);
    assert!(wait_for(Duration::from_mins(1), answers), "{}", up.output());
    let said = up.succeed(&["approve", "approved", "--reason", "looks right"]);
    assert!(said.contains("approved is approved"), "{said}");
    let (status, problem) = up.post_json("/runs/reject", &say("approved", "too late"));
    assert!(status == 409 || status == 404, "{problem}");
    let done = up.result("approved");
    assert!(done.contains("COMPLETED") && done.contains("looks right"), "{done}");
    let production = up.get_json("/models/production");
    assert_eq!((production["generation"].as_u64(), production["reason"].as_str()), (Some(2), Some("looks right")));
    up.record_history("approved", "train-approved");

    waiting_run(&up, "rejected", 600);
    let (status, said) = up.post_json("/runs/reject", &say("rejected", "too many false alarms"));
    assert_eq!((status, said["outcome"].as_str()), (200, Some("rejected")), "{said}");
    assert!(up.result("rejected").contains("too many false alarms"));
    waiting_run(&up, "expired", 3);
    assert!(up.result("expired").contains("nobody answered within 3 s"));
    assert_eq!(up.get_json("/models/production")["generation"], 2);
    up.record_history("rejected", "train-rejected");
    up.record_history("expired", "train-expired");
}

#[test]
fn training_is_scheduled_paused_and_seen_in_temporal() {
    let up = Up::start();
    assert!(up.succeed(&["schedule", "show"]).contains("nightly-training   not scheduled"));
    let half = up.run(&["schedule", "create", "--retention-cron", "every night"]);
    assert!(!half.status.success() && both(&half).contains("nightly-retention"), "{}", both(&half));
    let wrong = up.run(&["schedule", "create", "--cron", "every night"]);
    assert!(!wrong.status.success() && both(&wrong).contains("nightly-training"), "{}", both(&wrong));
    let created = up.succeed(&["schedule", "create", "--promote", "after-approval"]);
    assert!(created.contains("nightly-training   active, next 2") && created.contains("T03:00:00Z"), "{created}");
    assert!(created.contains("nightly-retention  active") && created.contains("T04:30:00Z"), "{created}");
    let again = up.run(&["schedule", "create"]);
    assert!(!again.status.success() && both(&again).contains("already"), "{}", both(&again));
    let described = both(&up.temporal(&["schedule", "describe", "--schedule-id", "nightly-training"]));
    assert!(described.contains("TrainWorkflow") && described.contains("Skip"), "{described}");

    assert!(up.succeed(&["schedule", "pause", "--reason", "holidays"]).contains("nightly-training   paused"));
    assert!(both(&up.temporal(&["schedule", "describe", "--schedule-id", "nightly-training"])).contains("holidays"));
    assert!(up.succeed(&["schedule", "resume"]).contains("nightly-training   active"));
    up.succeed(&["schedule", "trigger"]);
    let runs = || both(&up.temporal(&["workflow", "list", "--query", "WorkflowType='TrainWorkflow'"]));
    assert!(wait_for(Duration::from_secs(20), || runs().contains("train-nightly-")), "{}", runs());
    assert!(up.succeed(&["schedule", "delete"]).contains("nightly-training   not scheduled"));
}

/// Kills; `THREATWATCH_KILLS=40` for the whole measure.
#[test]
fn a_worker_killed_between_any_two_steps_makes_one_version_and_one_generation() {
    const STEPS: u64 = 7;
    let kills: u64 = std::env::var("THREATWATCH_KILLS").map_or(3, |kills| kills.parse().unwrap());
    let up = Up::start();
    let versions_before = up.get_json("/models")["models"].as_array().unwrap().len() as u64;
    for kill in 0..kills {
        let id = format!("killed-{kill}");
        let input = json!({ "trainers": ["multinomial_nb"], "auto_promote": "if_gate_passes" });
        up.start_training(&id, &[&input.to_string()]);
        // Before the first step, after the third, after the sixth, after the second, ...
        let done = || up.get_json(&format!("/runs/status?workflow_id={id}"))["done"].as_u64();
        let reached = wait_for(Duration::from_secs(30), || done() >= Some(3 * kill % STEPS));
        assert!(reached, "{id}: {:?} steps", done());
        up.kill_9("threatwatch worker");
        let done = up.result(&id);
        assert!(done.contains("COMPLETED"), "{id}: {done}\n{}", up.output());
        let models = up.get_json("/models");
        let of_run = models["models"].as_array().unwrap().iter().filter(|m| m["workflow_id"] == *id).count();
        assert_eq!(of_run, 1, "{id}");
        assert_eq!(models["production"]["generation"].as_u64(), Some(2 + kill), "{id}");
        // `up` starts the worker again before the next is killed.
        assert!(wait_for(Duration::from_secs(20), || !up.pids("threatwatch worker").is_empty()));
    }
    let verified = up.succeed(&["models", "verify"]);
    let expected = format!("{} generations, {} versions checked", 1 + kills, versions_before + kills);
    assert!(verified.contains(&expected), "{verified}");
}
