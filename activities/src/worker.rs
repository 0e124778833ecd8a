//! The worker: what is registered, and how it runs.

use std::{num::NonZero, sync::Arc, time::Duration};

use registry::Registry;
use temporalio_client::Client;
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

use crate::{Activities, FineTuning, Metrics, metrics::Counted};

/// Fits in flight finish or are handed to another worker within this time.
const GRACE: Duration = Duration::from_secs(3);
/// A cancelled fine-tuning hears of it after this time at the latest.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// The least that a worker may have; no workflow waits on the queue of fine-tuning.
const WORKFLOW_SLOTS: usize = 2;
/// Runs kept in memory between their steps.
const CACHED_RUNS: usize = 200;

/// Every workflow and activity of threatwatch, for our worker or anybody's; attempts are counted in `metrics`, and what
/// takes long has so many `threads`.
#[must_use]
pub fn plugin(registry: Registry, metrics: &Arc<Metrics>, tuning: FineTuning, threads: NonZero<usize>) -> SimplePlugin {
    let mut activities = ActivityDefinitions::default();
    activities.register_activities(Activities::new(registry, Arc::clone(metrics), tuning, threads.get()));
    let counted: Arc<dyn ActivityInboundInterceptor> = Arc::new(Counted(Arc::clone(metrics)));
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
        .activity_inbound_interceptors(vec![counted])
        .build()
}

/// Works until `stop` resolves, then lets activities in flight finish for three seconds.
///
/// Fine-tuning has a queue of its own, from which one encoder is taken at a time. The future stays on its thread:
/// workflows are not `Send`.
pub async fn run(
    runtime: &Runtime,
    client: Client,
    plugin: SimplePlugin,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let wrong = |error| anyhow::anyhow!("{error}");
    let mut options =
        WorkerOptions::new(TASK_QUEUE).worker_plugin(plugin.clone()).graceful_shutdown_period(GRACE).build();
    options.max_cached_workflows = CACHED_RUNS;
    let mut worker = Worker::new(runtime, client.clone(), options).map_err(|error| wrong(error.to_string()))?;
    let mut options = WorkerOptions::new(FINE_TUNING_QUEUE)
        .worker_plugin(plugin)
        .graceful_shutdown_period(GRACE)
        .max_heartbeat_throttle_interval(TOLD_WITHIN)
        .build();
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
    tokio::spawn(async move {
        stop.await;
        for shut_down in shut_down {
            shut_down();
        }
    });
    tokio::try_join!(worker.run(), tuner.run()).map_err(|error| wrong(error.to_string()))?;
    Ok(())
}
