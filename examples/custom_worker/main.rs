//! A program that embeds threatwatch: a forum's own worker, and the command line with the forum's extensions.
//!
//! - `custom_worker` alone is a worker: threatwatch's workflows and activities as a plug-in, and the forum's own.
//! - `custom_worker serve ...` is the API of threatwatch, which reads models with the forum's feature. Every other
//!   command works in the same way: `train`, `models`, `up`, ...
//!
//! `docs/extend.md` walks through it.

mod check;
mod feature;
mod source;
mod trainer;
mod workflow;

use std::{num::NonZero, process::ExitCode, sync::Arc, time::Duration};

use activities::{Deployment, Extensions, FineTuning, Metrics, Parts};
use temporalio_sdk::{Runtime, Worker, WorkerOptions, runtime::RuntimeOptions};
use threatwatch::{encoder_base::EncoderBase, process::Process, settings::Settings};
use tokio::signal::unix::{SignalKind, signal};

/// The forum's task queue. On `workflows::TASK_QUEUE` its worker would replace threatwatch's own worker.
const QUEUE: &str = "forum";

/// The forum's extensions of threatwatch.
fn extensions() -> Extensions {
    Extensions::new()
        .extractor(&feature::ShoutedWords)
        .trainer(&trainer::ForumOdds)
        .check(&check::FitsTelephones)
        .source(&source::ForumInbox)
}

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        return threatwatch::main_with(extensions());
    }
    match tokio::runtime::Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(work())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The forum's worker.
async fn work() -> anyhow::Result<()> {
    let added = extensions().register()?;
    let state_dir = std::env::var_os("THREATWATCH_STATE_DIR").unwrap_or_else(|| ".threatwatch".into());
    let settings = Settings::load(state_dir.as_ref())?;
    let orchestrator = settings.orchestrator("forum");
    orchestrator.ensure_search_attributes().await?;
    let plugin = activities::plugin(Parts {
        registry: settings.registry().await?,
        metrics: Arc::new(Metrics::new(Box::new(Process))),
        tuning: FineTuning { bases: Arc::new(EncoderBase::of(&settings)), checkpoint: Duration::from_mins(1) },
        threads: NonZero::<usize>::MIN,
        extensions: added,
    });
    let mut options = WorkerOptions::new(QUEUE)
        .worker_plugin(plugin)
        .register_workflow::<workflow::ForumWorkflow>()?
        .register_activities(workflow::ForumActivities)
        .graceful_shutdown_period(Duration::from_secs(3))
        .build();
    if let Ok(build_id) = std::env::var("FORUM_BUILD_ID") {
        options.deployment_options = Deployment { name: "forum".to_owned(), build_id }.options();
    }
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let mut worker = Worker::new(&runtime, orchestrator.client().await?, options).map_err(anyhow::Error::msg)?;
    let shut_down = worker.shutdown_handle();
    let mut stop = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        stop.recv().await;
        shut_down();
    });
    println!("the forum's worker is up");
    worker.run().await.map_err(anyhow::Error::msg)
}
