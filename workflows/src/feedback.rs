//! `FeedbackWorkflow`: builds a dataset from what reviewers decided, and trains on it once there is enough that is new.

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ChildWorkflowOptions, WorkflowContext, WorkflowContextView, WorkflowResult};

use crate::{
    Lenient, TrainWorkflow, policy,
    progress::{Tells, enter, step_done},
    promote::rethrow,
    signatures::Steps,
    steps::{
        BuildInput, BuiltDataset, DatasetChoice, FeedbackReport, FeedbackRequest, Status, TrainReport, TrainRequest,
    },
};

/// Turns decisions into a model; see [`FeedbackRequest`] for what it takes and [`FeedbackReport`] for what it gives.
#[workflow]
pub struct FeedbackWorkflow {
    request: Lenient<FeedbackRequest>,
    status: Status,
}

#[workflow_methods]
impl FeedbackWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<FeedbackRequest>) -> Self {
        Self { request, status: Status { stage: "build".to_owned(), total: 2, ..Status::default() } }
    }

    /// One activity, then a training run of its own: what waits for approval is that run.
    #[run(name = "FeedbackWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<FeedbackReport> {
        let request = ctx.state(|w| w.request.clone()).require(FeedbackRequest::check)?;
        enter(ctx, "build", "adding what reviewers decided".to_owned());
        let input = BuildInput { resolve: request.resolve, seed: request.training.seed };
        let built = ctx.execute_activity(Steps::build_dataset, input, policy::long("build the dataset")).await;
        let built: BuiltDataset = built.map_err(|error| rethrow("build", error))?;
        ctx.state_mut(|w| w.status.dataset = Some(built.dataset.clone()));
        step_done(ctx);
        let (new, least) = (built.new_decisions, u64::from(request.least_decisions));
        if new < least || built.dataset == built.base {
            enter(ctx, "done", format!("{new} new decisions, {least} are needed: nothing was trained"));
            return Ok(FeedbackReport { built, training: None });
        }
        let id = format!("{}-train", ctx.workflow_id());
        enter(ctx, "train", format!("{new} new decisions: the run `{id}` trains, is held against the gate and waits"));
        let training: Lenient<TrainRequest> =
            TrainRequest { dataset: Some(DatasetChoice::Stored(built.dataset.clone())), ..request.training }.into();
        let summary = format!("train with {new} new decisions");
        let options = ChildWorkflowOptions::builder().workflow_id(id).static_summary(summary).build();
        let run = ctx.start_child_workflow(TrainWorkflow::run, training, options).await?;
        let trained: TrainReport = run.result().await?;
        step_done(ctx);
        let became = if trained.promoted { "is in production" } else { "is registered" };
        enter(ctx, "done", format!("{} {became}", trained.version));
        Ok(FeedbackReport { built, training: Some(trained) })
    }

    /// Where the run stands, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.status.clone()
    }
}

impl Tells for FeedbackWorkflow {
    fn status_mut(&mut self) -> &mut Status {
        &mut self.status
    }
}
