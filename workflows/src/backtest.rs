//! `BacktestWorkflow`: compares the decisions of two versions on stored comments.

use model::backtest::{Backtest, BacktestId, Report, Source};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination};

use crate::{
    Lenient,
    details::{Section, list},
    headline::rethrow,
    policy,
    progress::{Progress, Tells, asked, begin, end, enter, side_by_side, step_done, tell},
    search,
    signatures::Steps,
    steps::{
        BacktestRequest, JudgeCommentsInput, JudgedComments, PlanBacktestInput, PlannedBacktest, ReportBacktestInput,
        Status,
    },
};

/// Judges comments with two versions. Takes a [`BacktestRequest`], gives a [`Backtest`].
#[workflow]
pub struct BacktestWorkflow {
    request: Lenient<BacktestRequest>,
    progress: Progress,
}

#[workflow_methods]
impl BacktestWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<BacktestRequest>) -> Self {
        let both = request.0.iter().flat_map(|request| [Some(&request.candidate), request.incumbent.as_ref()]);
        let versions = both.flatten().cloned().collect();
        Self { request, progress: Status { stage: "plan".to_owned(), total: 3, versions, ..Status::default() }.into() }
    }

    /// Judges the pieces in parallel, then writes a report.
    #[run(name = "BacktestWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Backtest> {
        begin(ctx);
        let ended = judge(ctx).await;
        end(ctx, ended)
    }

    /// The status of the run, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.progress.status.clone()
    }
}

type Context = WorkflowContext<BacktestWorkflow>;

async fn judge(ctx: &Context) -> Result<Backtest, WorkflowTermination> {
    let request = ctx.state(|w| w.request.clone()).require(BacktestRequest::check)?;
    asked(ctx, &request);
    let BacktestRequest { candidate, incumbent, source } = request;
    ctx.upsert_search_attributes([search::MODEL_VERSION.value_set(candidate.to_string())]);
    if let Source::Dataset(dataset) = &source {
        ctx.upsert_search_attributes([search::DATASET_SHA.value_set(dataset.to_string())]);
        ctx.state_mut(|w| w.progress.status.dataset = Some(dataset.clone()));
    }
    enter(ctx, "plan", format!("looking for the comments of {source}"));
    let input = PlanBacktestInput { candidate: candidate.clone(), incumbent, source: source.clone() };
    let planned = ctx.execute_activity(Steps::plan_backtest, input, policy::long("find the comments")).await;
    let PlannedBacktest { incumbent, pieces } = planned.map_err(|error| rethrow("plan", error))?;
    let id = BacktestId::derive(ctx.state(|w| w.progress.status.started), ctx.workflow_id(), ctx.run_id());
    let count = pieces.len() as u32;
    ctx.state_mut(|w| {
        w.progress.status.versions = vec![candidate.clone(), incumbent.clone()];
        w.progress.status.total = count + 2;
    });
    step_done(ctx);

    enter(ctx, "judge", format!("judging {count} pieces with {candidate} and {incumbent}"));
    let runs = (0..).zip(pieces).map(|(number, piece)| {
        let ctx = ctx.clone();
        let (id, candidate, incumbent) = (id.clone(), candidate.clone(), incumbent.clone());
        let input = JudgeCommentsInput { id, candidate, incumbent, piece, number };
        async move {
            let options = policy::long(format!("judge piece {} of {count}", number + 1));
            let judged: JudgedComments = ctx.execute_activity(Steps::judge_comments, input, options).await?;
            step_done(&ctx);
            Ok(judged.comments)
        }
    });
    let judged: u64 = side_by_side("judge", runs.collect()).await?.into_iter().sum();

    enter(ctx, "report", format!("comparing the verdicts on {judged} comments"));
    let input = ReportBacktestInput { id, candidate, incumbent, source, pieces: count };
    let done = ctx.execute_activity(Steps::report_backtest, input, policy::long("write the report")).await;
    let done: Backtest = done.map_err(|error| rethrow("report", error))?;
    step_done(ctx);
    tell(ctx, Section::Result, result(&done.report));
    let Report { comments, changed, .. } = done.report;
    enter(ctx, "done", format!("{changed} of {comments} comments would be decided differently"));
    Ok(done)
}

/// A summary of the report. The whole report is stored with the candidate.
fn result(report: &Report) -> String {
    let [low, high] = report.changed_interval.map(|share| share * 100.0);
    let changed = format!("{} of {} ({low:.1}% to {high:.1}% with 95%)", report.changed, report.comments);
    let mut facts = vec![
        ("comments decided differently", changed),
        ("now threats", report.to_threat.to_string()),
        ("now harmless", report.to_harmless.to_string()),
    ];
    if let Some(labelled) = &report.labelled {
        facts.push(("labelled comments", format!("{}, of these {} threats", labelled.comments, labelled.threats)));
        facts.push(("now right", labelled.corrected.to_string()));
        facts.push(("now wrong", labelled.broken.to_string()));
    }
    list(&facts)
}

impl Tells for BacktestWorkflow {
    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }
}
