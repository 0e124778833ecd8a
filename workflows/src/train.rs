//! `TrainWorkflow`: ingest, train every trainer side by side, evaluate, register, gate the best, promote when asked.

use std::{cmp::Ordering, time::Duration};

use model::{
    Digest, Version,
    steps::{
        Approval, AutoPromote, Candidate, EvaluateInput, Evaluated, GateInput, Gated, IngestInput, Ingested,
        PromoteInput, Promoted, RegisterInput, Registered, Say, Status, TrainInput, TrainReport, TrainRequest, Trained,
    },
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    SyncWorkflowContext, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination, workflows::select,
};

use crate::{
    Lenient, policy,
    progress::{Tells, details, enter, side_by_side, step_done},
    promote::{await_replicas, change_id, rethrow, word},
    search,
    shards::{Order, count, sample},
    signatures::Steps,
};

/// Trains models; see [`TrainRequest`] for what it takes and [`TrainReport`] for what it gives.
#[workflow]
pub struct TrainWorkflow {
    request: Lenient<TrainRequest>,
    status: Status,
    approval: Option<Approval>,
}

#[workflow_methods]
impl TrainWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<TrainRequest>) -> Self {
        let trainers = request.0.as_ref().map_or(0, |r| r.trainers.len() as u32);
        // ingest, three steps a trainer, gate
        let status = Status { stage: "ingest".to_owned(), total: 2 + 3 * trainers, ..Status::default() };
        Self { request, status, approval: None }
    }

    /// The whole story.
    #[run(name = "TrainWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<TrainReport> {
        let request = ctx.state(|w| w.request.clone()).require(TrainRequest::check)?;
        let mut ingested = ingest(ctx, &request).await?;
        let mut counts = Vec::new();
        if let Some(share) = ingested.share {
            let gathered = sample(ctx, &ingested, &request, share).await?;
            let order = Order {
                dataset: &ingested.dataset,
                shards: ingested.shards,
                trainers: &request.trainers,
                preset: request.preset,
                seed: request.seed,
            };
            counts = count(ctx, &order).await?;
            ingested.sample = Some(gathered.sample);
            ingested.sampled = gathered.sentences;
            ingested.held_out = gathered.held_out;
        }
        let trained = train(ctx, &request, &ingested, counts).await?;
        let evaluated = evaluate(ctx, &trained).await?;
        let mut candidates = register(ctx, trained, evaluated).await?;
        candidates.sort_by(best_first);
        let best = candidates[0].clone();
        let mut judged = gate(ctx, &best).await?;
        let mut approval = None;
        let goes_live = judged.passed
            && match request.auto_promote {
                AutoPromote::Never => false,
                AutoPromote::IfGatePasses => true,
                AutoPromote::AfterApproval => {
                    let said = approval.insert(await_approval(ctx, &request, &best).await?);
                    // Days may have passed: what it is compared with may be another model now.
                    said.outcome == APPROVED && {
                        ctx.state_mut(|w| w.status.total += 1);
                        judged = gate(ctx, &best).await?;
                        judged.passed
                    }
                }
            };
        let (mut promoted, mut replicas) = (None, None);
        if goes_live {
            let written = promote(ctx, &request, &best, &judged, approval.as_ref()).await?;
            replicas = Some(await_replicas(ctx, written.generation).await?);
            step_done(ctx);
            promoted = Some(written);
        }
        let report = TrainReport {
            version: best.version,
            trainer: best.trainer,
            dataset: ingested.dataset,
            candidates,
            gate: judged,
            promoted: promoted.is_some(),
            generation: promoted.map(|p| p.generation),
            approval,
            replicas,
        };
        finish(ctx, &report);
        Ok(report)
    }

    /// Where the run stands, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.status.clone()
    }

    /// Lets the best version go into production; refused unless the run waits for that.
    #[update(name = "approve")]
    pub fn approve(&mut self, _: &mut SyncWorkflowContext<Self>, say: Lenient<Say>) -> String {
        self.hear(APPROVED, say)
    }

    /// As [`Self::may_be_said`].
    #[update_validator(approve)]
    fn check_approval(&self, _: &WorkflowContextView, say: &Lenient<Say>) -> Result<(), Refusal> {
        self.may_be_said(say)
    }

    /// Ends the run without a promotion; refused unless the run waits for that.
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

const APPROVED: &str = "approved";
const REJECTED: &str = "rejected";
const EXPIRED: &str = "expired";
/// The stage in which somebody is waited for.
const APPROVAL: &str = "approval";

/// Why an update is refused; nothing of it is kept in the run's history.
type Refusal = Box<dyn std::error::Error + Send + Sync>;

impl TrainWorkflow {
    fn may_be_said(&self, say: &Lenient<Say>) -> Result<(), Refusal> {
        say.0.as_ref().map_err(Clone::clone)?.check()?;
        match &self.approval {
            Some(approval) if approval.actor.is_empty() => {
                Err("nobody answered in time: the run goes on without".into())
            }
            Some(approval) => Err(format!("{} has {} it already", approval.actor, approval.outcome).into()),
            None if self.status.stage == APPROVAL => Ok(()),
            None => {
                Err(format!("the run does not wait for approval: it is in the stage `{}`", self.status.stage).into())
            }
        }
    }

