//! End to end, as people use it: `up`, the Temporal CLI, the API, the command line; real servers, real signals.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    net::TcpListener,
    time::{Duration, Instant},
};

use serde_json::json;

use common::{BINARY, Up, both, free_ports, processes_with, signal, up_command, wait_for};

const THREAT: &str = "I will come to your house and kill you.";

#[test]
fn up_serves_a_model_ends_without_an_orphan_and_goes_on_with_the_same_state() {
    let up = Up::start();
    let dir = up.dir.path().display().to_string();
    let (status, verdict) = up.post_json("/predict", &json!({ "text": THREAT }));
    assert_eq!((status, verdict["label"].as_str()), (200, Some("threat")), "{verdict}");
    assert_eq!(verdict["generation"], 1);
    for (path, words) in [
        ("/", "threatwatch"),
        ("/app.js", "import"),
        ("/verdict.js", "predict"),
        ("/docs", "SwaggerUIBundle"),
        ("/metrics", "threatwatch_model_generation 1"),
    ] {
        let (status, text) = up.get(path);
        assert!(status == 200 && text.contains(words), "{path}: {status}");
    }
    let told = up.output();
    for wait in [
        "Temporal       answers on",
        "object store   takes writes",
        "worker         has found",
        "API            serves",
    ] {
        assert!(told.contains(wait), "{wait}: {told}");
    }
    // What people copy from its last words works.
    let (_, to_try) = told.split_once("Three things to try:").unwrap();
    let mut lines = to_try.lines().filter_map(|line| line.strip_prefix("     "));
    assert!(lines.clone().any(|line| line.contains("workflow start --type TrainWorkflow")), "{to_try}");
    let list = lines.find(|line| line.ends_with("models list")).unwrap();
    let listed = std::process::Command::new("sh").args(["-c", list]).output().unwrap();
    assert!(listed.status.success() && both(&listed).contains("stacked"), "{list}: {}", both(&listed));
    let doctor = up.run(&["doctor"]);
    assert!(doctor.status.success(), "{}", both(&doctor));
    let env = up.state_dir().join("env");
    let before = fs::read_to_string(&env).unwrap();
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600);
    }

    let started = Instant::now();
    let (dir_handle, ports) = up.into_parts();
    assert!(started.elapsed() < Duration::from_secs(10), "stopping took {:?}", started.elapsed());
    assert_eq!(processes_with(&dir), [], "an orphan is left");

    let mut up = Up::start_in(dir_handle, ports, &[]);
    let again = up.get_json("/models");
    assert_eq!(again["production"]["version"], verdict["model_version"], "the same model is in production");
    assert_eq!(again["models"].as_array().unwrap().len(), 2, "no second first model was trained");
    assert_eq!(fs::read_to_string(&env).unwrap(), before, "the same credentials");
    assert!(up.temporal(&["workflow", "describe", "--workflow-id", "train-first-model"]).status.success());

    // Even an `up` that is killed leaves no process behind.
    let (code, _) = up.stop("-KILL");
    assert_eq!(code, None);
    assert!(
        wait_for(Duration::from_secs(10), || processes_with(&dir).is_empty()),
        "orphans: {:?}",
        processes_with(&dir)
    );
}

