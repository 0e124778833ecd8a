//! How a workflow tells where it stands: the query `status`, and the current details in the Temporal Web UI.

use std::time::UNIX_EPOCH;

use temporalio_sdk::{ActivityExecutionError, WorkflowContext, WorkflowTermination, workflows::join_all};

use crate::{promote::rethrow, search, steps::Status};

/// A workflow with a status.
pub(crate) trait Tells: Sized + 'static {
    fn status_mut(&mut self) -> &mut Status;
}

/// Begins a stage.
pub(crate) fn enter<W: Tells>(ctx: &WorkflowContext<W>, stage: &str, message: String) {
    let now = ctx.workflow_time().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_secs() as i64);
    let details = ctx.state_mut(|w| {
        let status = w.status_mut();
        if status.started == 0 {
            status.started = now;
        }
        stage.clone_into(&mut status.stage);
        status.message = message;
        details(status)
    });
    ctx.set_current_details(details);
    ctx.upsert_search_attributes([search::STAGE.value_set(stage.to_owned())]);
}

/// Counts a finished activity.
pub(crate) fn step_done<W: Tells>(ctx: &WorkflowContext<W>) {
    let details = ctx.state_mut(|w| {
        let status = w.status_mut();
        status.done += 1;
        details(status)
    });
    ctx.set_current_details(details);
}

/// The status in one line.
pub(crate) fn details(status: &Status) -> String {
    format!("**{}** ({} of {} steps): {}\n", status.stage, status.done, status.total, status.message)
}

/// Waits for all and answers in the order of `runs`; the first failure ends the run.
pub(crate) async fn side_by_side<T>(
    stage: &str,
    runs: Vec<impl Future<Output = Result<T, ActivityExecutionError>>>,
) -> Result<Vec<T>, WorkflowTermination> {
    join_all(runs).await.into_iter().map(|result| result.map_err(|error| rethrow(stage, error))).collect()
}
