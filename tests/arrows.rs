//! The dependencies between the crates: which crate may use which.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

/// Who may depend on whom. A crate that is not here does not exist.
const ARROWS: [(&str, &[&str]); 7] = [
    ("encoder", &[]),
    ("model", &["encoder"]),
    ("registry", &["encoder", "model"]),
    ("workflows", &["model"]),
    ("activities", &["encoder", "model", "registry", "workflows"]),
    ("api", &["encoder", "model", "registry", "workflows"]),
    ("threatwatch", &["activities", "api", "encoder", "model", "registry", "workflows"]),
];

/// Crates whose mere presence would let I/O into a crate that must have none.
const BANNED: [(&str, &[&str]); 3] = [
    ("encoder", &["tokio", "aws-sdk-s3", "poem", "reqwest", "temporalio-sdk", "tracing"]),
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

/// The rooms of `model`, each of which may use those before it.
const ROOMS: [&str; 17] = [
    "version",
    "plugins",
    "corpus",
    "text",
    "labelling",
    "features",
    "counts",
    "evaluation",
    "calibration",
    "linear",
    "trainers",
    "experiment",
    "artifact",
    "explanation",
    "gate",
    "backtest",
    "protocol",
];

/// Where the names at the root of `model` come from.
const AT_THE_ROOT: [(&str, &str); 8] = [
    ("Digest", "version"),
    ("Generation", "version"),
    ("Model", "linear"),
    ("Row", "corpus"),
    ("SAMPLE_CORPUS", "corpus"),
    ("Verdict", "linear"),
    ("Version", "version"),
    // The crate beneath has it.
    ("random", "version"),
];

/// Every Rust file of a folder and its folders.
fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The first names of what a file uses of its own crate, but for its tests and its comments.
fn used(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let first_name = |path: &str| {
        let path = path.trim_start();
        path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned()
    };
    let of_each = |rest: &str| match rest.strip_prefix('{') {
        Some(group) => outer_items(group).into_iter().map(first_name).collect(),
        None => vec![first_name(rest)],
    };
    code.split("crate::").skip(1).flat_map(of_each).filter(|name| !name.is_empty()).collect()
}

/// What stands between the commas of a group that was opened before this text, up to its closing brace.
fn outer_items(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0_usize, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            '}' if depth == 0 => {
                items.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    items
}

#[test]
fn what_a_file_uses_is_read_from_it() {
    let text = "use crate::{\n    Row,\n    calibration::{Band, Platt},\n    text,\n};\nfn f(x: crate::version::Digest) {}\n// crate::no\n#[cfg(test)]\nuse crate::gate;";
    assert_eq!(used(text), ["Row", "calibration", "text", "version"]);
}

#[test]
fn a_room_of_the_model_uses_only_the_rooms_before_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("model/src");
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let inside = file.strip_prefix(&root).unwrap().to_str().unwrap();
        let room = inside.split('/').next().unwrap().trim_end_matches(".rs");
        if room == "lib" {
            continue;
        }
        let at = place(room).unwrap_or_else(|| panic!("{room} is no known room"));
        let text = fs::read_to_string(&file).unwrap();
        let is_face = !inside.contains('/') || inside.ends_with("mod.rs");
        let code = text.split("#[cfg(test)]").next().unwrap();
        let upwards = if is_face { "super::" } else { "super::super::" };
        assert!(!code.contains(upwards), "{inside} leaves its room by `{upwards}`");
        for name in used(&text) {
            let of = AT_THE_ROOT.iter().find(|(at_root, _)| *at_root == name).map_or(name.as_str(), |(_, room)| room);
            let other = place(of).unwrap_or_else(|| panic!("{inside} uses {name}, which is in no known room"));
            assert!(other <= at, "{inside} must not use {of}");
        }
    }
}
