//! The arrows between the crates: which may know which.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// Who may depend on whom. A crate that is not here does not exist.
const ARROWS: [(&str, &[&str]); 6] = [
    ("model", &[]),
    ("registry", &["model"]),
    ("workflows", &["model"]),
    ("activities", &["model", "registry", "workflows"]),
    ("api", &["model", "registry", "workflows"]),
    ("threatwatch", &["activities", "api", "model", "registry", "workflows"]),
];

/// Crates whose mere presence would let I/O into a crate that must have none.
const BANNED: [(&str, &[&str]); 2] = [
    ("model", &["tokio", "aws-sdk-s3", "poem", "reqwest", "temporalio-sdk", "tracing"]),
    ("workflows", &["tokio", "aws-sdk-s3", "poem", "reqwest", "rand", "registry"]),
];

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let normal = |package: &Value| -> Vec<String> {
        let all = package["dependencies"].as_array().unwrap();
        all.iter().filter(|dependency| dependency["kind"].is_null()).map(name).collect()
    };
    metadata["packages"].as_array().unwrap().iter().map(|package| (name(package), normal(package))).collect()
}

#[test]
fn every_crate_depends_only_on_those_it_may_know() {
    let found = dependencies();
    let ours: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(found.len(), ours.len(), "a crate was added or removed: {:?}", found.keys());
    for (name, may_know) in ARROWS {
        for dependency in found[name].iter().filter(|dependency| ours.contains(&dependency.as_str())) {
            assert!(may_know.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn pure_crates_cannot_do_io() {
    let found = dependencies();
    for (name, banned) in BANNED {
        for dependency in banned {
            assert!(!found[name].iter().any(|d| d == dependency), "{name} must not depend on {dependency}");
        }
    }
    for (name, dependencies) in &found {
        assert!(name == "registry" || !dependencies.iter().any(|d| d == "aws-sdk-s3"), "only registry names S3");
    }
}
