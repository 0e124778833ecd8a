//! `threatwatch promote`, `rollback`, `approve` and `reject`.

use std::process::ExitCode;

use model::{Generation, Version, backtest::Backtest};
use serde::Serialize;
use serde_json::json;
use workflows::{
    orchestrator::Started,
    steps::{Gated, Outcome, PromoteReport, PromoteRequest, Replicas, RollbackRequest, Say},
};

use super::{
    answer::Answer,
    backtest::summary,
    exit::{self, usage},
};
use crate::{
    audited::{Act, actor, current_user},
    settings::Settings,
};

/// What to promote
#[derive(Debug, clap::Args)]
pub(super) struct PromoteArguments {
    /// The version, as shown by `threatwatch models list`
    version: Version,
    /// Refuse if production is not at this generation
    #[arg(long)]
    expected_generation: Option<u64>,
    /// Check everything and report, but change nothing
    #[arg(long)]
    dry_run: bool,
    /// Promote even if the gate refuses; needs --reason
    #[arg(long, requires = "reason")]
    force: bool,
    /// The reason, for the history
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

/// A run that waits for approval
#[derive(Debug, clap::Args)]
pub(super) struct SayArguments {
    /// Workflow id of the run
    workflow_id: String,
    /// The reason, for the history
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    answer: Answer,
}

/// The version to go back to
#[derive(Debug, clap::Args)]
pub(super) struct RollbackArguments {
    /// Version to go back to; without it the newest one in the history that is not in production
    #[arg(long)]
    to: Option<Version>,
    /// The reason, for the history
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

/// A promotion or a rollback: its workflow and its result.
#[derive(Debug, Serialize)]
struct Told<'a> {
    workflow_id: &'a str,
    run_id: &'a str,
    #[serde(flatten)]
    report: &'a PromoteReport,
    /// The newest backtest of the candidate, after a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    backtest: Option<&'a Backtest>,
}

pub(super) async fn promote(arguments: PromoteArguments, settings: &Settings) -> anyhow::Result<ExitCode> {
    let answer = arguments.answer;
    let request = PromoteRequest {
        version: arguments.version,
        expected_generation: arguments.expected_generation.map(Generation),
        dry_run: arguments.dry_run,
        force: arguments.force,
        actor: current_user(),
        reason: arguments.reason,
    };
    request.check().map_err(usage)?;
    let orchestrator = settings.orchestrator("cli");
    let forces = request.force;
    let act =
        Act { action: request.action(), subject: Some(request.version.to_string()), reason: request.reason.as_deref() };
    let promoting = async {
        let started = orchestrator.promote(request.clone()).await?;
        Ok((orchestrator.promoted(&started).await?, started))
    };
    let (report, started) = act.on_record(settings, promoting, |(_, started)| started.to_string()).await?;
    let newest =
        if report.outcome == Outcome::DryRun { newest_backtest(&request.version, settings).await } else { None };
    tell(&report, &started, newest.as_ref(), answer)?;
    let would_be_refused = !forces && report.outcome == Outcome::DryRun && report.gate.is_some_and(|gate| !gate.passed);
    if would_be_refused {
        eprintln!("the gate would refuse this version");
    }
    Ok(exit::answer(!would_be_refused))
}

fn tell(report: &PromoteReport, started: &Started, backtest: Option<&Backtest>, answer: Answer) -> anyhow::Result<()> {
    let told = Told { workflow_id: &started.workflow_id, run_id: &started.run_id, report, backtest };
    answer.give(&told, || {
        print(report);
        if let Some(backtest) = backtest {
            println!("{}", summary(backtest));
        }
    })
}

pub(super) async fn roll_back(arguments: RollbackArguments, settings: &Settings) -> anyhow::Result<()> {
    let answer = arguments.answer;
    let request = RollbackRequest { to: arguments.to, actor: current_user(), reason: arguments.reason };
    request.check().map_err(usage)?;
    let orchestrator = settings.orchestrator("cli");
    let act = Act {
        action: "roll_back",
        subject: request.to.as_ref().map(ToString::to_string),
        reason: request.reason.as_deref(),
    };
    let rolling_back = async {
        let started = orchestrator.roll_back(request.clone()).await?;
        Ok((orchestrator.rolled_back(&started).await?, started))
    };
    let (report, started) = act.on_record(settings, rolling_back, |(_, started)| started.to_string()).await?;
    tell(&report, &started, None, answer)
}

/// Approves or rejects the promotion for which a training run waits.
pub(super) async fn say(arguments: SayArguments, approves: bool, settings: &Settings) -> anyhow::Result<()> {
    let say = Say { actor: actor(), reason: arguments.reason };
    say.check().map_err(usage)?;
    let orchestrator = settings.orchestrator("cli");
    let act = Act {
        action: if approves { "approve" } else { "reject" },
        subject: Some(arguments.workflow_id.clone()),
        reason: Some(&say.reason),
    };
    let saying = async {
        Ok(if approves {
            orchestrator.approve(&arguments.workflow_id, say.clone()).await?
        } else {
            orchestrator.reject(&arguments.workflow_id, say.clone()).await?
        })
    };
    let outcome = act.on_record(settings, saying, Clone::clone).await?;
    let told = json!({ "workflow_id": arguments.workflow_id, "outcome": outcome });
    arguments.answer.give(&told, || println!("{} is {outcome}", arguments.workflow_id))
}

/// The newest backtest of a candidate, if there is one. The dry run is valid without it.
async fn newest_backtest(version: &Version, settings: &Settings) -> Option<Backtest> {
    let reading = async { Ok::<_, anyhow::Error>(settings.registry().await?.backtests(version).await?) };
    match reading.await {
        Ok(found) => found.into_iter().next(),
        Err(error) => {
            eprintln!("! the backtests cannot be read: {error:#}");
            None
        }
    }
}

/// Prints the gate's report, one line per check.
pub(super) fn print_gate(gate: &Gated) {
    for finding in &gate.checks {
        let result = if finding.passed { "pass" } else { "FAIL" };
        println!("{result} {:<21} {}", finding.check, finding.meaning);
    }
    let rows = |rows: &[u64]| rows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if gate.flips.missed > 0 {
        println!("     {} threats newly missed: rows {}", gate.flips.missed, rows(&gate.flips.missed_rows));
    }
    if gate.flips.flagged > 0 {
        println!("     {} others newly flagged: rows {}", gate.flips.flagged, rows(&gate.flips.flagged_rows));
    }
}

/// Prints which replicas serve the promoted version.
pub(super) fn print_replicas(replicas: &Replicas) {
    match &replicas.unknown {
        Some(reason) => println!("! it is unknown which replicas serve it: {reason}"),
        None => println!("served by {} replicas", replicas.reported.len()),
    }
    for replica in &replicas.missing {
        println!("! {replica} is running, but does not serve it yet");
    }
}

fn print(report: &PromoteReport) {
    if let Some(gate) = &report.gate {
        print_gate(gate);
    }
    let generation = report.generation.map_or_else(|| "none".to_owned(), |generation| generation.to_string());
    match report.outcome {
        Outcome::Promoted => println!("{} is in production, generation {generation}", report.version),
        Outcome::AlreadyLive => println!("{} is in production already, generation {generation}", report.version),
        Outcome::DryRun if report.gate.as_ref().is_none_or(|gate| gate.passed) => {
            println!("{} would be promoted after generation {generation}; nothing was written", report.version);
        }
        Outcome::DryRun => println!("the gate refuses {}; nothing was written", report.version),
    }
    if let Some(replicas) = &report.replicas {
        print_replicas(replicas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promotion_is_told_with_its_workflow() {
        let report = PromoteReport {
            outcome: Outcome::AlreadyLive,
            version: Version::parse("20261123T021009Z-3f9c2a1b").unwrap(),
            generation: Some(Generation(3)),
            previous: None,
            gate: None,
            replicas: None,
        };
        let told = Told { workflow_id: "promote-production", run_id: "run", report: &report, backtest: None };
        let expected = json!({
            "workflow_id": "promote-production",
            "run_id": "run",
            "outcome": "already_live",
            "version": "20261123T021009Z-3f9c2a1b",
            "generation": 3,
            "previous": null,
            "gate": null,
            "replicas": null,
        });
        assert_eq!(serde_json::to_value(&told).unwrap(), expected);
    }
}
