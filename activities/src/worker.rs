//! The worker: what is registered, and how it runs.

use std::{num::NonZero, sync::Arc, time::Duration};

use registry::Registry;
use temporalio_client::Client;
use temporalio_sdk::{
    Runtime, SimplePlugin, Worker, WorkerOptions, activities::ActivityDefinitions,
    interceptors::ActivityInboundInterceptor, workflows::WorkflowDefinitions,
};
use workflows::{PromoteWorkflow, ReproduceWorkflow, RetentionWorkflow, RollbackWorkflow, TASK_QUEUE, TrainWorkflow};

use crate::{Activities, Metrics, metrics::Counted};

/// Fits in flight finish or are handed to another worker within this time.
const GRACE: Duration = Duration::from_secs(3);
/// Runs kept in memory between their steps.
const CACHED_RUNS: usize = 200;

/// Every workflow and activity of threatwatch, for our worker or anybody's; attempts are counted in `metrics`, and what
/// takes long has so many `threads`.
#[must_use]
pub fn plugin(registry: Registry, metrics: &Arc<Metrics>, threads: NonZero<usize>) -> SimplePlugin {
    let mut activities = ActivityDefinitions::default();
    activities.register_activities(Activities::new(registry, Arc::clone(metrics), threads.get()));
    let counted: Arc<dyn ActivityInboundInterceptor> = Arc::new(Counted(Arc::clone(metrics)));
    let mut definitions = WorkflowDefinitions::new();
    definitions
        .register_workflow::<TrainWorkflow>()
        .and_then(|d| d.register_workflow::<PromoteWorkflow>())
        .and_then(|d| d.register_workflow::<RollbackWorkflow>())
        .and_then(|d| d.register_workflow::<RetentionWorkflow>())
        .and_then(|d| d.register_workflow::<ReproduceWorkflow>())
        .expect("workflows of different names");
    SimplePlugin::builder("threatwatch")
        .activities(activities)
        .workflows(definitions)
        .activity_inbound_interceptors(vec![counted])
        .build()
}

/// Works until `stop` resolves, then lets activities in flight finish for three seconds.
///
/// The future stays on its thread: workflows are not `Send`.
pub async fn run(
    runtime: &Runtime,
    client: Client,
    plugin: SimplePlugin,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let mut options = WorkerOptions::new(TASK_QUEUE).worker_plugin(plugin).graceful_shutdown_period(GRACE).build();
    options.max_cached_workflows = CACHED_RUNS;
    let mut worker = Worker::new(runtime, client, options).map_err(|error| anyhow::anyhow!("{error}"))?;
    let shut_down = worker.shutdown_handle();
    tokio::spawn(async move {
        stop.await;
        shut_down();
    });
    worker.run().await.map_err(|error| anyhow::anyhow!("{error}"))
}
