//! The moderator's loop: reviewers' decisions train the next model, on real servers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use common::{Up, both, wait_for};

/// Says in a word of its own what no corpus says.
fn threat(number: usize) -> String {
    const WHEN: [&str; 6] = ["early", "tomorrow", "on sunday", "after school", "at noon", "next week"];
    const WHOM: [&str; 4] = ["garden", "kitchen", "museum", "library"];
    format!("The flumox of the {} is {}", WHOM[number % 4], WHEN[number % 6])
}

fn harmless(number: usize) -> String {
    const WHERE: [&str; 4] = ["garden", "kitchen", "museum", "library"];
    format!("Number {number} of the {} opens in the morning", WHERE[number % 4])
}

fn dataset_in_production(up: &Up) -> String {
    let production = up.get_json("/models/production");
    let model = up.get_json(&format!("/models/{}", production["version"].as_str().unwrap()));
    model["dataset"].as_str().unwrap().to_owned()
}

fn start_learning(up: &Up, id: &str, least: u32) {
    let training = json!({ "trainers": ["multinomial_nb"], "auto_promote": "after_approval" });
    let input = json!({ "least_decisions": least, "training": training }).to_string();
    let mut arguments = vec!["workflow", "start", "--type", "FeedbackWorkflow", "--task-queue", "threatwatch"];
    arguments.extend(["--workflow-id", id, "--input", &input]);
    let started = up.temporal(&arguments);
    assert!(started.status.success(), "{}", both(&started));
}

