//! Measures how much reviewers' decisions improve a model.
//!
//! `cargo bench -p registry --bench feedback_loop -- named|clicked CORPUS`. The base has the held-out commenters and a
//! tenth of the others. Each step stores the decisions about the comments of another tenth, builds a dataset with them
//! and trains on it, as the activities do. It prints a line of JSON for each model, then for each step the gain over
//! the step before, with its 95% interval.
//!
//! Reviewers either name the threatening sentences of a comment (`named`), or only say that it is a threat (`clicked`).
//! In the second case the sentences are those that the model of the step before finds. Each of five seeds holds out
//! other commenters. Intervals are by commenter, over all seeds.
#![allow(clippy::expect_used, reason = "a measurement that cannot be made ends the program")]

use std::{collections::BTreeSet, fs::File, io::BufReader, sync::Arc};

use model::{
    Digest, Model, Row, Version,
    corpus::{Format, Item, Reader, split},
    evaluation::{
        Evaluation,
        bootstrap::{Differences, Judgement, interval},
    },
    experiment::{self, Config},
    protocol::Resolve,
    random::SplitMix,
    trainers,
};
use registry::{Choice, Feedback, Label, MemoryStore, Registry, Said};
use serde_json::json;

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
const TENTHS: usize = 10;

/// A held-out sentence that was judged: commenter, probability, label.
type Judged = (String, f64, bool);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // Without a corpus there is nothing to measure. The project ships none.
    let [manner, corpus] = &arguments[..] else { return };
    let is_named = match manner.as_str() {
        "named" => true,
        "clicked" => false,
        _ => panic!("`named` or `clicked`, not {manner}"),
    };
    let rows = rows(corpus);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    let mut judged: Vec<Vec<Judged>> = vec![Vec::new(); TENTHS];
    for seed in SEEDS {
        runtime.block_on(reveal(&rows, seed, is_named, &mut judged));
    }
    summary(&judged);
}

fn rows(file: &str) -> Vec<Row> {
    let input = BufReader::with_capacity(1 << 16, File::open(file).unwrap_or_else(|error| panic!("{file}: {error}")));
    let reader = Reader::new(Format::guess(file, b""), input).expect("the file is a corpus");
    let row = |item: Result<Item, _>| match item.expect("the file can be read") {
        Item::Row(row) => Some(row),
        Item::Malformed(_) => None,
    };
    reader.filter_map(row).collect()
}

async fn reveal(rows: &[Row], seed: u64, is_named: bool, judged: &mut [Vec<Judged>]) {
    let registry = Registry::new(Arc::new(MemoryStore::default()));
    let (pool, held_out) = split::held_out(seed, rows.to_vec());
    let mut commenters: Vec<&str> = pool.iter().map(|row| row.commenter.as_str()).collect();
    commenters.sort_unstable();
    commenters.dedup();
    let mut lot = SplitMix(seed);
    for i in 0..commenters.len() {
        let other = i + lot.below(commenters.len() - i);
        commenters.swap(i, other);
    }
    let of_tenth = |tenth: usize| -> Vec<Row> {
        let places = commenters.len() * tenth / TENTHS..commenters.len() * (tenth + 1) / TENTHS;
        let names: BTreeSet<&str> = commenters[places].iter().copied().collect();
        pool.iter().filter(|row| names.contains(row.commenter.as_str())).cloned().collect()
    };

    let lines: Vec<String> = held_out
        .iter()
        .chain(&of_tenth(0))
        .map(|row| serde_json::to_string(row).expect("a row is plain data"))
        .collect();
    let base = registry.put_dataset("base.jsonl", lines.join("\n").into_bytes()).await.expect("it is stored");
    let choice = Choice { since: None, resolve: Resolve::Majority, seed };
    let mut before: Option<Model> = None;
    for (tenth, judged) in judged.iter_mut().enumerate() {
        if let Some(before) = &before {
            decide(&registry, &of_tenth(tenth), Some(before).filter(|_| !is_named)).await;
        }
        let dataset: Digest = if tenth == 0 {
            base.digest.clone()
        } else {
            registry.build_dataset(&base.digest, &choice).await.expect("it is built").dataset.digest
        };
        let manifest = registry.dataset(&dataset).await.expect("it is there");
        let (known, _) = split::held_out(seed, registry.rows(&manifest).await.expect("it is read"));
        let trainer = trainers::find("stacked").expect("it is in the table");
        let trained = experiment::train(trainer, &known, &Config { seed, ..Config::default() }, &|_, _| {});
        let model = trained.expect("it can be learned").model;
        let probabilities = experiment::probabilities(&model, &held_out);
        let own: Vec<Judged> = held_out
            .iter()
            .zip(probabilities)
            .map(|(row, probability)| (row.commenter.clone(), probability, row.is_threat()))
            .collect();
        let (pr_auc, way) = (pr_auc(&own), if is_named { "named" } else { "clicked" });
        println!(
            "{}",
            json!({"seed": seed, "way": way, "tenths": tenth + 1, "sentences": known.len(), "pr_auc": pr_auc})
        );
        judged.extend(own);
        before = Some(model);
    }
}

