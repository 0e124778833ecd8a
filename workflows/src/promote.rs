//! `PromoteWorkflow` and `RollbackWorkflow`: one runs at a time, and each writes at most one generation.

use model::Generation;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityExecutionError, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
};

use crate::{
    Lenient,
    details::{Section, tables},
    failure,
    headline::rethrow,
    lenient::fail,
    policy,
    progress::{Progress, Tells, asked, begin, end, is_findable, show, tell},
    search,
    signatures::Steps,
    steps::{
        AwaitInput, FindRollbackInput, FoundRollback, GateInput, Gated, Outcome, PromoteInput, PromoteReport,
        PromoteRequest, Promoted, Replicas, RollbackRequest, Status,
    },
};

/// Puts a version into production if the gate passes.
#[workflow]
pub struct PromoteWorkflow {
    request: Lenient<PromoteRequest>,
    progress: Progress,
}

#[workflow_methods]
impl PromoteWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<PromoteRequest>) -> Self {
        let versions = request.0.iter().map(|request| request.version.clone()).collect();
        let actor = actor(request.0.iter().find_map(|request| request.actor.as_ref()));
        let mut status = Status { versions, total: 3, actor, ..Status::default() };
        set(&mut status, "gate", 0, "checking the candidate");
        Self { request, progress: status.into() }
    }

    /// Runs the gate, then writes once.
    #[run(name = "PromoteWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<PromoteReport> {
        begin(ctx);
        let ended = promote(ctx).await;
        end(ctx, ended)
    }

    /// The status of the run, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.progress.status.clone()
    }
}

impl Tells for PromoteWorkflow {
    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }
}

async fn promote(ctx: &WorkflowContext<PromoteWorkflow>) -> Result<PromoteReport, WorkflowTermination> {
    let request = ctx.state(|w| w.request.clone()).require(PromoteRequest::check)?;
    asked(ctx, &request);
    enter(ctx, "gate", 0, "checking the candidate");
    ctx.upsert_search_attributes([search::MODEL_VERSION.value_set(request.version.to_string())]);
    let options = policy::long(format!("gate {}", request.version));
    let judged = ctx.execute_activity(Steps::gate, GateInput { version: request.version.clone() }, options).await;
    let gate: Gated = judged.map_err(|error| rethrow("gate", error))?;
    let generation = gate.generation.unwrap_or_default();
    if request.expected_generation.is_some_and(|expected| expected != generation) {
        let message = match (&gate.against, &gate.promoted_by) {
            (Some(version), Some(actor)) => {
                format!("production is at generation {generation}, version {version}, put there by {actor}")
            }
            _ => "nothing is in production".to_owned(),
        };
        return Err(fail(failure::CONFLICT, message));
    }
    if gate.against.as_ref() == Some(&request.version) {
        enter(ctx, "done", 3, "it is in production already");
        return Ok(report(Outcome::AlreadyLive, &request, None, gate));
    }
    let forced = request.force && !gate.passed;
    let result = if forced { search::FORCED } else { search::verdict(gate.passed) };
    ctx.upsert_search_attributes([search::GATE_RESULT.value_set(result.to_owned())]);
    tell(ctx, Section::Gate, tables::gate(&gate));
    if request.dry_run {
        let message = match (gate.passed, forced) {
            (true, _) => "it would be promoted; nothing was written",
            (false, true) => "it would be promoted by force; nothing was written",
            (false, false) => "the gate would refuse it; nothing was written",
        };
        enter(ctx, "done", 3, message);
        return Ok(report(Outcome::DryRun, &request, None, gate));
    }
    if !gate.passed && !forced {
        let message = format!("the gate refuses {}: {}", request.version, gate.failures());
        return Err(fail(failure::GATE_FAILED, message));
    }
    enter(ctx, "promote", 1, "writing the generation");
    let input = PromoteInput {
        version: request.version.clone(),
        change_id: change_id(ctx.workflow_id(), ctx.run_id()),
        // The version that the gate compared with must still be in production.
        expected_generation: Some(generation),
        actor: actor(request.actor.as_ref()),
        reason: request.reason.clone().unwrap_or_default(),
        gate: Some(gate.clone()),
        forced,
    };
    let options = policy::short(format!("promote {}", request.version));
    let promoted = ctx.execute_activity(Steps::promote, input, options).await;
    let promoted: Promoted = promoted.map_err(|error| rethrow("promote", error))?;
    enter(ctx, "verify", 2, "waiting for the replicas");
    let replicas = await_replicas(ctx, promoted.generation).await?;
    enter(ctx, "done", 3, "in production");
    Ok(PromoteReport { replicas: Some(replicas), ..report(outcome(&promoted), &request, Some(promoted), gate) })
}

/// Puts the previous version, or a given one, into production again.
#[workflow]
pub struct RollbackWorkflow {
    request: Lenient<RollbackRequest>,
    progress: Progress,
}

