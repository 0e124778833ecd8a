//! The run's steps. Each has one activity, or one per trainer.

use model::{Digest, Version};
use temporalio_sdk::WorkflowTermination;

use super::{Context, Decided};
use crate::{
    details::{Section, tables},
    fine_tuning::{fine_tune, takes_encoder},
    headline::rethrow,
    policy,
    progress::{enter, side_by_side, step_done, tell},
    promote::change_id,
    search::{self, verdict},
    shards::{Order, count, sample},
    signatures::Steps,
    steps::{
        Candidate, DatasetChoice, EvaluateInput, Evaluated, GateInput, Gated, IngestInput, Ingested, PromoteInput,
        Promoted, RegisterInput, Registered, TrainInput, TrainRequest, Trained,
    },
};

async fn ingest(ctx: &Context, request: &TrainRequest) -> Result<Ingested, WorkflowTermination> {
    enter(ctx, "ingest", "finding the dataset".to_owned());
    let (dataset, with_feedback) = match &request.dataset {
        Some(DatasetChoice::Stored(digest)) => (Some(digest.clone()), false),
        Some(DatasetChoice::LatestWithFeedback) => (None, true),
        None => (None, false),
    };
    let input = IngestInput {
        dataset,
        source: request.source.clone(),
        with_feedback,
        seed: request.seed,
        sentences_in_memory: request.sentences_in_memory,
    };
    let found = ctx.execute_activity(Steps::ingest, input, policy::long("find the dataset")).await;
    let ingested: Ingested = found.map_err(|error| rethrow("ingest", error))?;
    ctx.upsert_search_attributes([search::DATASET_SHA.value_set(ingested.dataset.to_string())]);
    ctx.state_mut(|w| w.progress.status.dataset = Some(ingested.dataset.clone()));
    step_done(ctx);
    Ok(ingested)
}

/// Finds the dataset. If it is larger than memory, draws a sample and counts all of it in shards.
pub(super) async fn prepare(
    ctx: &Context,
    request: &TrainRequest,
) -> Result<(Ingested, Vec<Digest>), WorkflowTermination> {
    let ingested = ingest(ctx, request).await?;
    tell(ctx, Section::Data, tables::data(&ingested));
    let Some(share) = ingested.share else { return Ok((ingested, Vec::new())) };
    let gathered = sample(ctx, &ingested, request, share).await?;
    let order = Order {
        dataset: &ingested.dataset,
        shards: ingested.shards,
        trainers: &request.trainers,
        preset: request.preset,
        seed: request.seed,
    };
    let counts = count(ctx, &order).await?;
    let sampled = Ingested {
        sample: Some(gathered.sample),
        sampled: gathered.sentences,
        held_out: gathered.held_out,
        ..ingested
    };
    tell(ctx, Section::Data, tables::data(&sampled));
    Ok((sampled, counts))
}

pub(super) async fn train(
    ctx: &Context,
    request: &TrainRequest,
    ingested: &Ingested,
    counts: Vec<Digest>,
) -> Result<Vec<(TrainInput, Trained)>, WorkflowTermination> {
    let input = |trainer: &String| TrainInput {
        dataset: ingested.dataset.clone(),
        trainer: trainer.clone(),
        preset: request.preset,
        seed: request.seed,
        operation: request.operation.clone(),
        sample: ingested.sample.clone(),
        counts: counts.clone(),
        encoder: None,
    };
    let inputs: Vec<TrainInput> = request.trainers.iter().map(input).collect();
    // One encoder for all trainers that use one.
    let encoder = match inputs.iter().find(|input| takes_encoder(&input.trainer)) {
        Some(input) => Some(fine_tune(ctx, input, None).await?),
        None => None,
    };
    let names = request.trainers.join(", ");
    let rows = match ingested.sample {
        Some(_) => format!("{} sentences, a sample of {} in memory", ingested.sentences, ingested.sampled),
        None => format!("{} sentences", ingested.sentences - ingested.held_out),
    };
    enter(ctx, "train", format!("training {names} on {rows}"));
    let runs = inputs.into_iter().map(|mut input| {
        let ctx = ctx.clone();
        input.encoder = encoder.clone().filter(|_| takes_encoder(&input.trainer));
        async move {
            let options = policy::long(format!("train {}", input.trainer));
            let trained = ctx.execute_activity(Steps::train, input.clone(), options).await?;
            step_done(&ctx);
            Ok((input, trained))
        }
    });
    let trained = side_by_side("train", runs.collect()).await?;
    let figures = tables::of_training(&trained.iter().map(|(_, trained)| trained).collect::<Vec<_>>());
    tell(ctx, Section::Figures, figures);
    Ok(trained)
}

pub(super) async fn evaluate(
    ctx: &Context,
    trained: &[(TrainInput, Trained)],
) -> Result<Vec<Evaluated>, WorkflowTermination> {
    enter(ctx, "evaluate", "judging on the held-out commenters".to_owned());
    let runs = trained.iter().map(|(input, trained)| {
        let ctx = ctx.clone();
        let options = policy::long(format!("evaluate {} on the held-out commenters", input.trainer));
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

pub(super) async fn register(
    ctx: &Context,
    trained: Vec<(TrainInput, Trained)>,
    evaluated: Vec<Evaluated>,
) -> Result<Vec<Candidate>, WorkflowTermination> {
    enter(ctx, "register", "writing the manifests".to_owned());
    let (workflow_id, run_id) = (ctx.workflow_id().to_owned(), ctx.run_id().to_owned());
    let started = ctx.state(|w| w.progress.status.started);
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
            let options = policy::short(format!("register {}, {}", input.version, input.input.trainer));
            let registered: Registered = ctx.execute_activity(Steps::register, input, options).await?;
            ctx.state_mut(|w| w.progress.status.versions.push(registered.version));
            step_done(&ctx);
            Ok(candidate)
        }
    });
    side_by_side("register", runs.collect()).await
}

pub(super) async fn gate(ctx: &Context, best: &Candidate) -> Result<Gated, WorkflowTermination> {
    ctx.upsert_search_attributes(search::of_candidate(best));
    enter(ctx, "gate", format!("checking {}", best.version));
    let input = GateInput { version: best.version.clone() };
    let judged = ctx
        .execute_activity(Steps::gate, input, policy::long(format!("gate {}, {}", best.version, best.trainer)))
        .await;
    let gate: Gated = judged.map_err(|error| rethrow("gate", error))?;
    ctx.upsert_search_attributes([search::GATE_RESULT.value_set(verdict(gate.passed).to_owned())]);
    tell(ctx, Section::Gate, tables::gate(&gate));
    step_done(ctx);
    Ok(gate)
}

pub(super) async fn promote(
    ctx: &Context,
    request: &TrainRequest,
    best: &Candidate,
    decided: &Decided,
) -> Result<Promoted, WorkflowTermination> {
    let Decided { gate, approval, .. } = decided;
    ctx.state_mut(|w| w.progress.status.total += 2);
    enter(ctx, "promote", format!("promoting {}", best.version));
    let input = PromoteInput {
        version: best.version.clone(),
        change_id: change_id(ctx.workflow_id(), ctx.run_id()),
        // The version that the gate compared with must still be in production.
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
