//! `/promote` and `/rollback`: workflows, started and waited for a bounded time.

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

/// A promotion takes a second or two; past this the caller gets a link instead.
const PATIENCE: Duration = Duration::from_secs(25);
/// What a running promotion does is told within this time or not at all.
const ASKING: Duration = Duration::from_secs(1);
/// A promotion is live within two seconds.
const LIVE: Duration = Duration::from_secs(3);

pub(crate) struct Promotion(pub(crate) Context);

/// What to promote.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct PromoteBody {
    /// The version.
    version: String,
    /// Refuse (409) if production is not at this generation.
    expected_generation: Option<u64>,
    /// Do everything but the write, and report.
    #[oai(default)]
    dry_run: bool,
    /// Promote although the gate refuses it; needs a reason, which the history keeps.
    #[oai(default)]
    force: bool,
    /// Who asks, for the history; with an API key it is the key's name.
    #[oai(validator(max_length = 500))]
    actor: Option<String>,
    /// Why, for the history.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

/// Where to go back to; every field is optional.
#[derive(Debug, Default, Object)]
#[oai(deny_unknown_fields)]
struct RollbackBody {
    /// The version; without it the newest in the history that is not in production.
    to: Option<String>,
    /// Who asks, for the history; with an API key it is the key's name.
    #[oai(validator(max_length = 500))]
    actor: Option<String>,
    /// Why, for the history.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

/// How a promotion or rollback ended.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct PromotionAnswer {
    /// `promoted`, `already_live` or `dry_run`.
    outcome: String,
    /// The version that was asked for, or gone back to.
    version: String,
    /// The newest generation.
    generation: Option<u64>,
    /// In production before.
    previous: Option<String>,
    /// The gate's report; none for a rollback.
    gate: Option<Gate>,
    /// Whether this service answers with that generation already.
    live: bool,
    /// Which replicas of the service do.
    replicas: Option<ReplicaReport>,
    /// Of a dry run: the newest backtest of the version, if there is one.
    backtest: Option<BacktestSummary>,
}

/// Which replicas answer with a generation.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct ReplicaReport {
    /// Those that reported it.
    reported: Vec<String>,
    /// Those that live and did not report it in time.
    missing: Vec<String>,
    /// Why nobody could look, if so; the promotion is done all the same.
    unknown: Option<String>,
}

/// The gate's report.
#[derive(Debug, Object)]
struct Gate {
    /// Whether every check passed.
    passed: bool,
    /// Every check.
    checks: Vec<Check>,
    /// What would be decided otherwise than today, to the worse.
    flips: GateFlips,
}

/// Held-out sentences that are decided otherwise than in production, to the worse; rows by number from 0 in the dataset.
#[derive(Debug, Object)]
struct GateFlips {
    /// Threats that would be newly missed.
    missed: u64,
    /// The first fifty of them.
    missed_rows: Vec<u64>,
    /// Other sentences that would be newly flagged.
    flagged: u64,
    /// The first fifty of them.
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
    /// Measured.
    value: f64,
    /// The least that passes, if the bound is of that kind.
    at_least: Option<f64>,
    /// The most that passes, if the bound is of that kind.
    at_most: Option<f64>,
    /// What that means.
    meaning: String,
}

answers! {
    /// Answers of `POST /promote` and `POST /rollback`.
    PromoteOutcome {
        /// It is done.
        #[oai(status = 200)]
        Done(Json<PromotionAnswer>),
        /// It is still running.
        #[oai(status = 202)]
        Running(Json<Run>),
    }
}
#[OpenApi(tag = "Tag::Operations")]
impl Promotion {
    /// Put a version into production, if the gate passes.
    #[oai(path = "/promote", method = "post")]
    async fn promote(&self, by: By<Operate>, body: Body<PromoteBody>) -> PromoteOutcome {
        self.try_to_promote(&by, body.0).await.unwrap_or_else(Into::into)
    }

    /// Go back to the version before, or to the one that is named.
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

    /// Refuses while the store cannot be trusted or a part is away; puts the deed on record.
    async fn begin(&self, deed: audit::Request<'_>) -> Result<Recorded<'_>, Problem> {
        self.0.ask_store(self.0.trust.require()).await?;
        self.0.require_temporal()?;
        self.0.record(deed).await
    }

    /// What was started, or why not, with who is there.
    async fn started(&self, started: Result<Started, Error>) -> Result<Started, Problem> {
        let (workflow_id, run_id) = match started {
            Ok(started) => return Ok(started),
            Err(Error::AlreadyRunning { workflow_id, run_id, .. }) => (workflow_id, run_id),
            Err(error) => return Err(error.into()),
        };
        let asking = self.0.orchestrator.who_is_there(&workflow_id);
        // Without a worker nobody answers: the refusal is what matters.
        let what = tokio::time::timeout(ASKING, asking).await.unwrap_or_default();
        Err(Error::AlreadyRunning { workflow_id, run_id, what }.into())
    }

    /// Waits for a result; none when it takes too long, when Temporal goes away, and when this service is to stop.
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
    /// None also where the store does not say: the dry run is done all the same.
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
