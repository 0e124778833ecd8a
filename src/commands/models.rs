//! `threatwatch models`: what is registered, what was in production, and whether it is all there.

use anyhow::Context;
use model::{Version, evaluation::Figure};
use registry::{ModelManifest, PromotionRecord};
use workflows::steps::{ReproduceRequest, RetentionRequest};

use super::{millis, rfc3339};
use crate::{audited::Act, settings::Settings};

/// What to show, or to do
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Every registered version, newest first
    List,
    /// Everything that is known of a version, as JSON
    Show {
        /// The version
        version: Version,
    },
    /// A version's model card, in Markdown
    Card {
        /// The version
        version: Version,
    },
    /// Every promotion, newest first
    History,
    /// What is in production, or what was at a time
    Production {
        /// A time such as 2026-11-23T10:00:00Z
        #[arg(long, value_name = "TIME", value_parser = millis)]
        at: Option<i64>,
    },
    /// Two versions side by side: figures with intervals, data and parameters
    Compare {
        /// One version
        a: Version,
        /// The other
        b: Version,
    },
    /// Walk the chain of promotions and load every version; fails where anything is wrong
    Verify,
    /// Delete old versions that were never promoted, and what no version names
    Prune {
        /// Say what would be deleted and delete nothing
        #[arg(long)]
        dry_run: bool,
        /// The newest versions, which stay
        #[arg(long, value_name = "NUMBER", default_value_t = RetentionRequest::default().keep)]
        keep: u32,
    },
    /// Train a version again from its manifest and compare the bytes
    Reproduce {
        /// The version
        version: Version,
    },
}

pub(super) async fn run(command: Command, settings: &Settings) -> anyhow::Result<()> {
    let registry = settings.registry().await?;
    match command {
        Command::List => {
            let production = registry.production().await?.map(|promotion| promotion.record.version);
            let manifests = registry.manifests().await?;
            println!(
                "{:<26} {:<16} {:>10} {:>8} {:>16}",
                "version", "trainer", "PR-AUC cv", "F1 cv", "PR-AUC held out"
            );
            for manifest in manifests {
                print(&manifest, production.as_ref() == Some(&manifest.version));
            }
        }
        Command::Card { version } => print!("{}", registry.card(&version).await?),
        Command::Show { version } => {
            let (manifest, _) = registry.manifest(&version).await?;
            println!("{}", serde_json::to_string_pretty(&manifest)?);
        }
        Command::History => {
            for promotion in registry.history().await?.into_iter().rev() {
                print_promotion(&promotion.record);
            }
        }
        Command::Production { at: None } => {
            print_promotion(&registry.production().await?.context("nothing is in production")?.record);
        }
        Command::Production { at: Some(at) } => {
            let found = registry.production_at(at).await?.context("nothing was in production at that time")?;
            print_promotion(&found.record);
        }
        Command::Compare { a, b } => compare(&registry.manifest(&a).await?.0, &registry.manifest(&b).await?.0),
        Command::Verify => {
            let found = registry.verify().await?;
            for problem in &found.problems {
                println!("WRONG {problem}");
            }
            println!("{} generations, {} versions checked", found.generations, found.versions);
            anyhow::ensure!(found.problems.is_empty(), "{} problems", found.problems.len());
        }
        Command::Prune { dry_run, keep } => {
            let request = RetentionRequest { keep, dry_run };
            request.check().map_err(anyhow::Error::msg)?;
            let orchestrator = settings.orchestrator("cli");
            let pruning = async { Ok(orchestrator.prune(request).await?) };
            let pruned = if dry_run {
                pruning.await?
            } else {
                let act = Act { action: "prune", subject: None, reason: None };
                act.on_record(settings, pruning, |pruned| format!("{} versions", pruned.versions.len())).await?
            };
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
                println!("{} objects are marked and go in a day, unless somebody names them", pruned.marked);
            }
            if pruned.was_busy {
                println!("blobs and datasets were left alone: a training run is under way");
            }
        }
        Command::Reproduce { version } => {
            let report = settings.orchestrator("cli").reproduce(ReproduceRequest { version }).await?;
            println!("registered  {} by release {}", report.expected, report.trained_by);
            println!("again       {} by release {}", report.actual, report.reproduced_by);
            anyhow::ensure!(report.identical, "{} cannot be reproduced", report.version);
            println!("{} is reproduced to the byte", report.version);
        }
    }
    Ok(())
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

/// The figures that are compared, and what people call them.
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
