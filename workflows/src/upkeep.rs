//! `RetentionWorkflow` deletes unneeded data; `ReproduceWorkflow` trains a version again and compares the bytes.

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination};

use crate::{
    CODE_VERSION, Lenient,
    details::{Section, list, tables},
    fine_tuning,
    headline::rethrow,
    policy,
    progress::{Progress, Tells, asked, begin, end, enter, is_findable, step_done, tell},
    search,
    shards::{Order, count},
    signatures::Steps,
    steps::{
        PruneInput, Pruned, RecallInput, Recalled, ReproduceReport, ReproduceRequest, RetentionRequest, Status, Trained,
    },
};

/// Deletes old versions that were never promoted, and data that no version uses.
#[workflow]
pub struct RetentionWorkflow {
    request: Lenient<RetentionRequest>,
    progress: Progress,
}

#[workflow_methods]
impl RetentionWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<RetentionRequest>) -> Self {
        Self { request, progress: Status { stage: "prune".to_owned(), total: 1, ..Status::default() }.into() }
    }

    /// One activity, which may run again at any time.
    #[run(name = "RetentionWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Pruned> {
        begin(ctx);
        let ended = prune(ctx).await;
        end(ctx, ended)
    }

    /// The status of the run, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.progress.status.clone()
    }
}

async fn prune(ctx: &WorkflowContext<RetentionWorkflow>) -> Result<Pruned, WorkflowTermination> {
    let request = ctx.state(|w| w.request.clone()).require(RetentionRequest::check)?;
    asked(ctx, &request);
    enter(ctx, "prune", format!("checking versions older than the newest {}", request.keep));
    let input = PruneInput { keep: request.keep, dry_run: request.dry_run, ..PruneInput::default() };
    let pruned = ctx.execute_activity(Steps::prune, input, policy::long("delete unneeded data")).await;
    let pruned: Pruned = pruned.map_err(|error| rethrow("prune", error))?;
    step_done(ctx);
    tell(ctx, Section::Result, pruned_list(&pruned));
    let verb = if request.dry_run { "would be deleted" } else { "were deleted" };
    let (versions, blobs, datasets) = (pruned.versions.len(), pruned.blobs, pruned.datasets);
    enter(ctx, "done", format!("{versions} versions, {blobs} blobs and {datasets} datasets {verb}"));
    Ok(pruned)
}

impl Tells for RetentionWorkflow {
    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }
}

/// What was deleted or would be deleted.
fn pruned_list(pruned: &Pruned) -> String {
    let versions = pruned.versions.iter().map(|version| format!("`{version}`")).collect::<Vec<_>>().join(", ");
    let mut facts = vec![
        ("versions", if versions.is_empty() { "none".to_owned() } else { versions }),
        ("bytes", pruned.bytes.to_string()),
        ("marked, to be deleted a day later", format!("{} objects", pruned.marked)),
    ];
    if pruned.was_busy {
        facts.push(("not touched", "blobs and datasets, because a running training may soon use one".to_owned()));
    }
    list(&facts)
}

/// Trains a version again from its manifest.
#[workflow]
pub struct ReproduceWorkflow {
    request: Lenient<ReproduceRequest>,
    progress: Progress,
}

#[workflow_methods]
impl ReproduceWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<ReproduceRequest>) -> Self {
        let versions = request.0.iter().map(|request| request.version.clone()).collect();
        Self {
            request,
            progress: Status { stage: "recall".to_owned(), total: 2, versions, ..Status::default() }.into(),
        }
    }

    /// Runs the same steps as the training, but registers nothing.
    #[run(name = "ReproduceWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<ReproduceReport> {
        begin(ctx);
        let ended = reproduce(ctx).await;
        end(ctx, ended)
    }

    /// The status of the run, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.progress.status.clone()
    }
}

async fn reproduce(ctx: &WorkflowContext<ReproduceWorkflow>) -> Result<ReproduceReport, WorkflowTermination> {
    let request = ctx.state(|w| w.request.clone()).require(ReproduceRequest::check)?;
    asked(ctx, &request);
    ctx.upsert_search_attributes([search::MODEL_VERSION.value_set(request.version.to_string())]);
    enter(ctx, "recall", format!("reading the manifest of {}", request.version));
    let input = RecallInput { version: request.version.clone() };
    let recalled = ctx.execute_activity(Steps::recall, input, policy::short("read the manifest")).await;
    let Recalled { mut input, shards, artifact, code_version, base } =
        recalled.map_err(|error| rethrow("recall", error))?;
    ctx.upsert_search_attributes([search::DATASET_SHA.value_set(input.dataset.to_string())]);
    if is_findable(ctx) {
        ctx.upsert_search_attributes([search::TRAINER.value_set(input.trainer.clone())]);
    }
    ctx.state_mut(|w| w.progress.status.dataset = Some(input.dataset.clone()));
    step_done(ctx);
    if input.sample.is_some() {
        let trainers = [input.trainer.clone()];
        let order =
            Order { dataset: &input.dataset, shards, trainers: &trainers, preset: input.preset, seed: input.seed };
        input.counts = count(ctx, &order).await?;
    }
    if let Some(base) = base {
        ctx.state_mut(|w| w.progress.status.total += fine_tuning::STEPS);
        input.encoder = Some(fine_tuning::fine_tune(ctx, &input, Some(base)).await?);
    }
    enter(ctx, "train", format!("training {} again", input.trainer));
    let options = policy::long(format!("train {} again", input.trainer));
    let trained = ctx.execute_activity(Steps::train, input, options).await;
    let trained: Trained = trained.map_err(|error| rethrow("train", error))?;
    step_done(ctx);
    let identical = trained.artifact == artifact;
    if is_findable(ctx) {
        let figures = &trained.cross_validation.sentence;
        let figures = [search::PR_AUC.value_set(figures.pr_auc), search::F1.value_set(figures.f1)];
        ctx.upsert_search_attributes(figures);
    }
    tell(ctx, Section::Figures, tables::of_training(&[&trained]));
    let compared = [
        ("registered", format!("`{artifact}`, by threatwatch {code_version}")),
        ("trained again", format!("`{}`, by threatwatch {CODE_VERSION}", trained.artifact)),
    ];
    tell(ctx, Section::Result, list(&compared));
    let outcome = if identical { "the bytes are identical" } else { "the bytes differ" };
    enter(ctx, "done", format!("{}: {outcome}", request.version));
    Ok(ReproduceReport {
        version: request.version,
        identical,
        expected: artifact,
        actual: trained.artifact,
        trained_by: code_version,
        reproduced_by: CODE_VERSION.to_owned(),
    })
}

impl Tells for ReproduceWorkflow {
    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }
}