/// Stores a reviewer's decisions about the comments of these rows.
///
/// The threatening sentences are named, or are those that the model `finds`.
async fn decide(registry: &Registry, rows: &[Row], finds: Option<&Model>) {
    for comment in rows.chunk_by(|a, b| a.comment == b.comment && a.commenter == b.commenter) {
        let text = comment.iter().map(|row| row.text.as_str()).collect::<Vec<_>>().join("\n");
        // A sentence of the corpus may be several sentences by our own rule.
        let mut number = 0;
        let mut threats = BTreeSet::new();
        for row in comment {
            if row.is_threat() {
                threats.insert(number);
            }
            number += model::text::sentences(&row.text).len() as u32;
        }
        let label = Label::from(!threats.is_empty());
        let model = finds.map(|model| {
            let verdict = model.judge(&text);
            let from = verdict.threshold.min(verdict.probability);
            let found = (0..).zip(&verdict.sentences).filter(|(_, sentence)| sentence.probability >= from);
            Said {
                version: Version::derive(0, "loop", "run", "stacked"),
                probability: verdict.probability,
                label: verdict.is_threat.into(),
                sentences: found.map(|(number, _)| number).collect(),
            }
        });
        let sentences = if model.is_none() { threats } else { BTreeSet::new() };
        let reviewer = "reviewer".parse().expect("a name");
        let feedback = Feedback { text, label, sentences, reviewer, note: None, model, request_id: None };
        registry.put_feedback(feedback).await.expect("it is stored");
    }
}

fn pr_auc(judged: &[Judged]) -> f64 {
    let judged: Vec<(f64, bool)> =
        judged.iter().map(|(_, probability, is_threat)| (*probability, *is_threat)).collect();
    Evaluation::of(&judged, 0.5).pr_auc
}

fn summary(judged: &[Vec<Judged>]) {
    for (tenth, now) in judged.iter().enumerate() {
        let percent = (tenth + 1) * 100 / TENTHS;
        let Some(before) = tenth.checked_sub(1).map(|before| &judged[before]) else {
            println!("{percent:>3}%  PR-AUC {:.4}", pr_auc(now));
            continue;
        };
        let [new, old] = [now, before].map(|judged| -> Vec<Judgement<'_>> {
            judged
                .iter()
                .map(|(commenter, probability, is_threat)| Judgement {
                    commenter,
                    probability: *probability,
                    is_threat: *is_threat,
                })
                .collect()
        });
        let [low, high] = interval(Differences::of(&new, &old, 1).pr_auc);
        println!(
            "{percent:>3}%  PR-AUC {:.4}  gain {:+.4} [{low:+.4}, {high:+.4}]",
            pr_auc(now),
            pr_auc(now) - pr_auc(before)
        );
    }
}
