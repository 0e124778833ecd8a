//! `BacktestWorkflow`: what a version would have decided otherwise than another one, of comments that are stored.

use model::backtest::{Backtest, BacktestId, Report, Source};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowResult};

use crate::{
    Lenient, policy,
    progress::{Tells, enter, side_by_side, step_done},
    promote::rethrow,
    search,
    signatures::Steps,
    steps::{
        BacktestRequest, JudgeCommentsInput, JudgedComments, PlanBacktestInput, PlannedBacktest, ReportBacktestInput,
        Status,
    },
};

/// Judges comments by two versions; see [`BacktestRequest`] for what it takes and [`Backtest`] for what it gives.
#[workflow]
pub struct BacktestWorkflow {
    request: Lenient<BacktestRequest>,
    status: Status,
}

#[workflow_methods]
impl BacktestWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<BacktestRequest>) -> Self {
        let both = request.0.iter().flat_map(|request| [Some(&request.candidate), request.incumbent.as_ref()]);
        let versions = both.flatten().cloned().collect();
        Self { request, status: Status { stage: "plan".to_owned(), total: 3, versions, ..Status::default() } }
    }

    /// The pieces side by side, and a report on what they found.
    #[run(name = "BacktestWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Backtest> {
        let request = ctx.state(|w| w.request.clone()).require(BacktestRequest::check)?;
        let BacktestRequest { candidate, incumbent, source } = request;
        ctx.upsert_search_attributes([search::MODEL_VERSION.value_set(candidate.to_string())]);
        if let Source::Dataset(dataset) = &source {
            ctx.upsert_search_attributes([search::DATASET_SHA.value_set(dataset.to_string())]);
            ctx.state_mut(|w| w.status.dataset = Some(dataset.clone()));
        }
        enter(ctx, "plan", format!("looking for the comments of {source}"));
        let input = PlanBacktestInput { candidate: candidate.clone(), incumbent, source: source.clone() };
        let planned = ctx.execute_activity(Steps::plan_backtest, input, policy::long("find the comments")).await;
        let PlannedBacktest { incumbent, pieces } = planned.map_err(|error| rethrow("plan", error))?;
        let id = BacktestId::derive(ctx.state(|w| w.status.started), ctx.workflow_id(), ctx.run_id());
        let count = pieces.len() as u32;
        ctx.state_mut(|w| {
            w.status.versions = vec![candidate.clone(), incumbent.clone()];
            w.status.total = count + 2;
        });
        step_done(ctx);

        enter(ctx, "judge", format!("judging {count} pieces by {candidate} and by {incumbent}"));
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
        let Report { comments, changed, .. } = done.report;
        enter(ctx, "done", format!("{changed} of {comments} comments would be decided otherwise"));
        Ok(done)
    }

    /// Where the run stands, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.status.clone()
    }
}

impl Tells for BacktestWorkflow {
    fn status_mut(&mut self) -> &mut Status {
        &mut self.status
    }
}
