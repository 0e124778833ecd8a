//! `TrainWorkflow`: ingest, train every trainer side by side, evaluate, register, gate the best, promote when asked.

use std::{cmp::Ordering, time::UNIX_EPOCH};

use model::{
    Digest, Version,
    experiment::FOLDS,
    steps::{
        AutoPromote, Candidate, CountInput, Counted, EvaluateInput, Evaluated, GateInput, Gated, IngestInput, Ingested,
        MergeInput, PromoteInput, Promoted, RegisterInput, Registered, Status, TrainInput, TrainReport, TrainRequest,
        Trained,
    },
    trainers,
};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ActivityExecutionError, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
    workflows::join_all,
};

use crate::{
    Lenient, policy,
    promote::{change_id, rethrow},
    search,
    signatures::Steps,
};

/// Trains models; see [`TrainRequest`] for what it takes and [`TrainReport`] for what it gives.
#[workflow]
pub struct TrainWorkflow {
    request: Lenient<TrainRequest>,
    status: Status,
}

#[workflow_methods]
impl TrainWorkflow {
    /// Keeps the input until `run`.
    #[init]
    pub fn new(_: &WorkflowContextView, request: Lenient<TrainRequest>) -> Self {
        let trainers = request.0.as_ref().map_or(0, |r| r.trainers.len() as u32);
        // ingest, three steps a trainer, gate
        let status = Status { stage: "ingest".to_owned(), total: 2 + 3 * trainers, ..Status::default() };
        Self { request, status }
    }

    /// The whole story.
    #[run(name = "TrainWorkflow")]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<TrainReport> {
        let request = ctx.state(|w| w.request.clone()).require(TrainRequest::check)?;
        let ingested = ingest(ctx, &request).await?;
        let counts = count(ctx, &request, &ingested).await?;
        let trained = train(ctx, &request, &ingested, counts).await?;
        let evaluated = evaluate(ctx, &trained).await?;
        let mut candidates = register(ctx, trained, evaluated).await?;
        candidates.sort_by(best_first);
        let best = candidates[0].clone();
        let gate = gate(ctx, &best).await?;
        let promoted = if request.auto_promote == AutoPromote::IfGatePasses && gate.passed {
            Some(promote(ctx, &request, &best, &gate).await?)
        } else {
            None
        };
        let report = TrainReport {
            version: best.version,
            trainer: best.trainer,
            dataset: ingested.dataset,
            candidates,
            gate,
            promoted: promoted.is_some(),
            generation: promoted.map(|p| p.generation),
        };
        finish(ctx, &report);
        Ok(report)
    }

    /// Where the run stands, at any time.
    #[query(name = "status")]
    pub fn status(&self, _: &WorkflowContextView) -> Status {
        self.status.clone()
    }
}

type Context = WorkflowContext<TrainWorkflow>;

/// Shards that one activity counts: half a million sentences, about a second of work.
const SHARDS_A_PIECE: u32 = 25;

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