#[workflow_methods]
impl RollbackWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<RollbackRequest>) -> Self {
        let actor = actor(request.0.iter().find_map(|request| request.actor.as_ref()));
        let mut status = Status { total: 3, actor, ..Status::default() };
        set(&mut status, "verify", 0, "finding and verifying the version to go back to");
        Self { request, progress: status.into() }
    }

    /// Finds and verifies the target, then writes once.
    #[run(name = "RollbackWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<PromoteReport> {
        begin(ctx);
        let ended = roll_back(ctx).await;
        end(ctx, ended)
    }

    /// The status of the run, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.progress.status.clone()
    }
}

impl Tells for RollbackWorkflow {
    fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }
}

async fn roll_back(ctx: &WorkflowContext<RollbackWorkflow>) -> Result<PromoteReport, WorkflowTermination> {
    let request = ctx.state(|w| w.request.clone()).require(RollbackRequest::check)?;
    asked(ctx, &request);
    enter(ctx, "verify", 0, "finding and verifying the version to go back to");
    let input = FindRollbackInput { to: request.to.clone() };
    let found = ctx.execute_activity(Steps::find_rollback, input, policy::short("find the previous version")).await;
    let target: FoundRollback = found.map_err(|error| rethrow("rollback", error))?;
    ctx.upsert_search_attributes([search::MODEL_VERSION.value_set(target.version.to_string())]);
    ctx.state_mut(|w| w.progress.status.versions.push(target.version.clone()));
    enter(ctx, "promote", 1, "writing the generation");

    let input = PromoteInput {
        version: target.version.clone(),
        change_id: change_id(ctx.workflow_id(), ctx.run_id()),
        expected_generation: Some(target.generation),
        actor: actor(request.actor.as_ref()),
        reason: request.reason.clone().unwrap_or_else(|| "rollback".to_owned()),
        gate: None,
        forced: false,
    };
    let options = policy::short(format!("roll back to {}", target.version));
    let promoted = ctx.execute_activity(Steps::promote, input, options).await;
    let promoted: Promoted = promoted.map_err(|error| rethrow("promote", error))?;
    enter(ctx, "verify", 2, "waiting for the replicas");
    let replicas = await_replicas(ctx, promoted.generation).await?;
    enter(ctx, "done", 3, "in production");
    Ok(PromoteReport {
        outcome: outcome(&promoted),
        version: promoted.version,
        generation: Some(promoted.generation),
        previous: promoted.previous,
        gate: None,
        replicas: Some(replicas),
    })
}

/// An id that is the same for every attempt of a run's promotion.
pub(crate) fn change_id(workflow_id: &str, run_id: &str) -> String {
    format!("{workflow_id}/{run_id}")
}

fn actor(named: Option<&String>) -> String {
    named.cloned().unwrap_or_else(|| "unknown".to_owned())
}

fn outcome(promoted: &Promoted) -> Outcome {
    if promoted.is_new { Outcome::Promoted } else { Outcome::AlreadyLive }
}

fn report(outcome: Outcome, request: &PromoteRequest, promoted: Option<Promoted>, gate: Gated) -> PromoteReport {
    PromoteReport {
        outcome,
        version: request.version.clone(),
        generation: promoted.as_ref().map(|p| p.generation).or(gate.generation),
        previous: promoted.and_then(|p| p.previous).or_else(|| gate.against.clone()),
        gate: Some(gate),
        replicas: None,
    }
}

/// Waits until every replica of the service reports a generation, or returns those that did not in time.
pub(crate) async fn await_replicas<W: 'static>(
    ctx: &WorkflowContext<W>,
    generation: Generation,
) -> Result<Replicas, WorkflowTermination> {
    // Runs of the previous release end with the write.
    if !ctx.patched("await_replicas") {
        return Ok(Replicas::default());
    }
    let options = policy::brief(format!("wait for the replicas to serve generation {generation}"));
    match ctx.execute_activity(Steps::await_replicas, AwaitInput { generation }, options).await {
        Ok(replicas) => Ok(replicas),
        Err(error @ ActivityExecutionError::Cancelled(_)) => Err(error.into()),
        // The generation is written: the promotion is done, whatever fails from here on.
        Err(error) => Ok(Replicas { unknown: Some(error.to_string()), ..Replicas::default() }),
    }
}

/// Begins a stage of a run, with the number of finished steps.
fn enter<W: Tells>(ctx: &WorkflowContext<W>, stage: &str, done: u32, message: &str) {
    ctx.state_mut(|w| set(&mut w.progress_mut().status, stage, done, message));
    show(ctx);
    if is_findable(ctx) {
        ctx.upsert_search_attributes([search::STAGE.value_set(stage.to_owned())]);
    }
}

fn set(status: &mut Status, stage: &str, done: u32, message: &str) {
    stage.clone_into(&mut status.stage);
    message.clone_into(&mut status.message);
    status.done = done;
}