    fn hear(&mut self, outcome: &str, say: Lenient<Say>) -> String {
        // Two updates may be let in together: the first counts.
        if let Ok(Say { actor, reason }) = say.0 {
            self.approval.get_or_insert(Approval { outcome: outcome.to_owned(), actor, reason });
        }
        self.approval.as_ref().map_or_else(String::new, |approval| approval.outcome.clone())
    }
}

impl Tells for TrainWorkflow {
    fn status_mut(&mut self) -> &mut Status {
        &mut self.status
    }
}

/// Seconds in words, in the largest unit that fits: `3 s`, `5 h`, `2.5 d`.
fn span(seconds: u32) -> String {
    let units = [("d", 86_400_u32), ("h", 3_600), ("min", 60), ("s", 1)];
    let (unit, length) = units.into_iter().find(|&(_, length)| seconds >= length).unwrap_or(("s", 1));
    format!("{} {unit}", (f64::from(seconds) / f64::from(length) * 10.0).round() / 10.0)
}

/// Waits until somebody approves or rejects, or the time is up.
async fn await_approval(
    ctx: &Context,
    request: &TrainRequest,
    best: &Candidate,
) -> Result<Approval, WorkflowTermination> {
    let time = span(request.approval_seconds);
    enter(ctx, APPROVAL, format!("waiting up to {time} for somebody to approve or reject {}", best.version));
    select! {
        said = ctx.wait_condition(|w| w.approval.is_some()) => said?,
        _ = ctx.timer(Duration::from_secs(u64::from(request.approval_seconds))) => {}
    };
    let expired = || Approval {
        outcome: EXPIRED.to_owned(),
        actor: String::new(),
        reason: format!("nobody answered within {time}"),
    };
    Ok(ctx.state_mut(|w| w.approval.get_or_insert_with(expired).clone()))
}

type Context = WorkflowContext<TrainWorkflow>;

async fn ingest(ctx: &Context, request: &TrainRequest) -> Result<Ingested, WorkflowTermination> {
    enter(ctx, "ingest", "finding the dataset".to_owned());
    let input = IngestInput {
        dataset: request.dataset.clone(),
        seed: request.seed,
        sentences_in_memory: request.sentences_in_memory,
    };
    let found = ctx.execute_activity(Steps::ingest, input, policy::long("find the dataset")).await;
    let ingested: Ingested = found.map_err(|error| rethrow("ingest", error))?;
    ctx.upsert_search_attributes([search::DATASET_SHA.value_set(ingested.dataset.to_string())]);
    ctx.state_mut(|w| w.status.dataset = Some(ingested.dataset.clone()));
    step_done(ctx);
    Ok(ingested)
}

async fn train(
    ctx: &Context,
    request: &TrainRequest,
    ingested: &Ingested,
    counts: Vec<Digest>,
) -> Result<Vec<(TrainInput, Trained)>, WorkflowTermination> {
    let names = request.trainers.join(", ");
    let rows = match ingested.sample {
        Some(_) => format!("{} sentences, a sample of {} in memory", ingested.sentences, ingested.sampled),
        None => format!("{} sentences", ingested.sentences - ingested.held_out),
    };
    enter(ctx, "train", format!("training {names} on {rows}"));
    let runs = request.trainers.iter().map(|trainer| {
        let ctx = ctx.clone();
        let input = TrainInput {
            dataset: ingested.dataset.clone(),
            trainer: trainer.clone(),
            preset: request.preset,
            seed: request.seed,
            operation: request.operation.clone(),
            sample: ingested.sample.clone(),
            counts: counts.clone(),
        };
        async move {
            let options = policy::long(format!("train {}", input.trainer));
            let trained = ctx.execute_activity(Steps::train, input.clone(), options).await?;
            step_done(&ctx);
            Ok((input, trained))
        }
    });
    side_by_side("train", runs.collect()).await
}

async fn evaluate(ctx: &Context, trained: &[(TrainInput, Trained)]) -> Result<Vec<Evaluated>, WorkflowTermination> {
    enter(ctx, "evaluate", "judging on the held-out commenters".to_owned());
    let runs = trained.iter().map(|(input, trained)| {
        let ctx = ctx.clone();
        let options = policy::long(format!("evaluate {}", input.trainer));
        let rows = input.sample.as_ref().unwrap_or(&input.dataset).clone();
        let input = EvaluateInput { dataset: rows, seed: input.seed, artifact: trained.artifact.clone() };
        async move {
            let evaluated = ctx.execute_activity(Steps::evaluate, input, options).await?;
            step_done(&ctx);
            Ok(evaluated)
        }
    });
    side_by_side("evaluate", runs.collect()).await
}

