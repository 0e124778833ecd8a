//! `threatwatch experiment`, without a server.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{fs, path::Path, process::Command};

use serde_json::Value;

fn experiment(arguments: &[&str]) -> Value {
    let output = Command::new(common::BINARY).arg("experiment").args(arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", common::both(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

const KEYS: [&str; 11] = [
    "precision",
    "recall",
    "f1",
    "roc_auc",
    "pr_auc",
    "recall_at_fpr_5",
    "brier",
    "ece",
    "threshold",
    "n",
    "positives",
];

#[test]
fn it_prints_every_figure_by_sentence_and_by_comment() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sample.txt");
    fs::write(&file, model::SAMPLE_CORPUS).unwrap();
    let file = file.to_str().unwrap();
    let cv = experiment(&["--train", file, "--cv", "5", "--trainer", "multinomial_nb"]);
    let test = experiment(&["--train", file, "--test", file]);
    for figures in [&cv["cv"], &test] {
        for unit in ["sentence", "comment"] {
            for key in KEYS {
                assert!(figures[unit][key].is_number(), "{unit}.{key}: {figures}");
            }
        }
    }
    let [low, high] = [0, 1].map(|end| cv["cv"]["sentence"]["intervals"]["pr_auc"][end].as_f64().unwrap());
    assert!((low..high).contains(&cv["cv"]["sentence"]["pr_auc"].as_f64().unwrap()), "{low} {high}");
    assert_eq!(cv["cv"]["worst_mistakes"].as_array().unwrap().len(), 50);
    assert!(cv["cv"]["pr_curve"].as_array().unwrap().len() > 20, "a curve");
    let shares = cv["cv"]["flagged_comments"].as_array().unwrap();
    let of = |name: &str| shares.iter().map(|share| share[name].as_f64().unwrap()).collect::<Vec<f64>>();
    assert!(of("threshold").is_sorted_by(|a, b| a >= b) && of("recall").is_sorted(), "{shares:?}");
    assert!(!cv.to_string().contains("text"), "numbers only");
    assert_eq!(cv, experiment(&["--train", file, "--cv", "5"]), "the same figures every time");

    let missing = Command::new(common::BINARY).args(["experiment", "--train", "/nowhere.txt"]).output().unwrap();
    assert!(!missing.status.success() && common::both(&missing).contains("/nowhere.txt"));
}

/// Figures on the THREAT corpus, if it is there: it is not ours to ship.
#[test]
fn the_quality_on_the_threat_corpus_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/threat.txt");
    if !corpus.exists() {
        eprintln!("the_quality_on_the_threat_corpus_holds: not run, {} is absent", corpus.display());
        return;
    }
    let corpus = corpus.to_str().unwrap();
    let figures = experiment(&["--train", corpus, "--cv", "5"]);
    let sentence = &figures["cv"]["sentence"];
    let at_least = |key: &str, floor: f64| assert!(sentence[key].as_f64().unwrap() >= floor, "{key}: {sentence}");
    at_least("pr_auc", 0.62);
    at_least("f1", 0.58);
    at_least("recall_at_fpr_5", 0.655);
    let stacked = experiment(&["--train", corpus, "--cv", "5", "--trainer", "stacked"]);
    let sentence = &stacked["cv"]["sentence"];
    let at_least = |key: &str, floor: f64| assert!(sentence[key].as_f64().unwrap() >= floor, "{key}: {sentence}");
    at_least("pr_auc", 0.68);
    at_least("f1", 0.63);
    at_least("recall_at_fpr_5", 0.71);
    let at_most = |key: &str, bound: f64| assert!(sentence[key].as_f64().unwrap() <= bound, "{key}: {sentence}");
    at_most("brier", 0.034);
    at_most("ece", 0.010);
    let figures = experiment(&["--train", corpus, "--cv", "5", "--sklearn"]);
    let pr_auc = figures["cv"]["sentence"]["pr_auc"].as_f64().unwrap();
    assert!((0.26..0.30).contains(&pr_auc), "scikit-learn's defaults have 0.279: {pr_auc}");
}
