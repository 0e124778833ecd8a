//! `/promote` and `/rollback`: start a workflow and wait for a bounded time.

use std::time::Duration;

use model::{Generation, Version};
use poem_openapi::{Object, OpenApi, payload::Json};
use workflows::{
    orchestrator::{Error, Started},
    steps::{Outcome, PromoteReport, PromoteRequest, RollbackRequest},
};

use super::{
    Tag, answers,
    backtests::BacktestSummary,
    runs::{Run, answered_in_time},
};
use crate::{
    audit::{self, Recorded},
    body::Body,
    caller::{By, Operate},
    context::Context,
    problem::Problem,
};

/// Time limit of the wait.
/// A promotion takes a second or two. After this time the caller gets a link.
const PATIENCE: Duration = Duration::from_secs(25);
/// Time limit to ask a running promotion what it does.
const ASKING: Duration = Duration::from_secs(1);
/// Time limit until a promotion is live. The usual time is below two seconds.
const LIVE: Duration = Duration::from_secs(3);

pub(crate) struct Promotion(pub(crate) Context);

/// A promotion.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct PromoteBody {
    /// The version to promote.
    version: String,
    /// Refuse with 409 if production is not at this generation.
    expected_generation: Option<u64>,
    /// Run every check and report, but change nothing.
    #[oai(default)]
    dry_run: bool,
    /// Promote even if the gate refuses. Needs a `reason`, which the history keeps.
    #[oai(default)]
    force: bool,
    /// Who promotes, for the history. With an API key, the key's name.
    #[oai(validator(max_length = 500))]
    actor: Option<String>,
    /// Why, for the history.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

/// A rollback. Every field is optional.
#[derive(Debug, Default, Object)]
#[oai(deny_unknown_fields)]
struct RollbackBody {
    /// The version to go back to.
    /// The default is the newest one in the history that is not in production.
    to: Option<String>,
    /// Who rolls back, for the history. With an API key, the key's name.
    #[oai(validator(max_length = 500))]
    actor: Option<String>,
    /// Why, for the history.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

/// The outcome of a promotion or rollback.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct PromotionAnswer {
    /// `promoted`, `already_live` or `dry_run`.
    outcome: String,
    /// The version that was requested or rolled back to.
    version: String,
    /// The newest generation.
    generation: Option<u64>,
    /// The version that was in production before.
    previous: Option<String>,
    /// The gate's report. None for a rollback.
    gate: Option<Gate>,
    /// Whether this replica already answers with that generation.
    live: bool,
    /// Which replicas answer with that generation.
    replicas: Option<ReplicaReport>,
    /// For a dry run: the newest backtest of the version, if there is one.
    backtest: Option<BacktestSummary>,
}

/// Which replicas answer with a generation.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct ReplicaReport {
    /// Replicas that reported it.
    reported: Vec<String>,
    /// Replicas that are running but did not report it in time.
    missing: Vec<String>,
    /// Why the reports could not be read, if so.
    /// The promotion is done all the same.
    unknown: Option<String>,
}

/// The gate's report.
#[derive(Debug, Object)]
struct Gate {
    /// Whether every check passed.
    passed: bool,
    /// Every check.
    checks: Vec<Check>,
    /// Held-out sentences that get worse.
    flips: GateFlips,
}

/// Held-out sentences that production decides correctly and this version does not.
/// Rows are numbered from 0.
#[derive(Debug, Object)]
struct GateFlips {
    /// Threats that would be missed.
    missed: u64,
    /// The first fifty of these rows.
    missed_rows: Vec<u64>,
    /// Harmless sentences that would be flagged.
    flagged: u64,
    /// The first fifty of these rows.
    flagged_rows: Vec<u64>,
}

/// A check of the gate.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Check {
    /// Its name.
    check: String,
    /// Whether the value is within the bound.
    passed: bool,
    /// The measured value.
    value: f64,
    /// The lower bound, if the check has one.
    at_least: Option<f64>,
    /// The upper bound, if the check has one.
    at_most: Option<f64>,
    /// What the check means.
    meaning: String,
}

