//! The message of a failed run names its cause: every kind of failure that can be provoked on real servers.

use std::time::Duration;

use bytes::Bytes;
use registry::{Key, Store as _};
use serde_json::json;

use crate::{
    common::{self, Up, block_on, both, wait_for},
    history::History,
    metadata, start_bare,
};

/// Longer ones are not read.
const LONGEST_HEADLINE: usize = 400;

/// The outermost failure is a sentence that says why, of this type; the details say the same.
fn is_headline(up: &Up, id: &str, kind: &str, why: &str) {
    up.result(id);
    let (told, headline) = History::of(up, id).failure().unwrap_or_else(|| panic!("{id} did not fail"));
    assert_eq!(told, kind, "{id}: {headline}");
    assert!(headline.contains(why), "{id}: `{why}` is not in `{headline}`");
    assert!(headline.len() <= LONGEST_HEADLINE && !headline.contains('\n'), "{id}: {headline}");
    for wrapper in
        ["Activity task failed", "Activity failed", "Child Workflow", "Workflow failed", "ApplicationFailure"]
    {
        assert!(!headline.contains(wrapper), "{id}: {headline}");
    }
    let page = metadata(up, id);
    assert!(page.contains("**failed** in the stage"), "{id}: {page}");
    println!("{kind}: {headline}");
}

#[test]
fn a_failed_runs_headline_is_its_cause() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere").display().to_string();
    let up = Up::start_with(dir, common::free_ports(), &[], &[("THREATWATCH_ENCODER_BASE", &nowhere)]);
    let live = up.get_json("/models/production")["version"].clone();
    let unknown = "20200101T000000Z-00000000";
    up.succeed(&["train", "--wait", "--sklearn"]);
    let models = up.get_json("/models");
    let find = |preset: &str| {
        models["models"].as_array().unwrap().iter().find(|m| m["preset"] == preset && m["version"] != live)
    };
    let weak = find("sklearn").unwrap()["version"].clone();
    let stale = find("default").unwrap().clone();
    let nothing = "ab".repeat(32);
    for (kind, input, failure, why) in [
        ("TrainWorkflow", json!({ "trainerz": [] }), "InvalidInput", "trainerz"),
        ("TrainWorkflow", json!({ "trainers": ["forest"] }), "InvalidInput", "no trainer is named `forest`"),
        ("TrainWorkflow", json!({ "dataset": nothing }), "NotFound", "there is no dataset"),
        ("TrainWorkflow", json!({ "trainers": ["encoder"] }), "NoEncoderBase", "there are no base weights"),
        ("PromoteWorkflow", json!({}), "InvalidInput", "version"),
        ("PromoteWorkflow", json!({ "version": unknown }), "NotFound", unknown),
        ("PromoteWorkflow", json!({ "version": weak }), "GateFailed", "pr_auc_not_worse"),
        ("PromoteWorkflow", json!({ "version": weak, "expected_generation": 7 }), "GenerationConflict", "generation 1"),
        ("RollbackWorkflow", json!({}), "NoTarget", "roll"),
        ("ReproduceWorkflow", json!({ "version": unknown }), "NotFound", unknown),
        ("RetentionWorkflow", json!({ "keep": 0 }), "InvalidInput", "`keep` is 0"),
        ("BacktestWorkflow", json!({ "candidate": weak }), "InvalidDataset", "no comments to judge"),
        ("BacktestWorkflow", json!({ "candidate": live, "source": "feedback" }), "InvalidInput", "is in production"),
        ("FeedbackWorkflow", json!({ "least_decisions": 0 }), "InvalidInput", "`least_decisions` is 0"),
    ] {
        let id = format!("{kind}-{failure}-{}", why.len());
        start_bare(&up, kind, &id, &input.to_string());
        is_headline(&up, &id, failure, why);
    }
    what_a_run_started(&up);
    a_run_that_is_cancelled(&up);
    // Last: a training makes these bytes again, and finds them there.
    bytes_that_are_others(&up, &stale);
}

/// The artifact of a version that is not in production is replaced by other bytes.
fn bytes_that_are_others(up: &Up, model: &serde_json::Value) {
    let version = model["version"].as_str().unwrap();
    let artifact = block_on(async {
        let manifests = up.settings().registry().await.unwrap().manifests().await.unwrap();
        manifests.into_iter().find(|manifest| manifest.version.as_str() == version).unwrap().artifact
    });
    let name = Key::Blob(&artifact).path();
    block_on(async {
        let store = up.settings().store().unwrap();
        store.delete(&name).await.unwrap();
        store.create(&name, Bytes::from_static(b"something else")).await.unwrap();
    });
    start_bare(up, "PromoteWorkflow", "corrupt", &json!({ "version": version }).to_string());
    is_headline(up, "corrupt", "Corrupt", artifact.as_str());
}

/// A run that failed because the run that it started did, or could not be started.
fn what_a_run_started(up: &Up) {
    for number in 0..4 {
        let text = format!("I will burn house {number} down, and all of you with it.");
        let (status, told) = up.post_json("/feedback", &json!({ "text": text, "label": "threat", "reviewer": "mona" }));
        assert_eq!(status, 201, "{told}");
    }
    let input = json!({ "least_decisions": 1, "training": { "trainers": ["encoder"] } }).to_string();
    start_bare(up, "FeedbackWorkflow", "child", &input);
    is_headline(up, "child", "NoEncoderBase", "there are no base weights");

    up.start_training("taken-train", &[r#"{"auto_promote":"after_approval"}"#]);
    start_bare(up, "FeedbackWorkflow", "taken", &json!({ "least_decisions": 1 }).to_string());
    is_headline(up, "taken", "GenerationConflict", "a run taken-train exists already");

    start_bare(up, "FeedbackWorkflow", "ended", &json!({ "least_decisions": 1 }).to_string());
    let is_there = || up.temporal(&["workflow", "describe", "--workflow-id", "ended-train"]).status.success();
    assert!(wait_for(Duration::from_secs(20), is_there), "{}", metadata(up, "ended"));
    let ended = up.temporal(&["workflow", "terminate", "--workflow-id", "ended-train", "--reason", "a test"]);
    assert!(ended.status.success(), "{}", both(&ended));
    is_headline(up, "ended", "ChildFailed", "the run ended-train was terminated");
}

/// It has no failure: the details say it.
fn a_run_that_is_cancelled(up: &Up) {
    let stage = || up.get_json("/runs/status?workflow_id=taken-train")["stage"].clone();
    assert!(wait_for(Duration::from_mins(1), || stage() == "approval"), "{}", stage());
    let told = metadata(up, "taken-train");
    assert!(told.contains("threatwatch approve") && told.contains("-w taken-train"), "{told}");
    let cancelled = up.temporal(&["workflow", "cancel", "--workflow-id", "taken-train"]);
    assert!(cancelled.status.success(), "{}", both(&cancelled));
    assert!(up.result("taken-train").contains("CANCELED"));
    let page = metadata(up, "taken-train");
    assert!(page.contains("**cancelled** in the stage `approval`"), "{page}");
    assert!(!page.contains("threatwatch approve"), "it waits for nobody any more: {page}");
}
