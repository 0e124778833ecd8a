//! `FeedbackWorkflow`: builds a dataset with reviewers' decisions, and trains on it if there are enough new ones.

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{ChildWorkflowOptions, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination};

use crate::{
    Lenient, TrainWorkflow,
    asked::Asked,
    details::{Section, list, tables},
    headline::{not_started, of_child, rethrow},
    policy,
    progress::{Progress, Tells, asked, begin, end, enter, hide, is_findable, step_done, tell},
    search,
    signatures::Steps,
    steps::{
        AutoPromote, BuildInput, BuiltDataset, DatasetChoice, FeedbackReport, FeedbackRequest, Status, TrainReport,
        TrainRequest,
    },
};

/// Turns decisions into a model. Takes a [`FeedbackRequest`], gives a [`FeedbackReport`].
#[workflow]
pub struct FeedbackWorkflow {
    request: Lenient<FeedbackRequest>,
    progress: Progress,
}

#[workflow_methods]
impl FeedbackWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<FeedbackRequest>) -> Self {
        Self { request, progress: Status { stage: "build".to_owned(), total: 2, ..Status::default() }.into() }
    }

    /// One activity, then a separate training run, which waits for approval.
    #[run(name = "FeedbackWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<FeedbackReport> {
        begin(ctx);
        let ended = learn(ctx).await;
        end(ctx, ended)
    }

    /// The status of the run, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.progress.status.clone()
    }
}

type Context = WorkflowContext<FeedbackWorkflow>;

async fn learn(ctx: &Context) -> Result<FeedbackReport, WorkflowTermination> {
    let request = ctx.state(|w| w.request.clone()).require(FeedbackRequest::check)?;
    asked(ctx, &request);
    enter(ctx, "build", "adding what reviewers decided".to_owned());
    let input = BuildInput { resolve: request.resolve, seed: request.training.seed };
    let built = ctx.execute_activity(Steps::build_dataset, input, policy::long("build the dataset")).await;
    let built: BuiltDataset = built.map_err(|error| rethrow("build", error))?;
    ctx.state_mut(|w| w.progress.status.dataset = Some(built.dataset.clone()));
    tell(ctx, Section::Data, data(&built));
    if is_findable(ctx) {
        ctx.upsert_search_attributes([search::DATASET_SHA.value_set(built.dataset.to_string())]);
    }
    step_done(ctx);
    let (new, least) = (built.new_decisions, u64::from(request.least_decisions));
    if new < least || built.dataset == built.base {
        enter(ctx, "done", format!("{new} new decisions, {least} are needed: nothing was trained"));
        return Ok(FeedbackReport { built, training: None });
    }
    let id = format!("{}-train", ctx.workflow_id());
    enter(ctx, "train", format!("{new} new decisions: the run `{id}` trains, is held against the gate and waits"));
    if request.training.auto_promote == AutoPromote::AfterApproval {
        let waits = format!(
            "The run `{id}` will wait for somebody to decide, if the gate passes: open it, or\n\n```\nthreatwatch approve \
             {id} --reason \"WHY\"\n```"
        );
        tell(ctx, Section::Waiting, waits);
    }
    let training = TrainRequest { dataset: Some(DatasetChoice::Stored(built.dataset.clone())), ..request.training };
    let options = ChildWorkflowOptions::builder()
        .workflow_id(id.clone())
        .static_summary(format!("train with {new} new decisions"))
        .static_details(training.told_in_the_clear())
        .build();
    let started = ctx.start_child_workflow(TrainWorkflow::run, Lenient::from(training), options).await;
    let run = started.map_err(|error| not_started("train", &id, error))?;
    let trained: TrainReport = run.result().await.map_err(|error| of_child("train", &id, error))?;
    hide(ctx, Section::Waiting);
    tell_trained(ctx, &trained);
    step_done(ctx);
    let became = if trained.promoted { "is in production" } else { "is registered" };
    enter(ctx, "done", format!("{} {became}", trained.version));
    Ok(FeedbackReport { built, training: Some(trained) })
}

/// Shows the result of the training run. This run's search attributes have it, too.
fn tell_trained(ctx: &Context, trained: &TrainReport) {
    ctx.state_mut(|w| w.progress.status.versions = trained.candidates.iter().map(|c| c.version.clone()).collect());
    tell(ctx, Section::Figures, tables::figures(&trained.candidates));
    tell(ctx, Section::Gate, tables::gate(&trained.gate));
    if is_findable(ctx) {
        let best = trained.candidates.iter().find(|candidate| candidate.version == trained.version);
        ctx.upsert_search_attributes(best.map(search::of_candidate).into_iter().flatten());
        ctx.upsert_search_attributes([search::GATE_RESULT.value_set(search::verdict(trained.gate.passed).to_owned())]);
    }
}

/// The numbers of decisions by what became of them.
fn data(built: &BuiltDataset) -> String {
    let mut facts = vec![
        ("dataset", format!("`{}`, built on `{}`", built.dataset.short(), built.base.short())),
        ("decisions", format!("{}, of these {} new", built.decisions, built.new_decisions)),
        ("sentences added", format!("{}, of these {} threats", built.added, built.threats)),
        ("sentences corrected", built.corrected.to_string()),
    ];
    let comments = built.comments.iter().map(|(became, count)| format!("{count} `{became}`"));
    facts.push(("comments", comments.collect::<Vec<_>>().join(", ")));
    list(&facts)
}

impl Tells for FeedbackWorkflow {
    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }
}
