//! `PromoteWorkflow` and `RollbackWorkflow`: one runs at a time, and each writes at most one generation.

use model::Generation;
use temporalio_common::protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityExecutionError, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
};

use crate::{
    Lenient, failure,
    lenient::fail,
    policy, search,
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
    status: Status,
}

#[workflow_methods]
impl PromoteWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<PromoteRequest>) -> Self {
        let versions = request.0.iter().map(|request| request.version.clone()).collect();
        let actor = actor(request.0.iter().find_map(|request| request.actor.as_ref()));
        let mut status = Status { versions, total: 3, actor, ..Status::default() };
        tell(&mut status, "gate", 0, "holding the candidate against the checks");
        Self { request, status }
    }

    /// Gate, then one write.
    #[run(name = "PromoteWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<PromoteReport> {
        let request = ctx.state(|w| w.request.clone()).require(PromoteRequest::check)?;
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
            ctx.state_mut(|w| tell(&mut w.status, "done", 3, "it was in production already"));
            return Ok(report(Outcome::AlreadyLive, &request, None, gate));
        }
        let forced = request.force && !gate.passed;
        let result = if forced { "forced" } else { word(gate.passed) };
        ctx.upsert_search_attributes([search::GATE_RESULT.value_set(result.to_owned())]);
        ctx.set_current_details(table(&gate));
        if request.dry_run {
            let message = match (gate.passed, forced) {
                (true, _) => "it would be promoted; nothing was written",
                (false, true) => "it would be promoted by force; nothing was written",
                (false, false) => "the gate would refuse it; nothing was written",
            };
            ctx.state_mut(|w| tell(&mut w.status, "done", 3, message));
            return Ok(report(Outcome::DryRun, &request, None, gate));
        }
        if !gate.passed && !forced {
            let message = format!("the gate refuses {}: {}", request.version, gate.failures());
            return Err(fail(failure::GATE_FAILED, message));
        }
        ctx.state_mut(|w| tell(&mut w.status, "promote", 1, "writing the generation"));
        let input = PromoteInput {
            version: request.version.clone(),
            change_id: change_id(ctx.workflow_id(), ctx.run_id()),
            // What the gate compared with must still be in production.
            expected_generation: Some(generation),
            actor: actor(request.actor.as_ref()),
            reason: request.reason.clone().unwrap_or_default(),
            gate: Some(gate.clone()),
            forced,
        };
        let options = policy::short(format!("promote {}", request.version));
        let promoted = ctx.execute_activity(Steps::promote, input, options).await;
        let promoted: Promoted = promoted.map_err(|error| rethrow("promote", error))?;
        ctx.state_mut(|w| tell(&mut w.status, "verify", 2, "waiting for the replicas"));
        let replicas = await_replicas(ctx, promoted.generation).await?;
        ctx.state_mut(|w| tell(&mut w.status, "done", 3, "in production"));
        Ok(PromoteReport { replicas: Some(replicas), ..report(outcome(&promoted), &request, Some(promoted), gate) })
    }

    /// Where the run stands, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.status.clone()
    }
}

/// Puts the version before into production again, or the one that is named.
#[workflow]
pub struct RollbackWorkflow {
    request: Lenient<RollbackRequest>,
    status: Status,
}

#[workflow_methods]
impl RollbackWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<RollbackRequest>) -> Self {
        let actor = actor(request.0.iter().find_map(|request| request.actor.as_ref()));
        let mut status = Status { total: 3, actor, ..Status::default() };
        tell(&mut status, "verify", 0, "finding and verifying the version to go back to");
        Self { request, status }
    }

    /// Find and verify the target, then one write.
    #[run(name = "RollbackWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<PromoteReport> {
        let request = ctx.state(|w| w.request.clone()).require(RollbackRequest::check)?;
        let input = FindRollbackInput { to: request.to.clone() };
        let found = ctx.execute_activity(Steps::find_rollback, input, policy::short("find the version before")).await;
        let target: FoundRollback = found.map_err(|error| rethrow("rollback", error))?;
        ctx.upsert_search_attributes([search::MODEL_VERSION.value_set(target.version.to_string())]);
        ctx.state_mut(|w| w.status.versions.push(target.version.clone()));
        ctx.state_mut(|w| tell(&mut w.status, "promote", 1, "writing the generation"));

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
        ctx.state_mut(|w| tell(&mut w.status, "verify", 2, "waiting for the replicas"));
        let replicas = await_replicas(ctx, promoted.generation).await?;
        ctx.state_mut(|w| tell(&mut w.status, "done", 3, "in production"));
        Ok(PromoteReport {
            outcome: outcome(&promoted),
            version: promoted.version,
            generation: Some(promoted.generation),
            previous: promoted.previous,
            gate: None,
            replicas: Some(replicas),
        })
    }

    /// Where the run stands, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.status.clone()
    }
}

/// The same for every attempt of a run's promotion.
pub(crate) fn change_id(workflow_id: &str, run_id: &str) -> String {
    format!("{workflow_id}/{run_id}")
}

/// Ends the run with the activity's own words as the headline, not with "Activity task failed".
pub(crate) fn rethrow(stage: &str, error: ActivityExecutionError) -> WorkflowTermination {
    if matches!(error, ActivityExecutionError::Cancelled(_)) {
        return error.into();
    }
    let cause = error.cause().map(temporalio_common::error::IncomingError::failure);
    match cause {
        Some(cause) => {
            let kind = match &cause.failure_info {
                Some(FailureInfo::ApplicationFailureInfo(info)) if !info.r#type.is_empty() => info.r#type.clone(),
                _ => "ActivityFailed".to_owned(),
            };
            fail(&kind, format!("{stage}: {}", cause.message))
        }
        None => error.into(),
    }
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

/// Waits until every replica of the service reports a generation, or says which did not in time.
pub(crate) async fn await_replicas<W: 'static>(
    ctx: &WorkflowContext<W>,
    generation: Generation,
) -> Result<Replicas, WorkflowTermination> {
    // Runs of the release before this one end with the write.
    if !ctx.patched("await_replicas") {
        return Ok(Replicas::default());
    }
    let options = policy::brief(format!("wait for the replicas to serve generation {generation}"));
    match ctx.execute_activity(Steps::await_replicas, AwaitInput { generation }, options).await {
        Ok(replicas) => Ok(replicas),
        Err(error @ ActivityExecutionError::Cancelled(_)) => Err(error.into()),
        // The generation is written: whatever goes wrong from here on, the promotion is done.
        Err(error) => Ok(Replicas { unknown: Some(error.to_string()), ..Replicas::default() }),
    }
}

/// The gate's report, for the Temporal Web UI.
pub(crate) fn table(gate: &Gated) -> String {
    let mut text = String::from("\n| check | result | value | bound | meaning |\n|---|---|---|---|---|\n");
    for f in &gate.checks {
        text += &format!("| {} | {} | {:.3} | {} | {} |\n", f.check, word(f.passed), f.value, f.bound(), f.meaning);
    }
    let flips = &gate.flips;
    if flips.missed + flips.flagged > 0 {
        text += &format!(
            "\n{} threats would be newly missed (rows {:?}), {} other sentences newly flagged (rows {:?}).\n",
            flips.missed, flips.missed_rows, flips.flagged, flips.flagged_rows
        );
    }
    text
}

pub(crate) fn word(passed: bool) -> &'static str {
    if passed { "pass" } else { "fail" }
}

fn tell(status: &mut Status, stage: &str, done: u32, message: &str) {
    stage.clone_into(&mut status.stage);
    message.clone_into(&mut status.message);
    status.done = done;
}