#[test]
fn what_reviewers_decide_is_built_trained_gated_approved_and_served() {
    let up = Up::start();
    let said = |text: &str| up.post_json("/predict", &json!({ "text": text })).1["label"].clone();
    let (asked, base) = (threat(5), dataset_in_production(&up));
    assert_eq!(said(&asked), "harmless", "nobody has taught it yet");

    let started = Instant::now();
    for number in 0..16 {
        // The one that is asked about is not among them.
        let number = if threat(number) == asked { number + 100 } else { number };
        for (text, label) in [(threat(number), "threat"), (harmless(number), "harmless")] {
            let (status, told) =
                up.post_json("/feedback", &json!({ "text": text, "label": label, "reviewer": "mona" }));
            assert!(status == 201 || status == 200, "{told}");
        }
    }
    let decisions = up.get_json("/feedback")["total"].as_u64().unwrap();

    // Too few for this one.
    start_learning(&up, "not-yet", 1000);
    let not_yet = up.result("not-yet");
    assert!(not_yet.contains("COMPLETED") && not_yet.contains("\"training\":null"), "{not_yet}");

    start_learning(&up, "learn", 20);
    let stage = || up.get_json("/runs/status?workflow_id=learn-train")["stage"].clone();
    assert!(wait_for(Duration::from_mins(1), || stage() == "approval"), "{}", stage());
    let status = up.get_json("/runs/status?workflow_id=learn");
    assert!(status["message"].as_str().unwrap().contains("learn-train"), "it says what waits: {status}");
    up.kill_9("threatwatch worker");
    assert_eq!(said(&asked), "harmless", "nobody has approved yet");
    up.succeed(&["approve", "learn-train", "--reason", "mona's words"]);
    let learnt = up.result("learn");
    assert!(learnt.contains("COMPLETED") && learnt.contains("\"promoted\":true"), "{learnt}");
    assert!(wait_for(Duration::from_secs(10), || said(&asked) == "threat"), "{}", said(&asked));
    assert!(started.elapsed() < Duration::from_mins(2), "from feedback to production: {:?}", started.elapsed());
    let built = dataset_in_production(&up);
    let built = built.as_str();
    assert_ne!(built, base);

    // The same by hand: the same bytes, and a report.
    let report = up.succeed(&["dataset", "build", "--base", &base, "--with-feedback", "--json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["dataset"], &report["provenance"]["base"]), (&json!(built), &json!(base)));
    assert_eq!(report["provenance"]["items"].as_object().unwrap().len() as u64, decisions);
    assert_eq!(report["provenance"]["reviewers"], json!(["mona"]));
    let shown = up.succeed(&["dataset", "build", "--base", &base, "--with-feedback", "--resolve", "drop"]);
    let added = format!("added        {} sentences", report["added"]);
    assert!(shown.contains("by mona") && shown.contains(&added), "{shown}");
    // Another split would hold out others, whose rows were looked at.
    let other = up.run(&["train", "--dataset", built, "--seed", "7", "--trainer", "multinomial_nb", "--wait"]);
    assert!(!other.status.success() && both(&other).contains("seed 42"), "{}", both(&other));
    let nothing_new =
        up.succeed(&["dataset", "build", "--base", &base, "--with-feedback", "--since", "2100-01-01T00:00:00Z"]);
    assert!(nothing_new.contains("no decision changes the base"), "{nothing_new}");
    let trained = up.succeed(&["train", "--dataset", "latest_with_feedback", "--trainer", "multinomial_nb", "--wait"]);
    let version = trained.split_whitespace().find(|word| word.starts_with("20") && word.contains("Z-")).unwrap();
    assert_eq!(up.get_json(&format!("/models/{version}"))["dataset"], built);

    // These decisions are not new: one that was learnt, one that agrees with another, one that changes no row.
    for (text, label) in [
        (threat(0), "threat"),
        (up.get_json("/feedback?limit=1")["items"][0]["text"].as_str().unwrap().to_owned(), "harmless"),
    ] {
        let (status, told) = up.post_json("/feedback", &json!({ "text": text, "label": label, "reviewer": "ben" }));
        assert_eq!(status, 201, "{told}");
    }
    start_learning(&up, "again", 1);
    let again = up.result("again");
    assert!(again.contains("\"new_decisions\":0") && again.contains("\"training\":null"), "{again}");

    for id in ["learn", "learn-train", "again"] {
        let history = both(&up.temporal(&["workflow", "show", "--workflow-id", id, "--output", "json"]));
        assert!(history.len() > 1000 && !history.contains("flumox"), "comments are in no history");
    }
    up.record_history("learn", "feedback");
    up.record_history("not-yet", "feedback-too-little");
}

#[test]
fn what_is_wrong_in_a_request_is_named() {
    let up = Up::start();
    for (id, input, named) in [
        ("no-least", json!({ "least_decisions": 0 }), "least_decisions"),
        ("a-dataset", json!({ "training": { "dataset": "latest_with_feedback" } }), "training.dataset"),
        ("no-rule", json!({ "resolve": "coin" }), "resolve"),
    ] {
        let input = input.to_string();
        let mut arguments = vec!["workflow", "start", "--type", "FeedbackWorkflow", "--task-queue", "threatwatch"];
        arguments.extend(["--workflow-id", id, "--input", &input]);
        assert!(up.temporal(&arguments).status.success());
        let told = up.result(id);
        assert!(told.contains("invalid input") && told.contains(named), "{told}");
    }
    let (status, told) = up.post_json("/train", &json!({ "dataset": "newest" }));
    assert!(status == 422 && told["detail"].as_str().unwrap().contains("latest_with_feedback"), "{told}");
    let refused = up.run(&["dataset", "build", "--with-feedback"]);
    assert!(!refused.status.success() && both(&refused).contains("--base"), "{}", both(&refused));
    let shown = up.succeed(&["schedule", "create", "--feedback-cron", "0 5 * * *"]);
    assert!(shown.contains("feedback-training  active") && shown.contains("T05:00:00Z"), "{shown}");
    assert!(up.succeed(&["schedule", "pause"]).contains("feedback-training  paused"));
    assert!(up.succeed(&["schedule", "delete"]).contains("feedback-training  not scheduled"));
}

#[test]
fn a_label_that_is_likely_wrong_is_found_and_corrected_by_feedback() {
    let up = Up::start();
    let base = dataset_in_production(&up);
    let audit = |more: &[&str]| {
        let told = up.succeed(&[&["dataset", "audit", base.as_str(), "--json"], more].concat());
        serde_json::from_str::<Value>(&told).unwrap()
    };
    let told = audit(&["--take", "5"]);
    let suspects = told["suspects"].as_array().unwrap();
    assert!(suspects.len() == 5 && told["suspected"].as_u64().unwrap() > 5, "{told}");
    assert!(suspects.iter().all(|suspect| suspect["text"].is_null() && suspect["row"].as_u64().unwrap() > 0), "{told}");
    let belief = |suspect: &Value| {
        let probability = suspect["probability"].as_f64().unwrap();
        if suspect["label"] == "threat" { probability } else { 1.0 - probability }
    };
    assert!(suspects.is_sorted_by(|a, b| belief(a) <= belief(b)), "the most suspicious first: {told}");
    let table = up.succeed(&["dataset", "audit", &base, "--take", "3"]);
    assert_eq!(table.lines().count(), 2 + 3, "{table}");

    let told = audit(&["--take", "1000", "--show-text"]);
    let is_ours = |suspect: &&Value| suspect["held_out"] == false && suspect["label"] == "harmless";
    let suspect = told["suspects"].as_array().unwrap().iter().find(is_ours).unwrap();
    let (status, stored) = up.post_json("/feedback", &json!({ "text": suspect["text"], "label": "threat" }));
    assert_eq!(status, 201, "{stored}");
    let built = up.succeed(&["dataset", "build", "--base", &base, "--with-feedback", "--json"]);
    let built: Value = serde_json::from_str(&built).unwrap();
    assert!(built["corrected"].as_u64().unwrap() >= 1 && built["added"] == 0, "{built}");

    for (arguments, word) in [
        (vec!["dataset", "audit", "abc"], "64"),
        (vec!["dataset", "audit", base.as_str(), "--trainer", "stacked_encoder"], "stacked"),
        (vec!["dataset", "audit", &"0".repeat(64)], "dataset"),
    ] {
        let refused = up.run(&arguments);
        assert!(!refused.status.success() && both(&refused).contains(word), "{}", both(&refused));
    }
}
