//! `threatwatch setup`: bucket, search attributes and a first model, once; for stacks that start the parts themselves.

use std::time::Duration;

use anyhow::bail;
use registry::Registry;
use workflows::{
    orchestrator,
    steps::{AutoPromote, TrainRequest},
};

use crate::{
    settings::Settings,
    up::{first_model, supervisor::wait_until},
};

/// A stack whose servers are not up by then is broken.
const PATIENCE: Duration = Duration::from_mins(2);

/// What comes after the first model
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A trainer whose first version is trained afterwards, without waiting for it; promoted if the gate passes
    #[arg(long, env = "THREATWATCH_SETUP_TRAIN", value_name = "TRAINER")]
    then_train: Option<String>,
}

pub(super) async fn run(arguments: Arguments, settings: &Settings) -> anyhow::Result<()> {
    let store = settings.store()?;
    wait_until("the object store", PATIENCE, || async { store.ensure_bucket().await.is_ok() }).await?;
    let registry = settings.registry().await?;
    if let Some(reason) = registry.probe().await? {
        bail!("the object store cannot be trusted with promotions: {reason}");
    }
    println!("the bucket is there, and of racing writers exactly one wins");
    let orchestrator = settings.orchestrator("setup");
    wait_until("Temporal", PATIENCE, || async { orchestrator.ensure_search_attributes().await.is_ok() }).await?;
    println!("the search attributes are there");
    match registry.production().await? {
        Some(promotion) => println!("{} is in production", promotion.record.version),
        None => first_model(settings, "threatwatch setup").await?,
    }
    // Compose gives a variable that is not set as an empty one.
    match arguments.then_train.filter(|trainer| !trainer.is_empty()) {
        Some(trainer) => start_training(trainer, &registry, settings).await,
        None => Ok(()),
    }
}

/// Starts a run of a trainer that has no version yet.
async fn start_training(trainer: String, registry: &Registry, settings: &Settings) -> anyhow::Result<()> {
    model::trainers::find(&trainer)?;
    if registry.manifests().await?.iter().any(|manifest| manifest.trainer == trainer) {
        println!("there is a version by {trainer}");
        return Ok(());
    }
    let request = TrainRequest {
        trainers: vec![trainer.clone()],
        auto_promote: AutoPromote::IfGatePasses,
        actor: Some("threatwatch setup".to_owned()),
        reason: Some(format!("first model by {trainer}")),
        ..TrainRequest::default()
    };
    match settings.orchestrator("setup").train(request, "train-after-setup").await {
        Ok(started) => println!("{} trains {trainer}; the Temporal Web UI shows how far it is", started.workflow_id),
        Err(orchestrator::Error::AlreadyRunning { .. }) => println!("{trainer} is being trained"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
