//! `threatwatch dataset`: imports corpora, builds datasets with reviewers' decisions, audits labels.

use std::path::PathBuf;

use anyhow::bail;
use indicatif::ProgressBar;
use model::{
    Digest, Row,
    corpus::split,
    evaluation::{Suspect, suspects},
    experiment::{self, Config, DEFAULT_SEED},
    protocol::Resolve,
    trainers,
};
use registry::{Built, Choice, DatasetManifest, Label};
use serde_json::json;

use super::{answer::Answer, exit::usage, millis};
use crate::{corpus_file, settings::Settings};

/// What to do with corpora and datasets
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    answer: Answer,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Import a corpus (THREAT format, JSONL or CSV); the next training runs use it
    Import {
        /// The file
        file: PathBuf,
    },
    /// Build a dataset from a stored one and reviewers' decisions
    ///
    /// Held-out commenters stay as they are. Decisions on near-copies of their sentences are left out. Train on the
    /// dataset with `threatwatch train --dataset DIGEST`.
    Build {
        /// The dataset to build on; without it the newest imported one
        #[arg(long, value_name = "DIGEST")]
        base: Option<Digest>,
        /// Add reviewers' decisions; this flag is required
        #[arg(long, required = true)]
        with_feedback: bool,
        /// Only decisions from this time on, such as 2026-11-26T08:00:00Z
        #[arg(long, value_name = "TIME", value_parser = millis)]
        since: Option<i64>,
        /// Which decision counts if reviewers disagree: `majority`, `latest` or `drop`
        #[arg(long, value_name = "RULE", default_value = "majority")]
        resolve: Resolve,
        /// Seed that chooses the held-out commenters, as in training
        #[arg(long, default_value_t = DEFAULT_SEED)]
        seed: u64,
    },
    /// Find labels that are likely wrong, with models that were not trained on the sentences
    ///
    /// Correct them with feedback: the next dataset that is built has the reviewer's label.
    Audit {
        /// The dataset
        dataset: Digest,
        /// Trainer of the models that judge
        #[arg(long, value_name = "NAME", default_value = "stacked")]
        trainer: String,
        /// How many labels to show, the most suspicious first
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        take: usize,
        /// Seed that chooses the held-out commenters and the folds
        #[arg(long, default_value_t = DEFAULT_SEED)]
        seed: u64,
        /// Also show the sentences
        #[arg(long)]
        show_text: bool,
    },
}

/// Most sentences of an audited dataset: the models that judge learn from all of its rows.
const MOST_AUDITED: u64 = 500_000;

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    let Arguments { answer, command } = arguments;
    let registry = settings.registry().await?;
    match command {
        Command::Import { file } => {
            let manifest = corpus_file::import(&registry, &file).await?;
            answer.give(&manifest, || show(&manifest))
        }
        Command::Build { base, with_feedback: _, since, resolve, seed } => {
            let base = match base {
                Some(base) => base,
                None => match registry.newest_import().await? {
                    Some(newest) => newest.digest,
                    None => bail!("nothing was imported yet: name a stored dataset with --base"),
                },
            };
            let built = registry.build_dataset(&base, &Choice { since, resolve, seed }).await?;
            answer.give(&report(&built), || show_built(&built))
        }
        Command::Audit { dataset, trainer, take, seed, show_text } => {
            trainers::find(&trainer).map_err(usage)?;
            let manifest = registry.dataset(&dataset).await?;
            if manifest.sentences > MOST_AUDITED {
                bail!("the dataset has {} sentences; up to {MOST_AUDITED} can be audited", manifest.sentences);
            }
            let rows = registry.rows(&manifest).await?;
            let (rows, found) = tokio::task::spawn_blocking(move || audit(rows, &trainer, seed)).await??;
            let shown = Shown { take, seed, show_text };
            answer.give(&suspicion(&rows, &found, &shown), || show_suspects(&rows, &found, &shown))
        }
    }
}

