//! `threatwatch promote` and `threatwatch rollback`.

use model::{
    Generation, Version,
    steps::{Outcome, PromoteReport, PromoteRequest, RollbackRequest},
};

use super::current_user;
use crate::settings::Settings;

/// What to promote
#[derive(Debug, clap::Args)]
pub(super) struct PromoteArguments {
    /// The version, as `threatwatch models list` shows it
    version: Version,
    /// Refuse if production is not at this generation
    #[arg(long)]
    expected_generation: Option<u64>,
    /// Do everything but the write
    #[arg(long)]
    dry_run: bool,
    /// Why, for the history
    #[arg(long)]
    reason: Option<String>,
}

/// Where to go back to
#[derive(Debug, clap::Args)]
pub(super) struct RollbackArguments {
    /// The version; without it the newest in the history that is not in production
    #[arg(long)]
    to: Option<Version>,
    /// Why, for the history
    #[arg(long)]
    reason: Option<String>,
}

pub(super) async fn promote(arguments: PromoteArguments, settings: &Settings) -> anyhow::Result<()> {
    let request = PromoteRequest {
        version: arguments.version,
        expected_generation: arguments.expected_generation.map(Generation),
        dry_run: arguments.dry_run,
        actor: current_user(),
        reason: arguments.reason,
    };
    request.check().map_err(anyhow::Error::msg)?;
    let orchestrator = settings.orchestrator("cli");
    let started = orchestrator.promote(request).await?;
    print(&orchestrator.promoted(&started).await?);
    Ok(())
}

pub(super) async fn roll_back(arguments: RollbackArguments, settings: &Settings) -> anyhow::Result<()> {
    let request = RollbackRequest { to: arguments.to, actor: current_user(), reason: arguments.reason };
    request.check().map_err(anyhow::Error::msg)?;
    let orchestrator = settings.orchestrator("cli");
    let started = orchestrator.roll_back(request).await?;
    print(&orchestrator.rolled_back(&started).await?);
    Ok(())
}

fn print(report: &PromoteReport) {
    for finding in report.gate.iter().flat_map(|gate| &gate.checks) {
        let result = if finding.passed { "pass" } else { "FAIL" };
        println!("{result} {:<18} {}", finding.check, finding.meaning);
    }
    let generation = report.generation.map_or_else(|| "none".to_owned(), |generation| generation.to_string());
    match report.outcome {
        Outcome::Promoted => println!("{} is in production, generation {generation}", report.version),
        Outcome::AlreadyLive => println!("{} was in production already, generation {generation}", report.version),
        Outcome::DryRun => {
            println!("{} would be promoted after generation {generation}; nothing was written", report.version);
        }
    }
}
