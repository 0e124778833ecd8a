//! `/train`, `/promote`, `/rollback`: workflows, started and waited for a bounded time.

use std::time::Duration;

use model::{
    Digest, Generation, Version,
    experiment::DEFAULT_SEED,
    operation::Operation,
    steps::{AutoPromote, Outcome, PromoteReport, PromoteRequest, RollbackRequest, Say, TrainRequest},
    trainers::Preset,
};
use poem_openapi::{Enum, Object, OpenApi, param::Query, payload::Json};
use workflows::{
    TASK_QUEUE,
    orchestrator::{Error, Started},
};

use super::{Tag, answers};
use crate::{Context, problem::Problem};

/// A promotion takes a second or two; past this the caller gets a link instead.
const PATIENCE: Duration = Duration::from_secs(25);
/// Temporal answers a start at once or is away.
const START: Duration = Duration::from_secs(4);
/// What a running promotion does is told within this time or not at all.
const ASKING: Duration = Duration::from_secs(1);
/// A promotion is live within two seconds.
const LIVE: Duration = Duration::from_secs(3);

pub(crate) struct Operations(pub(crate) Context);

/// What to train; every field is optional.
#[derive(Debug, Default, Object)]
#[oai(deny_unknown_fields)]
struct TrainBody {
    /// Names of trainers.
    trainers: Option<Vec<String>>,
    /// Parameters of the trainers.
    preset: Option<PresetName>,
    /// Digest of a stored dataset; without it the newest imported one, else the sample.
    dataset: Option<String>,
    /// Decides the held-out commenters and the folds.
    seed: Option<u64>,
    /// Whether the best version is promoted.
    auto_promote: Option<AutoPromoteName>,
    /// Seconds that `after_approval` waits for `POST /runs/approve` or `POST /runs/reject`.
    approval_seconds: Option<u32>,
    /// The threshold that decides: `best_f1`, `daily_budget`, `fpr_5` or `precision_80`.
    operating_point: Option<String>,
    /// Comments a day that the model will see.
    comments_per_day: Option<u32>,
    /// Flags a day that people can look at: the operating point `daily_budget`.
    flags_per_day: Option<u32>,
    /// Sentences that a worker holds in memory at once; a larger dataset is counted in shards, and sampled.
    sentences_in_memory: Option<u64>,
    /// Who asks.
    #[oai(validator(max_length = 500))]
    actor: Option<String>,
    /// Why.
    #[oai(validator(max_length = 500))]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "lowercase")]
enum PresetName {
    Default,
    Sklearn,
}

#[derive(Clone, Copy, Debug, Enum)]
#[oai(rename_all = "snake_case")]
enum AutoPromoteName {
    Never,
    IfGatePasses,
    AfterApproval,
}

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
    /// Who asks, for the history.
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
    /// Who asks, for the history.
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

/// A workflow that is running.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct Run {
    /// Its id.
    workflow_id: String,
    /// Its run.
    run_id: String,
    /// Where to watch it.
    temporal_url: Option<String>,
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
answers! {
    /// Answers of `POST /train`.
    TrainOutcome {
        /// It is running.
        #[oai(status = 202)]
        Running(Json<Run>),
    }
}
answers! {
    /// Answers of `GET /runs/status`.
    StatusAnswer {
        /// Where it stands.
        #[oai(status = 200)]
        Ok(Json<RunStatus>),
    }
}

answers! {
    /// Answers of `POST /runs/approve` and `POST /runs/reject`.
    SaidAnswer {
        /// The run goes on accordingly.
        #[oai(status = 200)]
        Ok(Json<Said>),
    }
}

/// What somebody says of a run that waits for it.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct SayBody {
    /// The run's workflow id.
    workflow_id: String,
    /// Who says so, for the history.
    #[oai(validator(max_length = 500))]
    actor: String,
    /// Why, for the history.
    #[oai(validator(max_length = 500))]
    reason: String,
}

/// What the run took it for.
#[derive(Debug, Object)]
struct Said {
    /// `approved` or `rejected`.
    outcome: String,
}

