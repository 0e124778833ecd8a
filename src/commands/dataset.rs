//! `threatwatch dataset`: corpora into the registry, and datasets with what reviewers decided.

use std::path::PathBuf;

use anyhow::bail;
use model::{Digest, experiment::DEFAULT_SEED, protocol::Resolve};
use registry::{Built, Choice, DatasetManifest};
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{corpus_file, settings::Settings};

/// What to do with a corpus
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Import a corpus (THREAT format, JSONL or CSV); the next training runs use it
    Import {
        /// The file
        file: PathBuf,
    },
    /// Build a dataset from a stored one and from what reviewers decided
    ///
    /// Held-out commenters stay as they are, and what nearly repeats their sentences is left out. Train on it with
    /// `threatwatch train --dataset DIGEST`.
    Build {
        /// The dataset to build on; the newest imported one unless told
        #[arg(long, value_name = "DIGEST")]
        base: Option<Digest>,
        /// Add what reviewers decided: the only thing that there is to add
        #[arg(long, required = true)]
        with_feedback: bool,
        /// Only decisions from this moment on, such as 2026-11-26T08:00:00Z
        #[arg(long, value_name = "TIME", value_parser = moment)]
        since: Option<i64>,
        /// What counts where reviewers differ: `majority`, `latest` or `drop`
        #[arg(long, value_name = "RULE", default_value = "majority")]
        resolve: Resolve,
        /// Decides the held-out commenters, as in training
        #[arg(long, default_value_t = DEFAULT_SEED)]
        seed: u64,
        /// Print the report as JSON, with what became of each decision
        #[arg(long)]
        json: bool,
    },
}

/// Milliseconds since 1970.
fn moment(text: &str) -> Result<i64, String> {
    let at = OffsetDateTime::parse(text, &Rfc3339);
    let at = at.map_err(|_| "it is no moment such as 2026-11-26T08:00:00Z".to_owned())?;
    Ok((at.unix_timestamp_nanos() / 1_000_000) as i64)
}

pub(super) async fn run(command: Command, settings: &Settings) -> anyhow::Result<()> {
    let registry = settings.registry().await?;
    match command {
        Command::Import { file } => show(&corpus_file::import(&registry, &file).await?),
        Command::Build { base, with_feedback: _, since, resolve, seed, json } => {
            let base = match base {
                Some(base) => base,
                None => match registry.newest_import().await? {
                    Some(newest) => newest.digest,
                    None => bail!("nothing was imported yet: name a stored dataset with --base"),
                },
            };
            let built = registry.build_dataset(&base, &Choice { since, resolve, seed }).await?;
            if json {
                println!("{}", serde_json::to_string_pretty(&report(&built))?);
            } else {
                show_built(&built);
            }
        }
    }
    Ok(())
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