answers! {
    /// Answers of `POST /promote` and `POST /rollback`.
    PromoteOutcome {
        /// It is done.
        #[oai(status = 200)]
        Done(Json<PromotionAnswer>),
        /// It is still running. `temporal_url` shows it.
        #[oai(status = 202)]
        Running(Json<Run>),
    }
}
#[OpenApi(tag = "Tag::Operations")]
impl Promotion {
    /// Promote a version to production, if the gate passes.
    #[oai(path = "/promote", method = "post")]
    async fn promote(&self, by: By<Operate>, body: Body<PromoteBody>) -> PromoteOutcome {
        self.try_to_promote(&by, body.0).await.unwrap_or_else(Into::into)
    }

    /// Roll back to the previous version, or to a named one.
    #[oai(path = "/rollback", method = "post")]
    async fn roll_back(&self, by: By<Operate>, body: Body<RollbackBody>) -> PromoteOutcome {
        self.try_to_roll_back(&by, body.0).await.unwrap_or_else(Into::into)
    }
}

impl Promotion {
    async fn try_to_promote(&self, by: &By<Operate>, body: PromoteBody) -> Result<PromoteOutcome, Problem> {
        let request = promote_request(body, by).map_err(Problem::invalid)?;
        let deed = audit::Request {
            caller: &by.caller,
            actor: request.actor.as_deref(),
            action: request.action(),
            subject: Some(request.version.to_string()),
            reason: request.reason.as_deref(),
        };
        let recorded = self.begin(deed).await?;
        let orchestrator = &self.0.orchestrator;
        match self.started(answered_in_time(&self.0, orchestrator.promote(request)).await).await {
            Ok(started) => {
                let result = self.wait(orchestrator.promoted(&started)).await;
                self.finish(recorded, started, result).await
            }
            Err(problem) => Err(recorded.refused(problem).await),
        }
    }

    async fn try_to_roll_back(&self, by: &By<Operate>, body: RollbackBody) -> Result<PromoteOutcome, Problem> {
        let request = rollback_request(body, by).map_err(Problem::invalid)?;
        let deed = audit::Request {
            caller: &by.caller,
            actor: request.actor.as_deref(),
            action: "roll_back",
            subject: request.to.as_ref().map(ToString::to_string),
            reason: request.reason.as_deref(),
        };
        let recorded = self.begin(deed).await?;
        let orchestrator = &self.0.orchestrator;
        match self.started(answered_in_time(&self.0, orchestrator.roll_back(request)).await).await {
            Ok(started) => {
                let result = self.wait(orchestrator.rolled_back(&started)).await;
                self.finish(recorded, started, result).await
            }
            Err(problem) => Err(recorded.refused(problem).await),
        }
    }

