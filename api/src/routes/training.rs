//! `/train`: starts a training run.

use model::{calibration::Operation, experiment::DEFAULT_SEED, trainers::Preset};
use poem_openapi::{Enum, Object, OpenApi, payload::Json};
use workflows::{
    TASK_QUEUE,
    steps::{AutoPromote, DatasetChoice, TrainRequest},
};

use super::{
    Tag, answers,
    runs::{Run, answered_in_time},
};
use crate::{
    audit,
    body::Body,
    caller::{By, Operate},
    context::Context,
    problem::Problem,
};

pub(crate) struct Training(pub(crate) Context);

/// A training run. Every field is optional.
#[derive(Debug, Default, Object)]
#[oai(deny_unknown_fields)]
struct TrainBody {
    /// Names of the trainers to use.
    trainers: Option<Vec<String>>,
    /// The preset of parameters for the trainers.
    preset: Option<PresetName>,
    /// Digest of a stored dataset, or `latest_with_feedback`.
    /// The default is the newest imported one, else the sample.
    dataset: Option<String>,
    /// The source of the dataset. By default every source is tried in turn.
    #[oai(validator(max_length = 500))]
    source: Option<String>,
    /// The random seed, which determines the held-out commenters and the folds.
    seed: Option<u64>,
    /// When to promote the best version.
    auto_promote: Option<AutoPromoteName>,
    /// Seconds that a run with `after_approval` waits for `POST /runs/approve` or `POST /runs/reject`.
    approval_seconds: Option<u32>,
    /// The operating point, which sets the threshold: `best_f1`, `daily_budget`, `fpr_5` or `precision_80`.
    operating_point: Option<String>,
    /// Expected comments per day, for the operating point `daily_budget`.
    comments_per_day: Option<u32>,
    /// Flags per day that people can review, for the operating point `daily_budget`.
    flags_per_day: Option<u32>,
    /// Most sentences that a worker holds in memory.
    /// A larger dataset is counted in shards and sampled.
    sentences_in_memory: Option<u64>,
    /// Who starts the run. With an API key, the key's name.
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

answers! {
    /// Answers of `POST /train`.
    TrainOutcome {
        /// It is running.
        #[oai(status = 202)]
        Running(Json<Run>),
    }
}
#[OpenApi(tag = "Tag::Operations")]
impl Training {
    /// Start a training run.
    #[oai(path = "/train", method = "post")]
    async fn train(&self, by: By<Operate>, body: Body<TrainBody>) -> TrainOutcome {
        match self.start(&by, body.0).await {
            Ok(run) => TrainOutcome::Running(Json(run)),
            Err(problem) => problem.into(),
        }
    }
}

impl Training {
    async fn start(&self, by: &By<Operate>, body: TrainBody) -> Result<Run, Problem> {
        let mut request = train_request(body).map_err(Problem::invalid)?;
        request.actor = by.caller.actor(request.actor);
        self.0.require_temporal()?;
        let id = workflow_id();
        let deed = audit::Request {
            caller: &by.caller,
            actor: request.actor.as_deref(),
            action: "train",
            subject: Some(id.clone()),
            reason: request.reason.as_deref(),
        };
        let recorded = self.0.record(deed).await?;
        match answered_in_time(&self.0, self.0.orchestrator.train(request, &id)).await {
            Ok(started) => {
                recorded.ended("started", started.to_string()).await;
                Ok(Run::new(started, &self.0))
            }
            Err(error) => Err(recorded.refused(error.into()).await),
        }
    }
}

/// A workflow id that sorts by time, unique to the microsecond.
fn workflow_id() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{TASK_QUEUE}-train-{}-{:06}", model::version::stamp(since.as_secs() as i64), since.subsec_micros())
}

fn train_request(body: TrainBody) -> Result<TrainRequest, String> {
    let defaults = TrainRequest::default();
    let dataset = body.dataset.map(|text| text.parse::<DatasetChoice>()).transpose();
    let is_sklearn = matches!(body.preset, Some(PresetName::Sklearn));
    let trainers = if is_sklearn { vec!["multinomial_nb".to_owned()] } else { defaults.trainers };
    let request = TrainRequest {
        trainers: body.trainers.unwrap_or(trainers),
        preset: body.preset.map_or(defaults.preset, |preset| match preset {
            PresetName::Default => Preset::Default,
            PresetName::Sklearn => Preset::Sklearn,
        }),
        dataset: dataset.map_err(|error| format!("`dataset`: {error}"))?,
        source: body.source,
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
