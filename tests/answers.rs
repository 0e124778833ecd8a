//! The JSON answers of commands, on running parts.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use serde_json::{Value, json};

use common::Up;

#[test]
fn asked_for_json_a_command_has_one_value_on_standard_output() {
    let up = Up::start();
    let version = up.get_json("/models/production")["version"].as_str().unwrap().to_owned();
    for command in [
        &["doctor"][..],
        &["setup"],
        &["train", "--trainer", "multinomial_nb", "--wait"],
        &["models", "list"],
        &["models", "show", &version],
        &["models", "card", &version],
        &["models", "history"],
        &["models", "production"],
        &["models", "compare", &version, &version],
        &["models", "verify"],
        &["models", "prune", "--dry-run"],
        &["models", "reproduce", &version],
        &["promote", &version],
        &["shadow", "start", &version],
        &["shadow", "status"],
        &["shadow", "stop"],
        &["schedule", "show"],
        &["keys", "list"],
        &["audit"],
    ] {
        let told = up.succeed(&[command, &["--json"]].concat());
        assert!(serde_json::from_str::<Value>(&told).is_ok_and(|told| told.is_object()), "{command:?}: {told}");
    }

    // A stored dataset and a version are found by name. The answer says what the version learned from.
    let dataset = up.get_json(&format!("/models/{version}"))["dataset"].clone();
    let told = up.succeed(&["evaluate", "--data", dataset.as_str().unwrap(), "--model", &version, "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["training_data"], &told["data"]["dataset"]), (&json!("same"), &dataset), "{told}");
    assert_eq!(told["model"]["version"], *version);
}
