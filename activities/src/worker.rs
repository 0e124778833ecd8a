//! The worker: what is registered, and how it runs.

use std::{num::NonZero, sync::Arc, time::Duration};

use registry::Registry;
use temporalio_client::Client;
use temporalio_common::worker::{VersioningBehavior, WorkerDeploymentOptions, WorkerDeploymentVersion};
use temporalio_sdk::{
    Runtime, SimplePlugin, Worker, WorkerOptions,
    activities::ActivityDefinitions,
    interceptors::ActivityInboundInterceptor,
    runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder},
    workflows::WorkflowDefinitions,
};
use workflows::{
    BacktestWorkflow, FINE_TUNING_QUEUE, FeedbackWorkflow, PromoteWorkflow, ReproduceWorkflow, RetentionWorkflow,
    RollbackWorkflow, TASK_QUEUE, TrainWorkflow,
};

use crate::{Activities, Added, FineTuning, Metrics, metrics::Counted, named::Named};

/// Activities in flight finish within this time, or another worker gets them.
const GRACE: Duration = Duration::from_secs(3);
/// A cancelled fine-tuning is notified within this time.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// The least that a worker may have. The queue of fine-tuning has no workflows.
const WORKFLOW_SLOTS: usize = 2;
/// Runs kept in memory between their steps.
const CACHED_RUNS: usize = 200;

/// Everything that activities may use.
#[derive(Clone)]
pub struct Parts {
    /// Datasets, models, and what is in production.
    pub registry: Registry,
    /// The metrics that count attempts.
    pub metrics: Arc<Metrics>,
    /// How encoders are fine-tuned.
    pub tuning: FineTuning,
    /// Threads for fits, counts and evaluations.
    pub threads: NonZero<usize>,
    /// Trainers, features, checks and sources that the program adds.
    pub extensions: Added,
}

/// Every workflow and activity of threatwatch, as one plug-in for any worker.
///
/// Workflows use the worker's task queue. Fine-tuning uses [`FINE_TUNING_QUEUE`]: it needs a second worker on that
/// queue.
#[must_use]
pub fn plugin(parts: Parts) -> SimplePlugin {
    let around: [Arc<dyn ActivityInboundInterceptor>; 2] =
        [Arc::new(Named), Arc::new(Counted(Arc::clone(&parts.metrics)))];
    let mut activities = ActivityDefinitions::default();
    activities.register_activities(Activities::new(parts));
    let mut definitions = WorkflowDefinitions::new();
    definitions
        .register_workflow::<TrainWorkflow>()
        .and_then(|d| d.register_workflow::<PromoteWorkflow>())
        .and_then(|d| d.register_workflow::<RollbackWorkflow>())
        .and_then(|d| d.register_workflow::<RetentionWorkflow>())
        .and_then(|d| d.register_workflow::<ReproduceWorkflow>())
        .and_then(|d| d.register_workflow::<FeedbackWorkflow>())
        .and_then(|d| d.register_workflow::<BacktestWorkflow>())
        .expect("workflows of different names");
    SimplePlugin::builder("threatwatch")
        .activities(activities)
        .workflows(definitions)
        .activity_inbound_interceptors(around.to_vec())
        .build()
}

/// The version of a worker in Temporal's worker deployments.
///
/// Runs stay on the version that they started on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// The deployment's name, which all versions share.
    pub name: String,
    /// The id of this version. The same code has the same id.
    pub build_id: String,
}

impl Deployment {
    /// The deployment for a worker's options.
    ///
    /// Every workflow is pinned: a training that takes a day must not change its
    /// code half way.
    #[must_use]
    pub fn options(&self) -> WorkerDeploymentOptions {
        let version = WorkerDeploymentVersion::builder().deployment_name(&*self.name).build_id(&*self.build_id).build();
        WorkerDeploymentOptions::new(version)
            .use_worker_versioning(true)
            .default_versioning_behavior(VersioningBehavior::Pinned)
            .build()
    }
}

/// Works until `stop` resolves, then lets activities in flight finish for three seconds.
///
/// With a deployment it takes only the runs that Temporal routes to this version; see `docs/upgrade.md`. Fine-tuning
/// has a separate queue, from which one encoder is taken at a time. The future stays on its thread: workflows are not
/// `Send`.
pub async fn run(
    runtime: &Runtime,
    client: Client,
    plugin: SimplePlugin,
    deployment: Option<Deployment>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let wrong = |error| anyhow::anyhow!("{error}");
    let mut options =
        WorkerOptions::new(TASK_QUEUE).worker_plugin(plugin.clone()).graceful_shutdown_period(GRACE).build();
    options.max_cached_workflows = CACHED_RUNS;
    if let Some(deployment) = &deployment {
        options.deployment_options = deployment.options();
    }
    let mut worker = Worker::new(runtime, client.clone(), options).map_err(|error| wrong(error.to_string()))?;
    let mut options = WorkerOptions::new(FINE_TUNING_QUEUE)
        .worker_plugin(plugin)
        .graceful_shutdown_period(GRACE)
        .max_heartbeat_throttle_interval(TOLD_WITHIN)
        .build();
    if let Some(deployment) = &deployment {
        options.deployment_options = deployment.options();
    }
    let slots = FixedSizeSlotSupplier::new;
    options.tuner = TunerHolder::builder()
        .workflow_task_slot_supplier(slots(WORKFLOW_SLOTS))
        .activity_task_slot_supplier(slots(1))
        .local_activity_task_slot_supplier(slots(1))
        .nexus_task_slot_supplier(slots(1))
        .build()
        .into();
    let mut tuner = Worker::new(runtime, client, options).map_err(|error| wrong(error.to_string()))?;
    let shut_down = [worker.shutdown_handle(), tuner.shutdown_handle()];
    let shut_down = Arc::new(move || shut_down.iter().for_each(|shut_down| shut_down()));
    let stopping = tokio::spawn({
        let shut_down = Arc::clone(&shut_down);
        async move {
            stop.await;
            shut_down();
        }
    });
    let worked = tokio::try_join!(worker.run(), tuner.run());
    // If one worker has failed, stop the other one, too.
    stopping.abort();
    shut_down();
    worked.map(drop).map_err(|error| wrong(error.to_string()))
}