/// Where a run stands.
#[derive(Debug, Object)]
struct RunStatus {
    /// The step that it is in, or `done`.
    stage: String,
    /// Activities finished.
    done: u32,
    /// Activities in all.
    total: u32,
    /// One line for people.
    message: String,
    /// Versions registered so far, or the one that is promoted.
    versions: Vec<String>,
    /// Whether it is still going; one that failed keeps the stage that it failed in.
    running: bool,
}

#[OpenApi(tag = "Tag::Operations")]
impl Operations {
    /// Train models.
    #[oai(path = "/train", method = "post")]
    async fn train(&self, body: Json<TrainBody>) -> TrainOutcome {
        let request = match train_request(body.0) {
            Ok(request) => request,
            Err(reason) => return Problem::invalid(reason).into(),
        };
        let id = workflow_id();
        match started_in_time(self.0.orchestrator.train(request, &id)).await {
            Ok(started) => TrainOutcome::Running(Json(self.run(started))),
            Err(error) => Problem::from(error).into(),
        }
    }

    /// Put a version into production, if the gate passes.
    #[oai(path = "/promote", method = "post")]
    async fn promote(&self, body: Json<PromoteBody>) -> PromoteOutcome {
        let request = match promote_request(body.0) {
            Ok(request) => request,
            Err(reason) => return Problem::invalid(reason).into(),
        };
        if let Err(error) = self.0.trust.require().await {
            return error.into();
        }
        match started_in_time(self.0.orchestrator.promote(request)).await {
            Ok(started) => {
                let result = tokio::time::timeout(PATIENCE, self.0.orchestrator.promoted(&started)).await;
                self.finish(started, result.ok()).await
            }
            Err(error) => self.refused(error).await.into(),
        }
    }

    /// Go back to the version before, or to the one that is named.
    #[oai(path = "/rollback", method = "post")]
    async fn roll_back(&self, body: Json<RollbackBody>) -> PromoteOutcome {
        let request = match rollback_request(body.0) {
            Ok(request) => request,
            Err(reason) => return Problem::invalid(reason).into(),
        };
        if let Err(error) = self.0.trust.require().await {
            return error.into();
        }
        match started_in_time(self.0.orchestrator.roll_back(request)).await {
            Ok(started) => {
                let result = tokio::time::timeout(PATIENCE, self.0.orchestrator.rolled_back(&started)).await;
                self.finish(started, result.ok()).await
            }
            Err(error) => self.refused(error).await.into(),
        }
    }

    /// Let a run that waits for approval promote its best version.
    #[oai(path = "/runs/approve", method = "post")]
    async fn approve(&self, body: Json<SayBody>) -> SaidAnswer {
        self.say(body.0, true).await
    }

    /// End a run that waits for approval without a promotion.
    #[oai(path = "/runs/reject", method = "post")]
    async fn reject(&self, body: Json<SayBody>) -> SaidAnswer {
        self.say(body.0, false).await
    }

    /// Show where a training run, promotion or rollback stands.
    #[oai(path = "/runs/status", method = "get")]
    async fn status(
        &self,
        /// The workflow's id.
        workflow_id: Query<String>,
    ) -> StatusAnswer {
        let orchestrator = &self.0.orchestrator;
        let asked =
            async { Ok((orchestrator.status(&workflow_id.0).await?, orchestrator.is_running(&workflow_id.0).await?)) };
        match started_in_time(asked).await {
            Ok((status, running)) => StatusAnswer::Ok(Json(RunStatus {
                stage: status.stage,
                done: status.done,
                total: status.total,
                message: status.message,
                versions: status.versions.iter().map(ToString::to_string).collect(),
                running,
            })),
            Err(error) => Problem::from(error).into(),
        }
    }
}

impl Operations {
    async fn say(&self, body: SayBody, approves: bool) -> SaidAnswer {
        let say = Say { actor: body.actor, reason: body.reason };
        if let Err(reason) = say.check() {
            return Problem::invalid(reason).into();
        }
        let orchestrator = &self.0.orchestrator;
        let said = async {
            if approves {
                orchestrator.approve(&body.workflow_id, say).await
            } else {
                orchestrator.reject(&body.workflow_id, say).await
            }
        };
        match started_in_time(said).await {
            Ok(outcome) => SaidAnswer::Ok(Json(Said { outcome })),
            Err(error) => Problem::from(error).into(),
        }
    }

