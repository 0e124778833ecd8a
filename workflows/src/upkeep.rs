//! `RetentionWorkflow` deletes what nothing needs; `ReproduceWorkflow` trains a version again and compares the bytes.

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowResult};

use crate::{
    Lenient, fine_tuning, policy,
    progress::{Tells, enter, step_done},
    promote::rethrow,
    search,
    shards::{Order, count},
    signatures::Steps,
    steps::{
        PruneInput, Pruned, RecallInput, Recalled, ReproduceReport, ReproduceRequest, RetentionRequest, Status, Trained,
    },
};

/// Deletes old versions that were never promoted, and what no version names.
#[workflow]
pub struct RetentionWorkflow {
    request: Lenient<RetentionRequest>,
    status: Status,
}

#[workflow_methods]
impl RetentionWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<RetentionRequest>) -> Self {
        Self { request, status: Status { stage: "prune".to_owned(), total: 1, ..Status::default() } }
    }

    /// One activity, which may run again at any time.
    #[run(name = "RetentionWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Pruned> {
        let request = ctx.state(|w| w.request.clone()).require(RetentionRequest::check)?;
        enter(ctx, "prune", format!("looking past the newest {} versions", request.keep));
        let input = PruneInput { keep: request.keep, dry_run: request.dry_run, ..PruneInput::default() };
        let pruned = ctx.execute_activity(Steps::prune, input, policy::long("delete what nothing needs")).await;
        let pruned: Pruned = pruned.map_err(|error| rethrow("prune", error))?;
        step_done(ctx);
        let verb = if request.dry_run { "would be deleted" } else { "were deleted" };
        let (versions, blobs, datasets) = (pruned.versions.len(), pruned.blobs, pruned.datasets);
        enter(ctx, "done", format!("{versions} versions, {blobs} blobs and {datasets} datasets {verb}"));
        Ok(pruned)
    }

    /// Where the run stands, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.status.clone()
    }
}

impl Tells for RetentionWorkflow {
    fn status_mut(&mut self) -> &mut Status {
        &mut self.status
    }
}

/// Trains a version again from its manifest.
#[workflow]
pub struct ReproduceWorkflow {
    request: Lenient<ReproduceRequest>,
    status: Status,
}

#[workflow_methods]
impl ReproduceWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<ReproduceRequest>) -> Self {
        let versions = request.0.iter().map(|request| request.version.clone()).collect();
        Self { request, status: Status { stage: "recall".to_owned(), total: 2, versions, ..Status::default() } }
    }

    /// The same steps as when it was trained, and no registration.
    #[run(name = "ReproduceWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<ReproduceReport> {
        let request = ctx.state(|w| w.request.clone()).require(ReproduceRequest::check)?;
        ctx.upsert_search_attributes([search::MODEL_VERSION.value_set(request.version.to_string())]);
        enter(ctx, "recall", format!("reading the manifest of {}", request.version));
        let input = RecallInput { version: request.version.clone() };
        let recalled = ctx.execute_activity(Steps::recall, input, policy::short("read the manifest")).await;
        let Recalled { mut input, shards, artifact, code_version, base } =
            recalled.map_err(|error| rethrow("recall", error))?;
        ctx.upsert_search_attributes([search::DATASET_SHA.value_set(input.dataset.to_string())]);
        ctx.state_mut(|w| w.status.dataset = Some(input.dataset.clone()));
        step_done(ctx);
        if input.sample.is_some() {
            let trainers = [input.trainer.clone()];
            let order =
                Order { dataset: &input.dataset, shards, trainers: &trainers, preset: input.preset, seed: input.seed };
            input.counts = count(ctx, &order).await?;
        }
        if let Some(base) = base {
            ctx.state_mut(|w| w.status.total += fine_tuning::STEPS);
            input.encoder = Some(fine_tuning::fine_tune(ctx, &input, Some(base)).await?);
        }
        enter(ctx, "train", format!("training {} again", input.trainer));
        let options = policy::long(format!("train {} again", input.trainer));
        let trained = ctx.execute_activity(Steps::train, input, options).await;
        let trained: Trained = trained.map_err(|error| rethrow("train", error))?;
        step_done(ctx);
        let identical = trained.artifact == artifact;
        let outcome = if identical { "the same bytes came of it" } else { "other bytes came of it" };
        enter(ctx, "done", format!("{}: {outcome}", request.version));
        Ok(ReproduceReport {
            version: request.version,
            identical,
            expected: artifact,
            actual: trained.artifact,
            trained_by: code_version,
            reproduced_by: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// Where the run stands, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.status.clone()
    }
}

impl Tells for ReproduceWorkflow {
    fn status_mut(&mut self) -> &mut Status {
        &mut self.status
    }
}