#[test]
fn training_starts_in_every_way_that_the_temporal_cli_offers() {
    let up = Up::start();
    let asked = r#"{"trainers":["multinomial_nb"],"auto_promote":"if_gate_passes"}"#;
    for (id, inputs) in [("no-input", &[][..]), ("null", &["null"]), ("empty", &["{}"]), ("asked", &[asked])] {
        let result = up.train_by_cli(id, inputs);
        assert!(result.contains("COMPLETED"), "{id}: {result}");
        let status = both(&up.temporal(&["workflow", "query", "--type", "status", "--workflow-id", id]));
        assert!(status.contains(r#""stage":"done""#), "{id}: {status}");
    }
    assert_eq!(up.get_json("/models/production")["generation"], 2, "only the last asked for promotion");

    for (id, inputs, named) in [
        ("unknown-field", &[r#"{"trainerz":["multinomial_nb"]}"#][..], "trainerz"),
        ("wrong-type", &[r#"{"trainers":"multinomial_nb"}"#], "`trainers`"),
        ("wrong-seed", &[r#"{"seed":"x"}"#], "`seed`"),
        ("unknown-trainer", &[r#"{"trainers":["forest"]}"#], "no trainer is named `forest`"),
        ("unknown-dataset", &[&format!(r#"{{"dataset":"{}"}}"#, "ab".repeat(32))], "no dataset"),
        ("two-inputs", &["{}", "{}"], "2 inputs"),
    ] {
        let started = Instant::now();
        let result = up.train_by_cli(id, inputs);
        assert!(result.contains("FAILED") && result.contains(named), "{id}: {result}");
        assert!(started.elapsed() < Duration::from_secs(10), "{id} took {:?}", started.elapsed());
        let status = up.temporal(&["workflow", "query", "--type", "status", "--workflow-id", id]);
        assert!(status.status.success(), "{id}: {}", both(&status));
    }
    up.record_history("no-input", "train");
    up.record_history("asked", "train-promoted");
    up.record_history("wrong-type", "train-invalid-input");
    up.record_history("unknown-dataset", "train-failed");
    let listed = up.temporal(&["workflow", "list", "--query", "GateResult='passed' AND Trainer='multinomial_nb'"]);
    assert!(both(&listed).contains("asked"), "{}", both(&listed));
}

#[test]
fn promotion_and_rollback_are_live_at_once_and_wrong_requests_change_nothing() {
    let up = Up::start();
    up.succeed(&["train", "--wait", "--sklearn"]);
    let models = up.get_json("/models");
    let weaker = models["models"].as_array().unwrap().iter().find(|m| m["preset"] == "sklearn").unwrap();
    let first = models["production"]["version"].as_str().unwrap().to_owned();
    let first = first.as_str();
    // scikit-learn's defaults are worse: the gate says so, and nothing changes.
    let (status, problem) = up.post_json("/promote", &json!({ "version": weaker["version"], "reason": "try" }));
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("pr_auc_not_worse"), "{problem}");
    assert_eq!(up.get_json("/models/production")["generation"], 1);

    up.succeed(&["train", "--wait"]);
    let models = up.get_json("/models");
    let of_trainer = |trainer: &serde_json::Value| {
        let models = models["models"].as_array().unwrap();
        models.iter().find(|m| m["trainer"] == *trainer && m["preset"] == "default").unwrap()["version"].clone()
    };
    let live = models["models"].as_array().unwrap().iter().find(|m| m["in_production"] == true).unwrap();
    let newest = of_trainer(&live["trainer"]).as_str().unwrap().to_owned();
    assert_ne!(newest, first);
    for (body, status) in [
        (json!({ "version": "20200101T000000Z-00000000" }), 404),
        (json!({ "version": "../../etc/passwd" }), 422),
        (json!({ "version": newest, "expected_generation": 7 }), 409),
        (json!({ "version": newest, "colour": "blue" }), 400),
        (json!({}), 400),
    ] {
        let (answered, problem) = up.post_json("/promote", &body);
        assert_eq!(answered, status, "{body}: {problem}");
    }
    let (status, dry) = up.post_json("/promote", &json!({ "version": newest, "dry_run": true }));
    assert_eq!((status, dry["outcome"].as_str()), (200, Some("dry_run")), "{dry}");
    assert_eq!(up.get_json("/models/production")["generation"], 1, "a dry run writes nothing");

    let (status, done) = up.post_json("/promote", &json!({ "version": newest, "reason": "newer", "actor": "me" }));
    assert_eq!(
        (status, done["outcome"].as_str(), done["live"].as_bool()),
        (200, Some("promoted"), Some(true)),
        "{done}"
    );
    let (_, verdict) = up.post_json("/predict", &json!({ "text": THREAT }));
    assert_eq!((verdict["model_version"].as_str(), verdict["generation"].as_u64()), (Some(&*newest), Some(2)));
    up.record_history("promote-production", "promote");
    let (_, again) = up.post_json("/promote", &json!({ "version": newest }));
    assert_eq!(again["outcome"], "already_live", "{again}");

    let (status, back) = up.post_json("/rollback", &json!({ "reason": "false alarms" }));
    assert_eq!((status, back["version"].as_str()), (200, Some(first)), "{back}");
    up.record_history("promote-production", "rollback");
    let (_, verdict) = up.post_json("/predict", &json!({ "text": THREAT }));
    assert_eq!((verdict["model_version"].as_str(), verdict["generation"].as_u64()), (Some(first), Some(3)));
    let history = up.succeed(&["models", "history"]);
    assert_eq!(history.lines().count(), 3, "{history}");

    // The command line promotes. The API serves the version within two seconds, without a message.
    up.succeed(&["promote", &newest]);
    let live = || up.get_json("/health/ready")["generation"] == 4;
    assert!(wait_for(Duration::from_secs(2), live), "not live within two seconds");
}

/// The sample several times, each time with other commenters.
fn copies_of_the_sample(copies: u32) -> String {
    let rows = model::corpus::sample().rows;
    let mut lines = String::new();
    for copy in 0..copies {
        for row in &rows {
            let (text, commenter) = (format!("{} {copy}", row.text), format!("{} {copy}", row.commenter));
            lines += &json!({ "text": text, "label": row.label, "commenter": commenter }).to_string();
            lines.push('\n');
        }
    }
    lines
}

#[test]
fn runs_survive_a_killed_worker_and_a_killed_object_store() {
    // Large enough that a run takes seconds.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large.jsonl");
    fs::write(&file, copies_of_the_sample(20)).unwrap();
    let of_up = tempfile::tempdir().unwrap();
    let program = of_up.path().join("threatwatch");
    fs::copy(BINARY, &program).unwrap();
    let up = Up::start_in(of_up, free_ports(), &[]);
    // As a build does, which takes the old file's name away.
    fs::remove_file(&program).unwrap();
    fs::copy(BINARY, &program).unwrap();
    up.succeed(&["dataset", "import", file.to_str().unwrap()]);
    for (round, (id, part)) in
        [("worker-killed", "threatwatch worker"), ("store-killed", "weed mini")].into_iter().enumerate()
    {
        up.start_training(id, &[]);
        let is_under_way = || {
            let described = both(&up.temporal(&["workflow", "show", "--workflow-id", id]));
            described.contains("ActivityTaskScheduled")
        };
        assert!(wait_for(Duration::from_secs(20), is_under_way));
        if part.starts_with("weed") && up.pids(part).is_empty() {
            // MinIO is on PATH here.
            up.kill_9("minio server");
        } else {
            up.kill_9(part);
        }
        // Verdicts go on meanwhile.
        assert_eq!(up.post("/predict", &json!({ "text": THREAT })).0, 200);
        let described = both(&up.temporal(&["workflow", "describe", "--workflow-id", id]));
        assert!(!described.contains("COMPLETED"), "{id}: it had ended before the kill\n{described}");
        let result = up.result(id);
        assert!(result.contains("COMPLETED"), "{id}: {result}\n{}", up.output());
        assert!(up.output().matches("is running again").count() > round, "{}", up.output());
    }
    up.record_history("worker-killed", "train-retried");
    let versions = up.get_json("/models")["models"].as_array().unwrap().len();
    assert_eq!(versions, 6, "two versions a run, one a trainer, however often its steps ran");
}

#[test]
fn setup_starts_the_first_training_of_a_trainer_once() {
    let up = Up::start();
    let setup = |trainer: &str| up.succeed(&["setup", "--then-train", trainer]);
    assert!(!setup("").contains("train-after-setup"));
    assert!(setup("linear_svc").contains("train-after-setup trains linear_svc"));
    assert!(up.result("train-after-setup").contains("COMPLETED"));
    let models = up.get_json("/models");
    let trained = models["models"].as_array().unwrap().iter().filter(|model| model["trainer"] == "linear_svc");
    assert_eq!(trained.count(), 1, "{models}");
    assert!(setup("linear_svc").contains("linear_svc has a version already"));
    let wrong = up.run(&["setup", "--then-train", "nobody"]);
    assert!(!wrong.status.success() && both(&wrong).contains("nobody"), "{}", both(&wrong));
}

#[test]
fn a_dataset_larger_than_memory_is_counted_in_shards_and_sampled() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large.jsonl");
    fs::write(&file, copies_of_the_sample(13)).unwrap();
    let up = Up::start();
    let imported = up.succeed(&["dataset", "import", file.to_str().unwrap()]);
    let result = up.train_by_cli("sharded", &[r#"{"sentences_in_memory":4000}"#]);
    assert!(result.contains("COMPLETED"), "{result}");
    let described = both(&up.temporal(&["workflow", "show", "--output", "json", "--workflow-id", "sharded"]));
    for activity in ["sample_shards", "gather_sample", "count_shards", "merge_counts"] {
        assert!(described.contains(activity), "{activity} is missing: {described}");
    }
    up.record_history("sharded", "train-sharded");
    let models = up.get_json("/models");
    let newest: Vec<_> =
        models["models"].as_array().unwrap().iter().filter(|m| m["workflow_id"] == "sharded").collect();
    assert_eq!(newest.len(), 2);
    for model in &newest {
        assert!(imported.contains(model["dataset"].as_str().unwrap()), "{imported}");
        let judged = model["cross_validation"]["sentence"]["n"].as_u64().unwrap();
        assert!((1500..6000).contains(&judged), "{judged} sentences were in memory");
        assert!(model["held_out"]["sentence"]["pr_auc"].as_f64().unwrap() > 0.5, "{model}");
        assert_ne!(model["sample"], model["dataset"]);
    }
    let version = newest[0]["version"].as_str().unwrap();
    assert!(up.succeed(&["models", "reproduce", version]).contains("to the byte"));
}

#[test]
fn two_ups_run_side_by_side_and_a_taken_port_or_directory_is_named() {
    let first = Up::start();
    let second = Up::start();
    assert_eq!(first.post("/predict", &json!({ "text": THREAT })).0, 200);
    assert_eq!(second.post("/predict", &json!({ "text": THREAT })).0, 200);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ports = free_ports();
    ports.s3 = taken.local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let refused = up_command(dir.path(), &ports).output().unwrap();
    let words = both(&refused);
    assert!(!refused.status.success() && words.contains(&format!("port {} is taken", ports.s3)), "{words}");
    assert!(words.contains("--s3-port"), "{words}");

    let same_directory = up_command(first.dir.path(), &free_ports()).output().unwrap();
    assert!(both(&same_directory).contains("another `threatwatch up` is running"), "{}", both(&same_directory));
}

#[test]
fn an_import_is_what_the_next_run_trains_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.jsonl");
    let mut lines = String::new();
    for row in model::corpus::sample().rows.iter().take(900) {
        lines += &json!({ "text": row.text, "label": row.label, "commenter": row.commenter }).to_string();
        lines.push('\n');
    }
    lines += "{\"text\": 7, \"label\": 0}\nnot json\n";
    fs::write(&file, lines).unwrap();

    let up = Up::start_in(tempfile::tempdir().unwrap(), free_ports(), &["--data", file.to_str().unwrap()]);
    assert!(up.output().contains("901 sentences") && up.output().contains("1 rows quarantined"), "{}", up.output());
    let dataset = up.get_json("/models")["models"][0]["dataset"].clone();
    let imported = up.succeed(&["dataset", "import", file.to_str().unwrap()]);
    assert!(imported.contains(dataset.as_str().unwrap()) && imported.contains("line 902"), "{imported}");
    let show = up.succeed(&["models", "show", up.get_json("/models")["models"][0]["version"].as_str().unwrap()]);
    assert!(show.contains(dataset.as_str().unwrap()), "{show}");

    let wrong = dir.path().join("wrong.txt");
    fs::write(&wrong, "this is\nno corpus\n").unwrap();
    let refused = up.run(&["dataset", "import", wrong.to_str().unwrap()]);
    assert!(!refused.status.success() && both(&refused).contains("line 1"), "{}", both(&refused));

    // A stopped worker is what `doctor` names.
    let worker = up.pids("threatwatch worker")[0];
    signal("-STOP", worker);
    let doctor = up.run(&["doctor"]);
    signal("-CONT", worker);
    assert!(!doctor.status.success() && both(&doctor).contains("WRONG worker"), "{}", both(&doctor));
}

#[test]
fn the_page_shows_the_models_in_a_real_browser() {
    let Some(browser) = common::browser() else { return };
    let up = Up::start();
    let dom = common::dump_dom(&browser, &format!("{}/", up.ports.api_url()));
    let version = up.get_json("/models")["production"]["version"].as_str().unwrap().to_owned();
    assert!(dom.matches(&version).count() >= 2, "the table and the pill name {version}: {dom}");
    assert!(dom.contains("in production") && dom.contains(&up.ports.temporal_ui_url()), "{dom}");
    assert!(dom.matches("first model").count() >= 2, "the line of production and the history give the reason: {dom}");
    assert!(dom.contains("95% interval") && dom.contains("Compare two versions"), "{dom}");
    let card = common::dump_dom(&browser, &format!("{}/#card={version}", up.ports.api_url()));
    assert!(card.contains(r#"<dialog id="card" class="wide" aria-labelledby="card-title" open"#), "{card}");
    for part in
        ["<h3>What it is not for</h3>", "<h4>Held-out commenters</h4>", "95% intervals", "<th scope=\"row\">ECE</th>"]
    {
        assert!(card.contains(part), "{part} is missing: {card}");
    }
    let swagger = common::dump_dom(&browser, &format!("{}/docs", up.ports.api_url()));
    assert!(swagger.contains("opblock") && swagger.contains("/predict"), "Swagger UI draws the operations");
    let workflows = format!("{}/namespaces/default/workflows/train-first-model", up.ports.temporal_ui_url());
    let temporal = common::dump_dom(&browser, &workflows);
    assert!(temporal.contains("TrainWorkflow"), "the Temporal Web UI shows the run");

    // From the first key on the page asks for one, and shows nothing before it has it.
    assert!(!dom.contains("<dialog id=\"key\" aria-labelledby=\"key-title\" open"), "no key is needed yet");
    up.succeed(&["keys", "new", "moderator", "--role", "predict"]);
    assert!(wait_for(Duration::from_secs(5), || up.get("/models").0 == 401));
    let locked = common::dump_dom(&browser, &format!("{}/", up.ports.api_url()));
    assert!(locked.contains("<dialog id=\"key\" aria-labelledby=\"key-title\" open"), "{locked}");
    assert!(locked.contains("Enter an API key") && !locked.contains(&version), "{locked}");
}

#[test]
fn no_comment_is_written_down_anywhere() {
    let up = Up::start();
    let canary = "xylophonequagmire";
    up.post("/predict", &json!({ "text": format!("{canary} I will kill you") }));
    up.post("/predict", &json!({ "text": { "nested": canary } }));
    up.post("/predict", &json!({ "words": canary }));
    let (_, echoed) = up.post("/predict", &json!({ "text": [canary] }));
    assert!(!echoed.contains(canary), "{echoed}");
    up.get(&format!("/predict?text={canary}"));
    assert!(!up.get("/metrics").1.contains(canary));
    for log in fs::read_dir(up.state_dir().join("logs")).unwrap() {
        let path = log.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains(canary), "{}", path.display());
    }
}