/// Counts a dataset that is too large for memory, shard by shard on any number of workers; none for a smaller one.
async fn count(ctx: &Context, request: &TrainRequest, ingested: &Ingested) -> Result<Vec<Digest>, WorkflowTermination> {
    if ingested.sample.is_none() {
        return Ok(Vec::new());
    }
    let trainers: Vec<_> = request.trainers.iter().filter_map(|name| trainers::find(name).ok()).collect();
    let sets = trainers::features_to_count(&trainers, request.preset);
    let pieces = ingested.shards.div_ceil(SHARDS_A_PIECE);
    ctx.state_mut(|w| w.status.total += (pieces + 1) * sets.len() as u32);
    enter(ctx, "count", format!("counting {} sentences in {pieces} pieces", ingested.sentences));
    let mut counted = Vec::new();
    for features in sets {
        let runs = (0..pieces).map(|piece| {
            let ctx = ctx.clone();
            let input = CountInput {
                dataset: ingested.dataset.clone(),
                from: piece * SHARDS_A_PIECE,
                to: ingested.shards.min((piece + 1) * SHARDS_A_PIECE),
                features: features.clone(),
                seed: request.seed,
                folds: FOLDS as u32,
            };
            async move {
                let options = policy::long(format!("count shards {} to {}", input.from, input.to - 1));
                let counted: Counted = ctx.execute_activity(Steps::count_shards, input, options).await?;
                step_done(&ctx);
                Ok(counted.counts)
            }
        });
        let parts = side_by_side("count", runs.collect()).await?;
        let options = policy::long(format!("add the counts of {pieces} pieces"));
        let merged = ctx.execute_activity(Steps::merge_counts, MergeInput { parts }, options).await;
        let merged: Counted = merged.map_err(|error| rethrow("count", error))?;
        step_done(ctx);
        counted.push(merged.counts);
    }
    Ok(counted)
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
) -> Result<Promoted, WorkflowTermination> {
    ctx.state_mut(|w| w.status.total += 1);
    enter(ctx, "promote", format!("promoting {}", best.version));
    let input = PromoteInput {
        version: best.version.clone(),
        change_id: change_id(ctx.workflow_id(), ctx.run_id()),
        // What the gate compared with must still be in production.
        expected_generation: Some(gate.generation.unwrap_or_default()),
        actor: request.actor.clone().unwrap_or_else(|| "TrainWorkflow".to_owned()),
        reason: request.reason.clone().unwrap_or_else(|| "auto_promote: if_gate_passes".to_owned()),
        gate: Some(gate.clone()),
    };
    let options = policy::short(format!("promote {}", best.version));
    let promoted = ctx.execute_activity(Steps::promote, input, options).await;
    let promoted = promoted.map_err(|error| rethrow("promote", error))?;
    step_done(ctx);
    Ok(promoted)
}

/// Waits for all and answers in the order of `runs`; the first failure ends the run.
async fn side_by_side<T>(
    stage: &str,
    runs: Vec<impl Future<Output = Result<T, ActivityExecutionError>>>,
) -> Result<Vec<T>, WorkflowTermination> {
    join_all(runs).await.into_iter().map(|result| result.map_err(|error| rethrow(stage, error))).collect()
}

fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    let pr_auc = |c: &Candidate| c.cross_validation.sentence.pr_auc;
    pr_auc(b).total_cmp(&pr_auc(a)).then_with(|| a.trainer.cmp(&b.trainer))
}

fn enter(ctx: &Context, stage: &str, message: String) {
    let now = ctx.workflow_time().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_secs() as i64);
    let details = ctx.state_mut(|w| {
        if w.status.started == 0 {
            w.status.started = now;
        }
        stage.clone_into(&mut w.status.stage);
        w.status.message = message;
        details(&w.status)
    });
    ctx.set_current_details(details);
    ctx.upsert_search_attributes([search::STAGE.value_set(stage.to_owned())]);
}

fn step_done(ctx: &Context) {
    let details = ctx.state_mut(|w| {
        w.status.done += 1;
        details(&w.status)
    });
    ctx.set_current_details(details);
}

fn finish(ctx: &Context, report: &TrainReport) {
    let outcome = match report.generation {
        Some(generation) => format!("{} is in production, generation {generation}", report.version),
        None if report.gate.passed => format!("{} is registered and may be promoted", report.version),
        None => format!("{} is registered; the gate refuses it: {}", report.version, report.gate.failures()),
    };
    enter(ctx, "done", outcome);
    let summary = ctx.state(|w| details(&w.status)) + &table(report);
    ctx.set_current_details(summary);
}

fn details(status: &Status) -> String {
    format!("**{}** ({} of {} steps): {}\n", status.stage, status.done, status.total, status.message)
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
    text += "\n| check | result | value | at least |\n|---|---|---|---|\n";
    for f in &report.gate.checks {
        text += &format!("| {} | {} | {:.3} | {:.3} |\n", f.check, word(f.passed), f.value, f.at_least);
    }
    text
}

fn word(passed: bool) -> &'static str {
    if passed { "pass" } else { "fail" }
}
