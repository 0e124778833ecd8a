//! Follows a run on the terminal until it ends.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use workflows::{
    Orchestrator,
    orchestrator::{Error, Started},
    steps::TrainReport,
};

/// How often the status is queried.
const LOOK: Duration = Duration::from_millis(250);

/// Waits for a training run's result and shows its status on the bar.
pub(crate) async fn follow(
    orchestrator: &Orchestrator,
    started: &Started,
    bar: &ProgressBar,
) -> anyhow::Result<TrainReport> {
    // Futures of Temporal requests are large.
    watch(orchestrator, started, bar, Box::pin(orchestrator.trained(started))).await
}

/// Waits for the result of any workflow run and shows its status on the bar.
pub(crate) async fn watch<T>(
    orchestrator: &Orchestrator,
    started: &Started,
    bar: &ProgressBar,
    result: impl Future<Output = Result<T, Error>>,
) -> anyhow::Result<T> {
    bar.set_style(ProgressStyle::with_template("  {bar:20} {pos}/{len} {msg}")?);
    tokio::pin!(result);
    let mut tick = tokio::time::interval(LOOK);
    let report = loop {
        tokio::select! {
            report = &mut result => break report,
            _ = tick.tick() => {
                // If the worker is away for a moment, the bar does not move.
                if let Ok(Ok(status)) =
                    tokio::time::timeout(Duration::from_secs(2), orchestrator.status(&started.workflow_id)).await
                {
                    bar.set_length(u64::from(status.total));
                    bar.set_position(u64::from(status.done));
                    let mut message = format!("{}: {}", status.stage, status.message);
                    if status.stage == workflows::FINE_TUNING_STAGE {
                        let tunings = orchestrator.tunings(&started.workflow_id).await.unwrap_or_default();
                        message += &tunings.iter().map(|tuning| format!("\n    {tuning}")).collect::<String>();
                    }
                    bar.set_message(message);
                }
            }
        }
    };
    bar.finish_and_clear();
    Ok(report?)
}
