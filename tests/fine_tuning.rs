//! An encoder from base weights into production, on real servers, with a small encoder of random weights.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use encoder::BaseFiles;
use registry::ModelManifest;
use serde_json::json;

use common::{Up, both, free_ports, wait_for};

/// Writes a small encoder of random weights, and the sample corpus again and again under other commenters' names.
fn write_base_and_corpus(dir: &Path, times: usize) {
    let base = BaseFiles::random(2, 32, 11);
    for (name, bytes) in
        [("config.json", &base.config), ("tokenizer.json", &base.tokenizer), ("model.safetensors", &base.weights)]
    {
        fs::create_dir_all(dir.join("base")).unwrap();
        fs::write(dir.join("base").join(name), bytes).unwrap();
    }
    let rows = model::corpus::sample().rows;
    let line = |turn: usize, row: &model::Row| {
        let line = json!({
            "commenter": format!("{}-{turn}", row.commenter),
            "comment": format!("{}-{turn}", row.comment),
            "text": row.text,
            "label": row.label,
        });
        format!("{line}\n")
    };
    let lines: String = (0..times).flat_map(|turn| rows.iter().map(move |row| line(turn, row))).collect();
    fs::write(dir.join("corpus.jsonl"), lines).unwrap();
}

/// `up` whose worker fine-tunes the small encoder and keeps what it learned every second.
fn start(times: usize) -> Up {
    let dir = tempfile::tempdir().unwrap();
    write_base_and_corpus(dir.path(), times);
    let base = dir.path().join("base").display().to_string();
    let corpus = dir.path().join("corpus.jsonl").display().to_string();
    let environment = [("THREATWATCH_ENCODER_BASE", base.as_str()), ("THREATWATCH_CHECKPOINT_SECONDS", "1")];
    Up::start_with(dir, free_ports(), &["--data", &corpus], &environment)
}

const INPUT: &str = r#"{"trainers":["stacked_encoder"]}"#;

/// The manifest of what a run made.
fn made_by(up: &Up, id: &str) -> ModelManifest {
    let said = up.result(id);
    let manifests = common::block_on(async { up.settings().registry().await.unwrap().manifests().await.unwrap() });
    manifests.into_iter().find(|manifest| manifest.workflow_id == id).unwrap_or_else(|| panic!("{said}"))
}

fn checkpoints(up: &Up) -> usize {
    common::block_on(async {
        let store = up.settings().store().unwrap();
        registry::Store::list(&store, registry::Key::CHECKPOINTS).await.unwrap().len()
    })
}

/// Whether a worker has threads that fine-tune.
fn is_learning(up: &Up) -> bool {
    let threads = |pid: u32| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    up.pids(" worker ").into_iter().flat_map(threads).any(|thread| name(thread).starts_with("fine-tuning"))
}

#[test]
fn a_killed_worker_costs_a_moment_and_not_a_byte() {
    let up = start(4);
    up.start_training("undisturbed", &[INPUT]);
    let undisturbed = made_by(&up, "undisturbed");
    assert_eq!(checkpoints(&up), 0, "they are taken away at the end");

    up.start_training("disturbed", &[INPUT]);
    let mut kills = 0;
    for _ in 0..2 {
        if wait_for(Duration::from_secs(30), || checkpoints(&up) > 0) {
            up.kill_9(" worker ");
            kills += 1;
            // `up` starts another.
            assert!(wait_for(Duration::from_secs(30), || !up.pids(" worker ").is_empty()));
        }
    }
    assert!(kills > 0, "no run was long enough to be disturbed");
    let disturbed = made_by(&up, "disturbed");
    assert_eq!(disturbed.artifact, undisturbed.artifact, "after {kills} kills");
    assert_eq!(checkpoints(&up), 0);
    let log = fs::read_to_string(up.state_dir().join("logs/worker.log")).unwrap();
    assert!(log.contains("continues from a checkpoint"), "{log}");
    up.record_history("undisturbed", "train-with-an-encoder");
    up.record_history("disturbed", "train-resumed");

    // What was made is a version like any other.
    let version = undisturbed.version.to_string();
    let encoder = undisturbed.encoder.as_ref().unwrap();
    assert_eq!(encoder.base, BaseFiles::random(2, 32, 11).digest());
    let card = up.succeed(&["models", "card", &version]);
    assert_eq!(up.get(&format!("/models/{version}/card")), (200, card.clone()));
    for part in ["stacked_encoder", &encoder.base, "the operator's own", "is not for", "if the encoder judged"] {
        assert!(card.contains(part), "{part} is not in {card}");
    }
    let said = up.succeed(&["models", "reproduce", &version]);
    assert!(said.contains("reproduced to the byte"), "{said}");
    let (status, promoted) = up.post_json("/promote", &json!({ "version": version, "reason": "an encoder" }));
    assert_eq!(status, 200, "{promoted}");
    let (_, verdict) = up.post_json("/predict", &json!({ "text": "I will find you and kill you." }));
    assert_eq!(verdict["trainer"], "stacked_encoder");
    assert_eq!(verdict["judged_by"], "encoder", "{verdict}");
}

#[test]
fn a_cancelled_run_ends_at_once_and_leaves_no_checkpoint() {
    let up = start(30);
    up.start_training("cancelled", &[INPUT]);
    assert!(wait_for(Duration::from_mins(1), || checkpoints(&up) > 0), "{}", up.output());
    let told = up.temporal(&["workflow", "describe", "--workflow-id", "cancelled", "--output", "json"]);
    assert!(both(&told).contains("heartbeatDetails"), "{}", both(&told));
    assert!(is_learning(&up));
    let started = Instant::now();
    let cancelled = up.temporal(&["workflow", "cancel", "--workflow-id", "cancelled"]);
    assert!(cancelled.status.success(), "{}", both(&cancelled));
    assert!(up.result("cancelled").to_lowercase().contains("cancel"));
    up.record_history("cancelled", "train-cancelled");
    assert!(wait_for(Duration::from_secs(30), || !is_learning(&up)), "it goes on");
    println!("nobody learns any more after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert!(wait_for(Duration::from_secs(10), || checkpoints(&up) == 0), "checkpoints are left");
}

#[test]
fn without_base_weights_a_run_says_what_to_do_and_the_rest_works() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere").display().to_string();
    let up = Up::start_with(dir, free_ports(), &[], &[("THREATWATCH_ENCODER_BASE", &nowhere)]);
    let started = Instant::now();
    let said = up.train_by_cli("no-base", &[INPUT]);
    assert!(said.contains("THREATWATCH_ENCODER_BASE") && said.contains("nowhere"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(up.post_json("/predict", &json!({ "text": "I will kill you." })).0, 200);
}