/// Returns the rows, and the rows whose labels are likely wrong.
fn audit(rows: Vec<Row>, trainer: &str, seed: u64) -> anyhow::Result<(Vec<Row>, Vec<Suspect>)> {
    let trainer = trainers::find(trainer)?;
    if trainer.encoder().is_some() {
        bail!("`{}` has an encoder: use a trainer without one, such as `stacked`", trainer.name());
    }
    let config = Config { seed, ..Config::default() };
    let bar = ProgressBar::new(0);
    let trained = experiment::train(trainer, &rows, &config, &|done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let labelled: Vec<(bool, f64)> = rows.iter().map(Row::is_threat).zip(trained.unseen).collect();
    let found = suspects(&labelled);
    Ok((rows, found))
}

struct Shown {
    take: usize,
    seed: u64,
    show_text: bool,
}

fn suspicion(rows: &[Row], found: &[Suspect], shown: &Shown) -> serde_json::Value {
    let suspect = |suspect: &Suspect| {
        let row = &rows[suspect.row];
        let mut told = json!({
            "row": suspect.row + 1,
            "label": Label::from(suspect.is_threat).name(),
            "probability": suspect.probability,
            "held_out": split::is_held_out(shown.seed, &row.commenter),
        });
        if shown.show_text {
            told["text"] = json!(row.text);
        }
        told
    };
    let suspects: Vec<serde_json::Value> = found.iter().take(shown.take).map(suspect).collect();
    json!({ "rows": rows.len(), "suspected": found.len(), "suspects": suspects })
}

fn show_suspects(rows: &[Row], found: &[Suspect], shown: &Shown) {
    println!("{} of {} labels are likely wrong", found.len(), rows.len());
    println!("{:>9}  {:<9} {:>11}", "row", "labelled", "threat by");
    for suspect in found.iter().take(shown.take) {
        let row = &rows[suspect.row];
        let held_out =
            if split::is_held_out(shown.seed, &row.commenter) { "  held out: feedback does not change it" } else { "" };
        let text = if shown.show_text { format!("  {}", row.text) } else { String::new() };
        let percent = format!("{:.1}%", 100.0 * suspect.probability);
        println!("{:>9}  {:<9} {percent:>11}{held_out}{text}", suspect.row + 1, Label::from(suspect.is_threat).name());
    }
}

fn show(manifest: &DatasetManifest) {
    println!("dataset      {}", manifest.digest);
    println!("format       {:?}", manifest.source.format);
    println!(
        "sentences    {} by {} commenters in {} comments",
        manifest.sentences, manifest.commenters, manifest.comments
    );
    println!("threats      {}", manifest.threats);
    println!("quarantined  {}", manifest.quarantined);
    for row in manifest.quarantine.iter().take(20) {
        println!("  line {}: {}", row.line, row.reason);
    }
}

fn show_built(built: &Built) {
    let Built { dataset, provenance, fates, added, threats, corrected } = built;
    println!("dataset      {}", dataset.digest);
    println!("base         {}", provenance.base);
    let reviewers: Vec<&str> = provenance.reviewers.iter().map(String::as_str).collect();
    println!("decisions    {} by {}", provenance.items.len(), reviewers.join(", "));
    println!("added        {added} sentences, {threats} of them threats");
    println!("corrected    {corrected} sentences of the base");
    for (fate, comments) in fates {
        println!("  {:<14} {comments} comments", fate.name());
    }
    if dataset.digest == provenance.base {
        println!("no decision changes the base");
    }
}

fn report(built: &Built) -> serde_json::Value {
    let Built { dataset, provenance, fates, added, threats, corrected } = built;
    let fates: std::collections::BTreeMap<&str, u64> = fates.iter().map(|(fate, n)| (fate.name(), *n)).collect();
    json!({
        "dataset": dataset.digest,
        "added": added,
        "threats": threats,
        "corrected": corrected,
        "comments": fates,
        "provenance": provenance,
    })
}
