//! `threatwatch models`: shows, compares, verifies, deletes and reproduces registered versions.

use std::process::ExitCode;

use anyhow::Context;
use model::{Version, evaluation::Figure, protocol::Pruned};
use registry::{ModelManifest, PromotionRecord, Registry, Verification};
use serde_json::{Value, json};
use workflows::steps::{ReproduceReport, ReproduceRequest, RetentionRequest};

use super::{
    answer::Answer,
    exit::{self, usage},
    millis, rfc3339,
};
use crate::{audited::Act, settings::Settings};

/// What to do with the registered versions
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    answer: Answer,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List every registered version, newest first
    List,
    /// Show the manifest of a version, as JSON
    Show {
        /// The version
        version: Version,
    },
    /// Show the model card of a version, in Markdown
    Card {
        /// The version
        version: Version,
    },
    /// List every promotion, newest first
    History,
    /// Show the version that is in production, or was at a given time
    Production {
        /// A time such as 2026-11-23T10:00:00Z
        #[arg(long, value_name = "TIME", value_parser = millis)]
        at: Option<i64>,
    },
    /// Compare two versions: figures with intervals, data and parameters
    Compare {
        /// One version
        a: Version,
        /// The other
        b: Version,
    },
    /// Check the chain of promotions and load every version; fails if anything is wrong
    Verify,
    /// Delete old versions that were never promoted, and data that no version uses
    Prune {
        /// Show what would be deleted, but delete nothing
        #[arg(long)]
        dry_run: bool,
        /// How many of the newest versions to keep
        #[arg(long, value_name = "NUMBER", default_value_t = RetentionRequest::default().keep)]
        keep: u32,
    },
    /// Train a version again from its manifest and compare the bytes
    Reproduce {
        /// The version
        version: Version,
    },
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let Arguments { answer, command } = arguments;
    match command {
        Command::Verify => {
            let found = settings.registry().await?.verify().await?;
            answer.give(&verification(&found), || print_verification(&found))?;
            Ok(exit::answer(found.problems.is_empty()))
        }
        Command::Prune { dry_run, keep } => {
            let pruned = prune(RetentionRequest { keep, dry_run }, settings).await?;
            answer.give(&pruning(&pruned, dry_run), || print_pruned(&pruned, dry_run))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Reproduce { version } => {
            let report = settings.orchestrator("cli").reproduce(ReproduceRequest { version }).await?;
            answer.give(&report, || print_reproduction(&report))?;
            Ok(exit::answer(report.identical))
        }
        command => {
            show(command, &settings.registry().await?, answer).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs a command that only reads.
async fn show(command: Command, registry: &Registry, answer: Answer) -> anyhow::Result<()> {
    match command {
        Command::List => {
            let production = registry.production().await?.map(|promotion| promotion.record.version);
            let manifests = registry.manifests().await?;
            answer.give(&json!({ "production": production, "models": manifests }), || {
                println!(
                    "{:<26} {:<16} {:>10} {:>8} {:>16}",
                    "version", "trainer", "PR-AUC cv", "F1 cv", "PR-AUC held out"
                );
                for manifest in &manifests {
                    print(manifest, production.as_ref() == Some(&manifest.version));
                }
            })
        }
        Command::Card { version } => {
            let card = registry.card(&version).await?;
            answer.give(&json!({ "version": version, "card": card }), || print!("{card}"))
        }
        Command::Show { version } => {
            let (manifest, _) = registry.manifest(&version).await?;
            // The manifest is always printed as JSON.
            Answer { json: true }.give(&manifest, || {})
        }
        Command::History => {
            let mut history = registry.history().await?;
            history.reverse();
            let promotions: Vec<Value> = history.iter().map(|found| promotion(&found.record)).collect();
            answer.give(&json!({ "promotions": promotions }), || {
                for found in &history {
                    print_promotion(&found.record);
                }
            })
        }
        Command::Production { at } => {
            let found = match at {
                None => registry.production().await?.context("nothing is in production")?,
                Some(at) => registry.production_at(at).await?.context("nothing was in production at that time")?,
            };
            answer.give(&promotion(&found.record), || print_promotion(&found.record))
        }
        Command::Compare { a, b } => {
            let (a, b) = (registry.manifest(&a).await?.0, registry.manifest(&b).await?.0);
            answer.give(&comparison(&a, &b), || compare(&a, &b))
        }
        Command::Verify | Command::Prune { .. } | Command::Reproduce { .. } => unreachable!("these do not only read"),
    }
}

async fn prune(request: RetentionRequest, settings: &Settings) -> anyhow::Result<Pruned> {
    request.check().map_err(usage)?;
    let is_dry = request.dry_run;
    let orchestrator = settings.orchestrator("cli");
    let pruning = async { Ok(orchestrator.prune(request).await?) };
    if is_dry {
        return pruning.await;
    }
    let act = Act { action: "prune", subject: None, reason: None };
    act.on_record(settings, pruning, |pruned| format!("{} versions", pruned.versions.len())).await
}

/// A promotion in the API's form.
fn promotion(record: &PromotionRecord) -> Value {
    json!({
        "version": record.version,
        "generation": record.generation,
        "previous": record.previous,
        "actor": record.actor,
        "reason": record.reason,
        "forced": record.forced,
        "at": rfc3339(record.at),
    })
}

/// The comparison of two versions in the API's form, with intervals.
fn comparison(a: &ModelManifest, b: &ModelManifest) -> Value {
    let differences: Vec<Value> =
        a.differences(b).into_iter().map(|(fact, a, b)| json!({ "fact": fact, "a": a, "b": b })).collect();
    let figures: Vec<Value> = a
        .figures_beside(b)
        .into_iter()
        .map(|(rows, pair)| {
            json!({
                "rows": rows,
                "unit": pair.unit,
                "figure": pair.figure,
                "a": pair.a.value,
                "b": pair.b.value,
                "a_interval": pair.a.interval,
                "b_interval": pair.b.interval,
                "difference": pair.b.value - pair.a.value,
                "intervals_overlap": pair.intervals_overlap(),
            })
        })
        .collect();
    json!({ "a": a, "b": b, "differences": differences, "figures": figures })
}

fn verification(found: &Verification) -> Value {
    json!({ "generations": found.generations, "versions": found.versions, "problems": found.problems })
}

fn print_verification(found: &Verification) {
    for problem in &found.problems {
        println!("WRONG {problem}");
    }
    println!("{} generations, {} versions checked", found.generations, found.versions);
}

fn pruning(pruned: &Pruned, dry_run: bool) -> Value {
    let mut told = json!(pruned);
    told["dry_run"] = json!(dry_run);
    told
}

fn print_pruned(pruned: &Pruned, dry_run: bool) {
    for version in &pruned.versions {
        println!("{version}");
    }
    println!(
        "{}: {} versions, {} blobs, {} datasets, {} bytes",
        if dry_run { "would be deleted" } else { "deleted" },
        pruned.versions.len(),
        pruned.blobs,
        pruned.datasets,
        pruned.bytes
    );
    if pruned.marked > 0 {
        println!("{} objects are marked: they are deleted in a day unless something uses them by then", pruned.marked);
    }
    if pruned.was_busy {
        println!("blobs and datasets were not touched: a training run is under way");
    }
}

fn print_reproduction(report: &ReproduceReport) {
    println!("registered  {} by release {}", report.expected, report.trained_by);
    println!("again       {} by release {}", report.actual, report.reproduced_by);
    if report.identical {
        println!("{} is reproduced to the byte", report.version);
    } else {
        println!("{} cannot be reproduced", report.version);
    }
}

fn print_promotion(record: &PromotionRecord) {
    let at = rfc3339(record.at);
    let forced = if record.forced { "  FORCED" } else { "" };
    println!("{:>6}  {}  {at}  {:<20} {}{forced}", record.generation.0, record.version, record.actor, record.reason);
}

fn compare(a: &ModelManifest, b: &ModelManifest) {
    println!("{:<44} {:<26} {:<26}", "", a.version, b.version);
    for (fact, a, b) in a.differences(b) {
        println!("{fact:<44} {a:<26.26} {b:<26.26}");
    }
    let pairs = a.figures_beside(b);
    for of_unit in pairs.chunk_by(|(rows, pair), (next, after)| (rows, pair.unit) == (next, after.unit)) {
        for (figure, name) in FIGURES {
            let found = of_unit.iter().find(|(_, pair)| pair.figure == figure);
            let (rows, pair) = found.expect("each evaluation has every figure");
            let rows = if *rows == "held_out" { "held out" } else { "cross-validation" };
            let what = format!("{rows}, {}s: {name}", pair.unit);
            println!("{what:<44} {:<26} {:<26}", shown(pair.a), shown(pair.b));
        }
    }
}

/// The compared figures and their names in the output.
const FIGURES: [(&str, &str); 5] =
    [("pr_auc", "PR-AUC"), ("f1", "F1"), ("recall_at_fpr_5", "recall at 5% FPR"), ("brier", "Brier"), ("ece", "ECE")];

fn shown(Figure { value, interval }: Figure) -> String {
    interval.map_or_else(|| format!("{value:.3}"), |[low, high]| format!("{value:.3} [{low:.3}, {high:.3}]"))
}

fn print(manifest: &ModelManifest, in_production: bool) {
    let (cv, held_out) = (&manifest.cross_validation.sentence, &manifest.held_out.sentence);
    let mark = if in_production { "  in production" } else { "" };
    println!(
        "{:<26} {:<16} {:>10.3} {:>8.3} {:>16.3}{mark}",
        manifest.version, manifest.trainer, cv.pr_auc, cv.f1, held_out.pr_auc
    );
}

#[cfg(test)]
mod tests {
    use model::{Generation, protocol::PromoteInput};

    use super::*;
    use crate::chosen_model::tests::registered;

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[tokio::test]
    async fn what_is_told_as_json_is_what_the_documentation_says() {
        let (registry, _, version) = registered().await;
        let input = PromoteInput {
            version: version.clone(),
            expected_generation: None,
            change_id: "change".to_owned(),
            actor: "mona".to_owned(),
            reason: "first".to_owned(),
            gate: None,
            forced: false,
        };
        registry.promote(&input, 1_000).await.unwrap();
        let record = registry.production().await.unwrap().unwrap().record;
        let told = promotion(&record);
        assert_eq!(keys(&told), ["actor", "at", "forced", "generation", "previous", "reason", "version"]);
        assert_eq!((&told["at"], &told["generation"]), (&json!("1970-01-01T00:00:01Z"), &json!(Generation(1))));

        let manifest = registry.manifest(&version).await.unwrap().0;
        let other = ModelManifest { seed: 7, ..manifest.clone() };
        let told = comparison(&manifest, &other);
        assert_eq!(keys(&told), ["a", "b", "differences", "figures"]);
        assert_eq!(told["differences"], json!([{ "fact": "seed", "a": "42", "b": "7" }]));
        assert_eq!(told["figures"].as_array().unwrap().len(), 32, "eight figures of two units of two kinds of rows");
        assert!(told["figures"][0]["a_interval"][1].is_number() && told["figures"][0]["difference"] == 0.0);

        let found = registry.verify().await.unwrap();
        assert_eq!(verification(&found), json!({ "generations": 1, "versions": 1, "problems": [] }));
        let pruned = pruning(&Pruned::default(), true);
        let names = ["blobs", "bytes", "datasets", "dry_run", "marked", "versions", "was_busy"];
        assert_eq!(keys(&pruned), names);
    }
}