    /// Refuses if the store lacks a guarantee or a part is away. Records the action.
    async fn begin(&self, deed: audit::Request<'_>) -> Result<Recorded<'_>, Problem> {
        self.0.ask_store(self.0.trust.require()).await?;
        self.0.require_temporal()?;
        self.0.record(deed).await
    }

    /// The started workflow, or why none was started, with a description of the running one.
    async fn started(&self, started: Result<Started, Error>) -> Result<Started, Problem> {
        let (workflow_id, run_id) = match started {
            Ok(started) => return Ok(started),
            Err(Error::AlreadyRunning { workflow_id, run_id, .. }) => (workflow_id, run_id),
            Err(error) => return Err(error.into()),
        };
        let asking = self.0.orchestrator.who_is_there(&workflow_id);
        // Without a worker there is no answer. The refusal is sent all the same.
        let what = tokio::time::timeout(ASKING, asking).await.unwrap_or_default();
        Err(Error::AlreadyRunning { workflow_id, run_id, what }.into())
    }

    /// Waits for a result.
    /// None if it takes too long, Temporal goes away, or this service stops.
    fn wait<T>(
        &self,
        result: impl Future<Output = Result<T, Error>>,
    ) -> impl Future<Output = Option<Result<T, Error>>> {
        let result = self.0.temporal.guard(result);
        let mut stopping = self.0.stopping.clone();
        async move {
            tokio::select! {
                result = result => result.ok(),
                () = tokio::time::sleep(PATIENCE) => None,
                _ = stopping.wait_for(|stopping| *stopping) => None,
            }
        }
    }

    async fn finish(
        &self,
        recorded: Recorded<'_>,
        started: Started,
        result: Option<Result<PromoteReport, Error>>,
    ) -> Result<PromoteOutcome, Problem> {
        match result {
            None => {
                recorded.ended("started", started.to_string()).await;
                Ok(PromoteOutcome::Running(Json(Run::new(started, &self.0))))
            }
            Some(Err(error)) => Err(recorded.refused(error.into()).await),
            Some(Ok(report)) => {
                recorded.ended("done", started.to_string()).await;
                let live = match report.generation {
                    Some(generation) if report.outcome != Outcome::DryRun => {
                        self.0.serving.reaches(generation, LIVE).await
                    }
                    _ => false,
                };
                let backtest = match report.outcome {
                    Outcome::DryRun => self.newest_backtest(&report.version).await,
                    Outcome::Promoted | Outcome::AlreadyLive => None,
                };
                Ok(PromoteOutcome::Done(Json(PromotionAnswer { backtest, ..answer(report, live) })))
            }
        }
    }
}

impl Promotion {
    /// None also if the store does not answer: the dry run is done all the same.
    async fn newest_backtest(&self, version: &Version) -> Option<BacktestSummary> {
        let found = self.0.ask_store(self.0.registry.backtests(version)).await.unwrap_or_default();
        found.into_iter().next().map(Into::into)
    }
}

fn promote_request(body: PromoteBody, by: &By<Operate>) -> Result<PromoteRequest, String> {
    let version = Version::parse(&body.version).map_err(|error| format!("`version`: {error}"))?;
    let expected_generation = body.expected_generation.map(Generation);
    let request = PromoteRequest {
        version,
        expected_generation,
        dry_run: body.dry_run,
        force: body.force,
        actor: by.caller.actor(body.actor),
        reason: body.reason,
    };
    request.check()?;
    Ok(request)
}

fn rollback_request(body: RollbackBody, by: &By<Operate>) -> Result<RollbackRequest, String> {
    let to = body.to.map(|text| Version::parse(&text)).transpose().map_err(|error| format!("`to`: {error}"))?;
    let request = RollbackRequest { to, actor: by.caller.actor(body.actor), reason: body.reason };
    request.check()?;
    Ok(request)
}

fn answer(report: PromoteReport, live: bool) -> PromotionAnswer {
    let outcome = match report.outcome {
        Outcome::Promoted => "promoted",
        Outcome::AlreadyLive => "already_live",
        Outcome::DryRun => "dry_run",
    };
    let gate = report.gate.map(|gate| Gate {
        passed: gate.passed,
        checks: gate
            .checks
            .into_iter()
            .map(|finding| Check {
                check: finding.check,
                passed: finding.passed,
                value: finding.value,
                at_least: finding.at_least,
                at_most: finding.at_most,
                meaning: finding.meaning,
            })
            .collect(),
        flips: GateFlips {
            missed: gate.flips.missed,
            missed_rows: gate.flips.missed_rows,
            flagged: gate.flips.flagged,
            flagged_rows: gate.flips.flagged_rows,
        },
    });
    let replicas = report.replicas.map(|replicas| ReplicaReport {
        reported: replicas.reported,
        missing: replicas.missing,
        unknown: replicas.unknown,
    });
    PromotionAnswer {
        outcome: outcome.to_owned(),
        version: report.version.to_string(),
        generation: report.generation.map(|generation| generation.0),
        previous: report.previous.map(|version| version.to_string()),
        gate,
        live,
        replicas,
        backtest: None,
    }
}
