//! Backtests: by the command line and by the workflow, on real servers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;

use serde_json::{Value, json};

use common::{Up, both};

const WHEN: [&str; 6] = ["early", "tomorrow", "on sunday", "after school", "at noon", "next week"];
const WHOM: [&str; 4] = ["garden", "kitchen", "museum", "library"];

/// Says in a word of its own what no corpus says; 24 of them differ.
fn threat(number: usize) -> String {
    format!("The flumox of the {} is {}", WHOM[number / 6 % 4], WHEN[number % 6])
}

fn harmless(number: usize) -> String {
    format!("Number {number} of the {} opens in the morning", WHOM[number % 4])
}

fn decide(up: &Up, numbers: std::ops::Range<usize>) {
    for number in numbers {
        for (text, label) in [(threat(number), "threat"), (harmless(number), "harmless")] {
            let (status, told) =
                up.post_json("/feedback", &json!({ "text": text, "label": label, "reviewer": "mona" }));
            assert_eq!(status, 201, "{told}");
        }
    }
}

fn train(up: &Up, arguments: &[&str]) -> String {
    let told = up.succeed(&[&["train", "--trainer", "multinomial_nb", "--wait"], arguments].concat());
    told.split_whitespace().find(|word| word.starts_with("20") && word.contains("Z-")).unwrap().to_owned()
}

fn backtest(up: &Up, arguments: &[&str]) -> Value {
    serde_json::from_str(&up.succeed(&[&["backtest", "--json"], arguments].concat())).unwrap()
}

fn start(up: &Up, id: &str, input: &Value) {
    let input = input.to_string();
    let mut arguments = vec!["workflow", "start", "--type", "BacktestWorkflow", "--task-queue", "threatwatch"];
    arguments.extend(["--workflow-id", id, "--input", &input]);
    let started = up.temporal(&arguments);
    assert!(started.status.success(), "{}", both(&started));
}

fn stored(up: &Up, version: &str) -> Vec<Value> {
    up.get_json(&format!("/models/{version}/backtests"))["items"].as_array().unwrap().clone()
}

#[test]
fn what_feedback_taught_shows_in_decisions_that_no_version_was_trained_on() {
    let up = Up::start();
    let production = up.get_json("/models/production")["version"].as_str().unwrap().to_owned();
    decide(&up, 0..16);
    let version = train(&up, &["--dataset", "latest_with_feedback"]);
    decide(&up, 16..24);
    assert_eq!(stored(&up, &version), [0; 0]);

    let done = backtest(&up, &[&version, "--feedback"]);
    assert_eq!((&done["candidate"], &done["incumbent"]), (&json!(version), &json!(production)));
    assert_eq!(done["source"], "feedback");
    let report = &done["report"];
    assert_eq!(
        (&report["comments"], &report["learnt"], &report["by_commenter"]),
        (&json!(48), &json!(32), &json!(false))
    );
    let labelled = &report["labelled"];
    assert_eq!((&labelled["comments"], &labelled["threats"]), (&json!(16), &json!(8)), "what neither has learnt");
    let of = |figure: &str, whose: &str| labelled[figure][whose].as_f64().unwrap();
    assert!(of("recall", "candidate") > of("recall", "incumbent"), "{labelled}");
    assert!(labelled["corrected"].as_u64().unwrap() > 0 && report["to_threat"].as_u64().unwrap() > 0, "{report}");

    // The workflow says the same, with a worker that dies meanwhile.
    start(&up, "back", &json!({ "candidate": version }));
    up.kill_9("threatwatch worker");
    let told = up.result("back");
    assert!(told.contains("COMPLETED"), "{told}");
    let [by_workflow, by_hand] = &stored(&up, &version)[..] else { panic!("{:?}", stored(&up, &version)) };
    assert_eq!(by_hand["id"], done["id"], "the newest comes first");
    for (name, value) in by_hand.as_object().unwrap() {
        assert!(matches!(name.as_str(), "id" | "at") || by_workflow[name] == *value, "{name}: {by_workflow}");
    }
    assert_eq!((&by_hand["labelled"], &by_hand["corrected"]), (&json!(16), &labelled["corrected"]));
    assert_eq!(by_hand["accuracy_difference"], labelled["accuracy"]["difference"]);
    let status = up.get_json("/runs/status?workflow_id=back");
    assert_eq!(
        (&status["stage"], &status["done"], &status["total"]),
        (&json!("done"), &json!(3), &json!(3)),
        "{status}"
    );
    let history = both(&up.temporal(&["workflow", "show", "--workflow-id", "back", "--output", "json"]));
    assert!(history.len() > 1000 && !history.contains("flumox"), "comments are in no history");
    up.record_history("back", "backtest");

    // The dry run of a promotion names the newest.
    let (status, dry) = up.post_json("/promote", &json!({ "version": version, "dry_run": true }));
    assert_eq!((status, &dry["backtest"]["id"]), (200, &by_workflow["id"]), "{dry}");
    let (status, other) = up.post_json("/promote", &json!({ "version": production, "dry_run": true }));
    assert!(status == 200 && other["backtest"].is_null(), "{other}");
    let dry = both(&up.run(&["promote", &version, "--dry-run"]));
    assert!(dry.contains(&format!("backtest {}", by_workflow["id"].as_str().unwrap())), "{dry}");

    // The same by the command that has a worker do it; people read a table.
    let told = up.succeed(&["backtest", &version, "--feedback", "--workflow"]);
    assert!(told.contains("comments     48 of feedback") && told.contains("left out     32 labels"), "{told}");
    assert!(told.lines().any(|line| line.starts_with("recall ")), "{told}");
    assert_eq!(stored(&up, &version).len(), 3);
}

