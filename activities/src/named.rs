//! Adds the run to the log lines of an activity.

use futures_util::FutureExt as _;
use temporalio_sdk::interceptors::{ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next};
use tracing::Instrument as _;

/// Opens a log span with workflow, run, activity and attempt around every attempt.
pub(crate) struct Named;

impl ActivityInboundInterceptor for Named {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        let info = input.activity_info();
        // At this level no filter drops it: warnings keep their run.
        let span = tracing::error_span!(
            "activity",
            workflow_id = info.workflow_id,
            run_id = info.workflow_run_id,
            activity = info.activity_type,
            attempt = info.attempt,
        );
        next.run(input).instrument(span).boxed()
    }
}
