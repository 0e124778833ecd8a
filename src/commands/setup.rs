//! `threatwatch setup`: creates bucket, search attributes and a first model, if another stack starts the parts.

use std::time::Duration;

use anyhow::bail;
use model::Version;
use registry::Registry;
use serde::Serialize;
use workflows::{
    orchestrator,
    steps::{AutoPromote, TrainRequest},
};

use super::{answer::Answer, exit::usage};
use crate::{
    settings::Settings,
    up::{first_model, supervisor::wait_until},
};

/// How long `setup` waits for a server.
const PATIENCE: Duration = Duration::from_mins(2);

/// Workflow id of the run after the first model.
const AFTER_SETUP: &str = "train-after-setup";

/// What to do after the first model
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Then start a run of this trainer if it has no version yet, and do not wait; promoted if the gate passes
    #[arg(long, env = "THREATWATCH_SETUP_TRAIN", value_name = "TRAINER")]
    then_train: Option<String>,
    #[command(flatten)]
    answer: Answer,
}

/// The state after the setup.
#[derive(Debug, Serialize)]
struct Told {
    /// The version in production; none if the gate refused the first one.
    production: Option<Version>,
    /// Whether this command trained a first model.
    trained: bool,
    /// Workflow id of the run that was started afterwards.
    then_training: Option<String>,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    let answer = arguments.answer;
    // Compose passes an unset variable as an empty one.
    let then_train = arguments.then_train.filter(|trainer| !trainer.is_empty());
    if let Some(trainer) = &then_train {
        model::trainers::find(trainer).map_err(usage)?;
    }
    let store = settings.store()?;
    wait_until("the object store", PATIENCE, || async { store.ensure_bucket().await.is_ok() }).await?;
    let registry = settings.registry().await?;
    if let Some(reason) = registry.probe().await? {
        bail!("the object store cannot be trusted with promotions: {reason}");
    }
    answer.say("the bucket exists, and of concurrent writers exactly one wins");
    let orchestrator = settings.orchestrator("setup");
    wait_until("Temporal", PATIENCE, || async { orchestrator.ensure_search_attributes().await.is_ok() }).await?;
    answer.say("the search attributes exist");
    let mut told = Told { production: None, trained: false, then_training: None };
    if let Some(promotion) = registry.production().await? {
        answer.say(&format!("{} is in production", promotion.record.version));
        told.production = Some(promotion.record.version);
    } else {
        let report = first_model(settings, "threatwatch setup", &|words| answer.say(words)).await?;
        told.production = report.promoted.then_some(report.version);
        told.trained = true;
    }
    if let Some(trainer) = then_train {
        told.then_training = start_training(trainer, &registry, settings, answer).await?;
    }
    answer.give(&told, || {})
}

/// Starts a run of the trainer unless it has a version; returns the workflow id.
async fn start_training(
    trainer: String,
    registry: &Registry,
    settings: &Settings,
    answer: Answer,
) -> anyhow::Result<Option<String>> {
    if registry.manifests().await?.iter().any(|manifest| manifest.trainer == trainer) {
        answer.say(&format!("{trainer} has a version already"));
        return Ok(None);
    }
    let request = TrainRequest {
        trainers: vec![trainer.clone()],
        auto_promote: AutoPromote::IfGatePasses,
        actor: Some("threatwatch setup".to_owned()),
        reason: Some(format!("first model by {trainer}")),
        ..TrainRequest::default()
    };
    match settings.orchestrator("setup").train(request, AFTER_SETUP).await {
        Ok(_) => answer.say(&format!("{AFTER_SETUP} trains {trainer}; the Temporal Web UI shows its progress")),
        Err(orchestrator::Error::AlreadyRunning { .. }) => answer.say(&format!("{trainer} is being trained already")),
        Err(error) => return Err(error.into()),
    }
    Ok(Some(AFTER_SETUP.to_owned()))
}
