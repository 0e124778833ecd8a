//! How a workflow reports its progress: the query `status`, and the details in the Temporal Web UI.

use std::time::UNIX_EPOCH;

use temporalio_common::MemoValue;
use temporalio_sdk::{ActivityExecutionError, WorkflowContext, WorkflowTermination, workflows::join_all};

use crate::{
    CODE_VERSION, CODE_VERSION_MEMO,
    asked::Asked,
    details::{Details, Ending, Section},
    headline::{one_line, rethrow},
    search,
    steps::Status,
};

/// The progress of a run, for programs and for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    pub(crate) status: Status,
    pub(crate) details: Details,
}

impl From<Status> for Progress {
    fn from(status: Status) -> Self {
        Self { status, details: Details::default() }
    }
}

/// A workflow with a progress.
pub(crate) trait Tells: Sized + 'static {
    fn progress_mut(&mut self) -> &mut Progress;
}

/// Whether a run's release writes the code's version and search attributes in every workflow.
///
/// Runs of earlier releases continue without them.
pub(crate) fn is_findable<W: Tells>(ctx: &WorkflowContext<W>) -> bool {
    ctx.patched("findable")
}

/// Begins a run: writes the release into its memo.
pub(crate) fn begin<W: Tells>(ctx: &WorkflowContext<W>) {
    if is_findable(ctx) {
        // Always, even if the starter wrote it: a replay must not depend on the release.
        let memo = [(CODE_VERSION_MEMO, Some(MemoValue::new(CODE_VERSION.to_owned())))];
        ctx.upsert_memo(memo).expect("a text is a payload");
    }
}

/// Shows the run's request, for runs that were started without static details.
pub(crate) fn asked<W: Tells>(ctx: &WorkflowContext<W>, request: &impl Asked) {
    tell(ctx, Section::Asked, request.told());
}

/// Begins a stage.
pub(crate) fn enter<W: Tells>(ctx: &WorkflowContext<W>, stage: &str, message: String) {
    let now = seconds(ctx);
    ctx.state_mut(|w| {
        let status = &mut w.progress_mut().status;
        if status.started == 0 {
            status.started = now;
        }
        stage.clone_into(&mut status.stage);
        status.message = message;
    });
    show(ctx);
    ctx.upsert_search_attributes([search::STAGE.value_set(stage.to_owned())]);
}

/// The run's time: seconds since 1970, UTC.
pub(crate) fn seconds<W>(ctx: &WorkflowContext<W>) -> i64 {
    ctx.workflow_time().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_secs() as i64)
}

/// Counts a finished activity.
pub(crate) fn step_done<W: Tells>(ctx: &WorkflowContext<W>) {
    ctx.state_mut(|w| w.progress_mut().status.done += 1);
    show(ctx);
}

/// Sets a part of the details.
pub(crate) fn tell<W: Tells>(ctx: &WorkflowContext<W>, section: Section, text: String) {
    ctx.state_mut(|w| w.progress_mut().details.set(section, text));
    show(ctx);
}

/// Removes a part of the details.
pub(crate) fn hide<W: Tells>(ctx: &WorkflowContext<W>, section: Section) {
    ctx.state_mut(|w| w.progress_mut().details.remove(section));
    show(ctx);
}

/// Shows the details as they are now.
pub(crate) fn show<W: Tells>(ctx: &WorkflowContext<W>) {
    let page = ctx.state_mut(|w| {
        let Progress { status, details } = w.progress_mut();
        details.page(status)
    });
    ctx.set_current_details(page);
}

/// Ends a run. Without a result, the details show why.
pub(crate) fn end<W: Tells, T>(
    ctx: &WorkflowContext<W>,
    ended: Result<T, WorkflowTermination>,
) -> Result<T, WorkflowTermination> {
    let (ending, cause) = match &ended {
        Err(WorkflowTermination::Failed(error)) if error.as_cancelled().is_none() => {
            (Ending::Failed, one_line(&error.to_string()))
        }
        Err(WorkflowTermination::Failed(_) | WorkflowTermination::Cancelled { .. }) => {
            (Ending::Cancelled, String::new())
        }
        _ => return ended,
    };
    ctx.state_mut(|w| w.progress_mut().details.end(ending, cause));
    show(ctx);
    ended
}

/// Waits for all and returns the results in the order of `runs`.
///
/// The first failure ends the run.
pub(crate) async fn side_by_side<T>(
    stage: &str,
    runs: Vec<impl Future<Output = Result<T, ActivityExecutionError>>>,
) -> Result<Vec<T>, WorkflowTermination> {
    join_all(runs).await.into_iter().map(|result| result.map_err(|error| rethrow(stage, error))).collect()
}