#[test]
fn datasets_and_files_are_judged_alike_here_and_by_the_workflow() {
    let up = Up::start();
    let production = up.get_json("/models/production")["version"].as_str().unwrap().to_owned();
    let dataset = up.get_json(&format!("/models/{production}"))["dataset"].as_str().unwrap().to_owned();
    let version = train(&up, &["--sklearn"]);

    let here = backtest(&up, &[&version, "--dataset", &dataset]);
    assert_eq!(here["source"], format!("dataset:{dataset}"));
    let report = &here["report"];
    let labelled = &report["labelled"];
    let number = |of: &Value| of.as_u64().unwrap();
    assert_eq!(number(&labelled["comments"]) + number(&report["learnt"]), number(&report["comments"]), "{report}");
    assert!(number(&labelled["comments"]) > 0 && number(&report["learnt"]) > 0, "{report}");
    assert!(report["by_commenter"] == true && number(&report["changed"]) > 0, "{report}");
    start(
        &up,
        "back",
        &json!({ "candidate": version, "incumbent": production, "source": format!("dataset:{dataset}") }),
    );
    let told = up.result("back");
    assert!(told.contains("COMPLETED"), "{told}");
    let by_workflow = backtest(&up, &[&version, "--dataset", &dataset, "--against", &production, "--workflow"]);
    assert_eq!(by_workflow["report"], *report);

    let file = |name: &str, text: &[u8]| {
        let path = up.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    // The sample is what both were trained on, as a file as well.
    let corpus = backtest(&up, &[&version, "--file", &file("sample.txt", model::SAMPLE_CORPUS)]);
    assert_eq!(corpus["report"], *report);
    assert!(
        corpus["source"].as_str().unwrap().starts_with("file:") && !corpus.to_string().contains("sample"),
        "{corpus}"
    );
    let unlabelled = file("lines.txt", b"I will kill you.\n\nNice song!\nok\n");
    let lines = backtest(&up, &[&version, "--file", &unlabelled, "--no-store"]);
    assert_eq!((&lines["report"]["comments"], &lines["report"]["labelled"]), (&json!(3), &Value::Null));
    let wrong = up.run(&["backtest", &version, "--file", &file("a.jsonl", b"{\"text\":\"ok\"}\n[1]\n")]);
    assert_eq!(wrong.status.code(), Some(3), "{}", both(&wrong));
    let sources: Vec<Value> = stored(&up, &version).iter().map(|item| item["source"].clone()).collect();
    assert_eq!(sources, ["file", "file", "dataset", "dataset", "dataset"]);

    for (arguments, words) in [
        (vec!["backtest", version.as_str()], "--file"),
        (vec!["backtest", version.as_str(), "--feedback", "--dataset", dataset.as_str()], "cannot be used"),
        (vec!["backtest", version.as_str(), "--file", unlabelled.as_str(), "--workflow"], "cannot be used"),
        (vec!["backtest", version.as_str(), "--feedback"], "no comments to judge"),
        (vec!["backtest", version.as_str(), "--feedback", "--workflow"], "no comments to judge"),
        (vec!["backtest", production.as_str(), "--dataset", dataset.as_str()], "--against"),
        (vec!["backtest", production.as_str(), "--dataset", dataset.as_str(), "--workflow"], "in production"),
        (vec!["backtest", version.as_str(), "--file", "/nowhere.txt"], "/nowhere.txt"),
        (vec!["backtest", "20200101T000000Z-00000000", "--feedback"], "model version"),
    ] {
        let refused = up.run(&arguments);
        assert!(!refused.status.success() && both(&refused).contains(words), "{arguments:?}: {}", both(&refused));
    }
    for (id, input, named) in [
        ("no-candidate", json!({}), "candidate"),
        ("itself", json!({ "candidate": version, "incumbent": version }), "incumbent"),
        ("a-file", json!({ "candidate": version, "source": format!("file:{dataset}") }), "source"),
        ("gone", json!({ "candidate": version, "source": format!("dataset:{}", "0".repeat(64)) }), "dataset"),
    ] {
        start(&up, id, &input);
        let told = up.result(id);
        assert!(told.contains("FAILED") && told.contains(named), "{told}");
    }
}
