//! The forum's own workflow and activity, on the same worker as those of threatwatch.

use std::time::Duration;

use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ChildWorkflowOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use workflows::{
    Lenient, TrainWorkflow,
    steps::{AutoPromote, TrainReport, TrainRequest},
};

use crate::source::exports;

/// Trains on the inbox if it is not empty.
#[workflow]
#[derive(Default)]
pub(crate) struct ForumWorkflow;

#[workflow_methods]
impl ForumWorkflow {
    /// Returns what became of the new version, or `nothing to learn`.
    #[run(name = "ForumWorkflow")]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        let brief = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(10)).build();
        let waiting: u64 = ctx.execute_activity(ForumActivities::count_exports, (), brief).await?;
        if waiting == 0 {
            return Ok("nothing to learn".to_owned());
        }
        let request = TrainRequest {
            trainers: vec!["forum_odds".to_owned()],
            source: Some("forum_inbox".to_owned()),
            auto_promote: AutoPromote::IfGatePasses,
            actor: Some("the forum".to_owned()),
            ..TrainRequest::default()
        };
        let id = format!("{}-train", ctx.workflow_id());
        let options = ChildWorkflowOptions::builder().workflow_id(id).build();
        let run = ctx.start_child_workflow(TrainWorkflow::run, Lenient::from(request), options).await?;
        let report: TrainReport = run.result().await?;
        let became = if report.promoted { "is in production" } else { "was refused" };
        Ok(format!("{} {became}", report.version))
    }
}

pub(crate) struct ForumActivities;

#[activities]
impl ForumActivities {
    /// Number of exports in the inbox.
    #[activity(name = "forum_count_exports")]
    pub(crate) async fn count_exports(_: ActivityContext, (): ()) -> Result<u64, ActivityError> {
        Ok(exports()?.len() as u64)
    }
}