async fn register(
    ctx: &Context,
    trained: Vec<(TrainInput, Trained)>,
    evaluated: Vec<Evaluated>,
) -> Result<Vec<Candidate>, WorkflowTermination> {
    enter(ctx, "register", "writing the manifests".to_owned());
    let (workflow_id, run_id) = (ctx.workflow_id().to_owned(), ctx.run_id().to_owned());
    let started = ctx.state(|w| w.status.started);
    let runs = trained.into_iter().zip(evaluated).map(|((input, trained), evaluated)| {
        let ctx = ctx.clone();
        let version = Version::derive(started, &workflow_id, &run_id, &input.trainer);
        let candidate = Candidate {
            version: version.clone(),
            trainer: input.trainer.clone(),
            cross_validation: trained.cross_validation.clone(),
            held_out: evaluated.held_out.clone(),
        };
        let (workflow_id, run_id) = (workflow_id.clone(), run_id.clone());
        let input = RegisterInput { version, started, workflow_id, run_id, input, trained, evaluated };
        async move {
            let options = policy::short(format!("register {}", input.version));
            let registered: Registered = ctx.execute_activity(Steps::register, input, options).await?;
            ctx.state_mut(|w| w.status.versions.push(registered.version));
            step_done(&ctx);
            Ok(candidate)
        }
    });
    side_by_side("register", runs.collect()).await
}

async fn gate(ctx: &Context, best: &Candidate) -> Result<Gated, WorkflowTermination> {
    ctx.upsert_search_attributes([
        search::MODEL_VERSION.value_set(best.version.to_string()),
        search::TRAINER.value_set(best.trainer.clone()),
        search::PR_AUC.value_set(best.cross_validation.sentence.pr_auc),
        search::F1.value_set(best.cross_validation.sentence.f1),
    ]);
    enter(ctx, "gate", format!("holding {} against the checks", best.version));
    let input = GateInput { version: best.version.clone() };
    let judged = ctx.execute_activity(Steps::gate, input, policy::long("gate the best candidate")).await;
    let gate: Gated = judged.map_err(|error| rethrow("gate", error))?;
    ctx.upsert_search_attributes([search::GATE_RESULT.value_set(word(gate.passed).to_owned())]);
    step_done(ctx);
    Ok(gate)
}

async fn promote(
    ctx: &Context,
    request: &TrainRequest,
    best: &Candidate,
    gate: &Gated,
    approval: Option<&Approval>,
) -> Result<Promoted, WorkflowTermination> {
    ctx.state_mut(|w| w.status.total += 2);
    enter(ctx, "promote", format!("promoting {}", best.version));
    let input = PromoteInput {
        version: best.version.clone(),
        change_id: change_id(ctx.workflow_id(), ctx.run_id()),
        // What the gate compared with must still be in production.
        expected_generation: Some(gate.generation.unwrap_or_default()),
        actor: match approval {
            Some(approval) => approval.actor.clone(),
            None => request.actor.clone().unwrap_or_else(|| "TrainWorkflow".to_owned()),
        },
        reason: match approval {
            Some(approval) => approval.reason.clone(),
            None => request.reason.clone().unwrap_or_else(|| "auto_promote: if_gate_passes".to_owned()),
        },
        gate: Some(gate.clone()),
        forced: false,
    };
    let options = policy::short(format!("promote {}", best.version));
    let promoted = ctx.execute_activity(Steps::promote, input, options).await;
    let promoted = promoted.map_err(|error| rethrow("promote", error))?;
    step_done(ctx);
    Ok(promoted)
}

fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    let pr_auc = |c: &Candidate| c.cross_validation.sentence.pr_auc;
    pr_auc(b).total_cmp(&pr_auc(a)).then_with(|| a.trainer.cmp(&b.trainer))
}

fn finish(ctx: &Context, report: &TrainReport) {
    let outcome = match (&report.approval, report.generation) {
        (_, Some(generation)) => format!("{} is in production, generation {generation}", report.version),
        (Some(approval), None) if approval.outcome != APPROVED => {
            format!("{} is registered; its promotion is {}: {}", report.version, approval.outcome, approval.reason)
        }
        _ if report.gate.passed => format!("{} is registered and may be promoted", report.version),
        _ => format!("{} is registered; the gate refuses it: {}", report.version, report.gate.failures()),
    };
    enter(ctx, "done", outcome);
    let summary = ctx.state(|w| details(&w.status)) + &table(report);
    ctx.set_current_details(summary);
}

/// The comparison of candidates and the gate's report, for the Temporal Web UI.
fn table(report: &TrainReport) -> String {
    let mut text =
        String::from("\n| trainer | version | PR-AUC (cv) | F1 (cv) | PR-AUC (held out) |\n|---|---|---|---|---|\n");
    for c in &report.candidates {
        let (cv, held_out) = (&c.cross_validation.sentence, &c.held_out.sentence);
        text += &format!(
            "| {} | `{}` | {:.3} | {:.3} | {:.3} |\n",
            c.trainer, c.version, cv.pr_auc, cv.f1, held_out.pr_auc
        );
    }
    text + &crate::promote::table(&report.gate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_largest_unit_that_fits() {
        let told = [3, 90, 18_000, 259_200, 216_000].map(span);
        assert_eq!(told, ["3 s", "1.5 min", "5 h", "3 d", "2.5 d"]);
    }
}
