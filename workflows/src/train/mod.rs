//! `TrainWorkflow`: ingest, train all trainers in parallel, evaluate, register, gate the best, promote if requested.

mod approval;
mod steps;
mod summary;

use std::cmp::Ordering;

use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination};

use self::approval::{APPROVED, REJECTED, Refusal};
use crate::{
    Lenient,
    details::{Section, tables},
    fine_tuning,
    progress::{Progress, Tells, asked, begin, end, step_done, tell},
    promote::await_replicas,
    steps::{Approval, AutoPromote, Candidate, Gated, Promoted, Replicas, Say, Status, TrainReport, TrainRequest},
};

/// Trains models. Takes a [`TrainRequest`], gives a [`TrainReport`].
#[workflow]
pub struct TrainWorkflow {
    request: Lenient<TrainRequest>,
    progress: Progress,
    approval: Option<Approval>,
}

#[workflow_methods]
impl TrainWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<TrainRequest>) -> Self {
        let trainers = request.0.as_ref().map_or(0, |r| r.trainers.len() as u32);
        let takes_encoder =
            request.0.iter().flat_map(|r| &r.trainers).any(|trainer| fine_tuning::takes_encoder(trainer));
        let of_encoder = if takes_encoder { fine_tuning::STEPS } else { 0 };
        // ingest, three steps per trainer, gate
        let total = 2 + 3 * trainers + of_encoder;
        let status = Status { stage: "ingest".to_owned(), total, ..Status::default() };
        Self { request, progress: status.into(), approval: None }
    }

    /// Runs all steps.
    #[run(name = "TrainWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<TrainReport> {
        begin(ctx);
        let ended = train(ctx).await;
        end(ctx, ended)
    }

    /// The status of the run, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.progress.status.clone()
    }

    /// Approves the promotion of the best version. Refused unless the run waits for approval.
    #[update(name = "approve")]
    pub fn approve(&mut self, _: &mut SyncWorkflowContext<Self>, say: Lenient<Say>) -> String {
        self.hear(APPROVED, say)
    }

    /// As [`Self::may_be_said`].
    #[update_validator(approve)]
    fn check_approval(&self, _: &WorkflowContextView, say: &Lenient<Say>) -> Result<(), Refusal> {
        self.may_be_said(say)
    }

    /// Ends the run without a promotion. Refused unless the run waits for approval.
    #[update(name = "reject")]
    pub fn reject(&mut self, _: &mut SyncWorkflowContext<Self>, say: Lenient<Say>) -> String {
        self.hear(REJECTED, say)
    }

    /// As [`Self::may_be_said`].
    #[update_validator(reject)]
    fn check_rejection(&self, _: &WorkflowContextView, say: &Lenient<Say>) -> Result<(), Refusal> {
        self.may_be_said(say)
    }
}

impl Tells for TrainWorkflow {
    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }
}

type Context = WorkflowContext<TrainWorkflow>;

async fn train(ctx: &Context) -> Result<TrainReport, WorkflowTermination> {
    let request = ctx.state(|w| w.request.clone()).require(TrainRequest::check)?;
    asked(ctx, &request);
    let (ingested, counts) = steps::prepare(ctx, &request).await?;
    let trained = steps::train(ctx, &request, &ingested, counts).await?;
    let evaluated = steps::evaluate(ctx, &trained).await?;
    let mut candidates = steps::register(ctx, trained, evaluated).await?;
    candidates.sort_by(best_first);
    // Best first, as the figures are.
    ctx.state_mut(|w| w.progress.status.versions = candidates.iter().map(|c| c.version.clone()).collect());
    tell(ctx, Section::Figures, tables::figures(&candidates));
    let best = candidates[0].clone();
    let decided = decide(ctx, &request, &best).await?;
    let live = go_live(ctx, &request, &best, &decided).await?;
    let (promoted, replicas) = live.unzip();
    let report = TrainReport {
        version: best.version,
        trainer: best.trainer,
        dataset: ingested.dataset,
        candidates,
        gate: decided.gate,
        promoted: promoted.is_some(),
        generation: promoted.map(|p| p.generation),
        approval: decided.approval,
        replicas,
    };
    summary::finish(ctx, &report);
    Ok(report)
}

/// The decision on the best version, and its reason.
struct Decided {
    gate: Gated,
    approval: Option<Approval>,
    goes_live: bool,
}

/// Runs the gate and, if requested, waits for approval.
async fn decide(ctx: &Context, request: &TrainRequest, best: &Candidate) -> Result<Decided, WorkflowTermination> {
    let gate = steps::gate(ctx, best).await?;
    if !gate.passed || request.auto_promote != AutoPromote::AfterApproval {
        let goes_live = gate.passed && request.auto_promote == AutoPromote::IfGatePasses;
        return Ok(Decided { gate, approval: None, goes_live });
    }
    let said = approval::await_approval(ctx, request, best).await?;
    if said.outcome != APPROVED {
        return Ok(Decided { gate, approval: Some(said), goes_live: false });
    }
    // Days may have passed: another model may be in production now.
    ctx.state_mut(|w| w.progress.status.total += 1);
    let gate = steps::gate(ctx, best).await?;
    let goes_live = gate.passed;
    Ok(Decided { gate, approval: Some(said), goes_live })
}

/// Promotes the best version if the decision says so, and waits for the replicas.
async fn go_live(
    ctx: &Context,
    request: &TrainRequest,
    best: &Candidate,
    decided: &Decided,
) -> Result<Option<(Promoted, Replicas)>, WorkflowTermination> {
    if !decided.goes_live {
        return Ok(None);
    }
    let promoted = steps::promote(ctx, request, best, decided).await?;
    let replicas = await_replicas(ctx, promoted.generation).await?;
    step_done(ctx);
    Ok(Some((promoted, replicas)))
}

fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    let pr_auc = |c: &Candidate| c.cross_validation.sentence.pr_auc;
    pr_auc(b).total_cmp(&pr_auc(a)).then_with(|| a.trainer.cmp(&b.trainer))
}
