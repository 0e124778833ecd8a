//! Compares chosen labels with labels that are drawn at random.
//!
//! `cargo bench -p model --bench labels -- CORPUS` starts with 2,000 labelled sentences and adds 500 in each round. It
//! prints a line of JSON for each model, then the curves, and how many chosen labels give the PR-AUC of how many random
//! ones. A fifth of the commenters is held out and judged by every model; labels come only from the others. Each seed
//! holds out other commenters.
#![allow(clippy::expect_used, reason = "a failed measurement ends the program")]

use std::{collections::BTreeSet, fs::File, io::BufReader};

use model::{
    Row,
    corpus::{Format, Item, Reader, split},
    evaluation::Evaluation,
    experiment::{self, Config},
    labelling::{self, Choice, RANDOM_SHARE},
    random::SplitMix,
    trainers,
};
use serde_json::json;

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
/// Sentences that are labelled at the start.
const START: usize = 2000;
/// Sentences that are labelled before the next model is trained.
const ROUND: usize = 500;
/// Sentences at the end.
const END: usize = 12_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [corpus] => choice(&rows(corpus)),
        // `cargo bench` without a corpus; the project does not include one.
        [] => {}
        _ => {
            eprintln!("expected one corpus, not {arguments:?}");
            std::process::exit(2);
        }
    }
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

/// Trains a model on these rows.
fn learn(rows: &[Row]) -> model::Model {
    let trainer = trainers::find("stacked").expect("it is in the table");
    let trained = experiment::train(trainer, rows, &Config::default(), &|_, _| {});
    trained.expect("it can be learned").model
}

fn pr_auc(judged: &[(f64, bool)]) -> f64 {
    Evaluation::of(judged, 0.5).pr_auc
}

fn judged(model: &model::Model, rows: &[Row]) -> Vec<(f64, bool)> {
    experiment::probabilities(model, rows).into_iter().zip(rows.iter().map(Row::is_threat)).collect()
}

/// Judges each sentence without its neighbours, because sentences are labelled one by one here.
fn alone(model: &model::Model, rows: &[Row]) -> Vec<f64> {
    rows.iter().map(|row| model.judge(&row.text).probability).collect()
}

fn choice(rows: &[Row]) {
    let ways = ["random", "chosen"];
    let sizes: Vec<usize> = (START..=END).step_by(ROUND).collect();
    let mut curves = [(); 2].map(|()| vec![0.0; sizes.len()]);
    for seed in SEEDS {
        let (pool, held_out) = split::held_out(seed, rows.to_vec());
        let mut order: Vec<usize> = (0..pool.len()).collect();
        let mut lot = SplitMix(seed);
        for i in 0..order.len() {
            let other = i + lot.below(order.len() - i);
            order.swap(i, other);
        }
        for (way, curve) in ways.into_iter().zip(&mut curves) {
            let mut labelled: BTreeSet<usize> = order[..START].iter().copied().collect();
            for (round, size) in sizes.iter().enumerate() {
                let known: Vec<Row> = labelled.iter().map(|&i| pool[i].clone()).collect();
                let threats = known.iter().filter(|row| row.is_threat()).count();
                let model = learn(&known);
                let pr_auc = pr_auc(&judged(&model, &held_out));
                curve[round] += pr_auc / SEEDS.len() as f64;
                println!("{}", json!({"seed": seed, "way": way, "labels": size, "threats": threats, "pr_auc": pr_auc}));
                if *size == END {
                    break;
                }
                if way == "random" {
                    labelled.extend(&order[START..][round * ROUND..][..ROUND]);
                    continue;
                }
                let unknown: Vec<usize> = (0..pool.len()).filter(|i| !labelled.contains(i)).collect();
                let others: Vec<Row> = unknown.iter().map(|&i| pool[i].clone()).collect();
                let probabilities = alone(&model, &others);
                let choice = Choice { take: ROUND, random_share: RANDOM_SHARE, seed: seed + round as u64 };
                let chosen = labelling::choose(&probabilities, model.threshold(), |i| others[i].text.as_str(), &choice);
                labelled.extend(chosen.into_iter().map(|(i, _)| unknown[i]));
            }
        }
    }
    let [random, chosen] = curves;
    for (i, size) in sizes.iter().enumerate() {
        println!("{size:>6} labels  random {:.4}  chosen {:.4}", random[i], chosen[i]);
    }
    for (i, size) in sizes.iter().enumerate() {
        match chosen.iter().position(|reached| *reached >= random[i]) {
            Some(found) => println!("PR-AUC of {size} random labels: {} chosen ones", sizes[found]),
            None => println!("PR-AUC of {size} random labels: not reached by chosen ones"),
        }
    }
}