    /// A refusal, with who is there.
    async fn refused(&self, error: Error) -> Problem {
        let Error::AlreadyRunning { workflow_id, run_id, .. } = error else { return error.into() };
        let asking = self.0.orchestrator.who_is_there(&workflow_id);
        // Without a worker nobody answers: the refusal is what matters.
        let what = tokio::time::timeout(ASKING, asking).await.unwrap_or_default();
        Error::AlreadyRunning { workflow_id, run_id, what }.into()
    }

    async fn finish(&self, started: Started, result: Option<Result<PromoteReport, Error>>) -> PromoteOutcome {
        match result {
            None => PromoteOutcome::Running(Json(self.run(started))),
            Some(Err(error)) => Problem::from(error).into(),
            Some(Ok(report)) => {
                let live = match report.generation {
                    Some(generation) if report.outcome != Outcome::DryRun => {
                        self.0.serving.reaches(generation, LIVE).await
                    }
                    _ => false,
                };
                PromoteOutcome::Done(Json(answer(report, live)))
            }
        }
    }

    fn run(&self, started: Started) -> Run {
        let Started { workflow_id, run_id } = started;
        let temporal_url =
            self.0.temporal_ui.as_ref().map(|ui| format!("{ui}/namespaces/default/workflows/{workflow_id}/{run_id}"));
        Run { workflow_id, run_id, temporal_url }
    }
}

async fn started_in_time<T>(start: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let no_answer = |_| Err(Error::Unreachable(format!("no answer within {} s", START.as_secs())));
    tokio::time::timeout(START, start).await.unwrap_or_else(no_answer)
}

/// An id that sorts by time and that nobody else makes in the same microsecond.
fn workflow_id() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{TASK_QUEUE}-train-{}-{:06}", model::version::stamp(since.as_secs() as i64), since.subsec_micros())
}

fn train_request(body: TrainBody) -> Result<TrainRequest, String> {
    let defaults = TrainRequest::default();
    let dataset = body.dataset.map(|text| Digest::parse(&text)).transpose();
    let is_sklearn = matches!(body.preset, Some(PresetName::Sklearn));
    let trainers = if is_sklearn { vec!["multinomial_nb".to_owned()] } else { defaults.trainers };
    let request = TrainRequest {
        trainers: body.trainers.unwrap_or(trainers),
        preset: body.preset.map_or(defaults.preset, |preset| match preset {
            PresetName::Default => Preset::Default,
            PresetName::Sklearn => Preset::Sklearn,
        }),
        dataset: dataset.map_err(|error| format!("`dataset`: {error}"))?,
        seed: body.seed.unwrap_or(DEFAULT_SEED),
        auto_promote: body.auto_promote.map_or(defaults.auto_promote, |when| match when {
            AutoPromoteName::Never => AutoPromote::Never,
            AutoPromoteName::IfGatePasses => AutoPromote::IfGatePasses,
            AutoPromoteName::AfterApproval => AutoPromote::AfterApproval,
        }),
        operation: Operation {
            point: body.operating_point.unwrap_or(defaults.operation.point),
            comments_per_day: body.comments_per_day.unwrap_or(defaults.operation.comments_per_day),
            flags_per_day: body.flags_per_day.unwrap_or(defaults.operation.flags_per_day),
        },
        approval_seconds: body.approval_seconds.unwrap_or(defaults.approval_seconds),
        sentences_in_memory: body.sentences_in_memory.unwrap_or(defaults.sentences_in_memory),
        actor: body.actor,
        reason: body.reason,
    };
    request.check()?;
    Ok(request)
}

fn promote_request(body: PromoteBody) -> Result<PromoteRequest, String> {
    let version = Version::parse(&body.version).map_err(|error| format!("`version`: {error}"))?;
    let expected_generation = body.expected_generation.map(Generation);
    let request = PromoteRequest {
        version,
        expected_generation,
        dry_run: body.dry_run,
        force: body.force,
        actor: body.actor,
        reason: body.reason,
    };
    request.check()?;
    Ok(request)
}

fn rollback_request(body: RollbackBody) -> Result<RollbackRequest, String> {
    let to = body.to.map(|text| Version::parse(&text)).transpose().map_err(|error| format!("`to`: {error}"))?;
    let request = RollbackRequest { to, actor: body.actor, reason: body.reason };
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
    }
}
