//! Fine-tunes an encoder: one activity per fold and one for all folds, in parallel on all workers.

use model::{experiment::FOLDS, trainers};
use temporalio_sdk::{WorkflowContext, WorkflowTermination};

use crate::{
    headline::rethrow,
    policy,
    progress::{Tells, enter, side_by_side, step_done},
    signatures::Steps,
    steps::{FindBaseInput, FoundBase, TrainInput, TuneInput, Tuned, TunedEncoder},
};

/// The stage of a run in which it fine-tunes.
pub const STAGE: &str = "fine_tune";

/// Number of steps of fine-tuning: the base, each fold, all folds.
pub(crate) const STEPS: u32 = 2 + FOLDS as u32;

/// Whether a trainer uses an encoder.
pub(crate) fn takes_encoder(trainer: &str) -> bool {
    trainers::find(trainer).is_ok_and(|trainer| trainer.encoder().is_some())
}

/// Fine-tunes an encoder for a trainer's input, from the given base, otherwise from the workers' configured one.
pub(crate) async fn fine_tune<W: Tells>(
    ctx: &WorkflowContext<W>,
    input: &TrainInput,
    base: Option<String>,
) -> Result<TunedEncoder, WorkflowTermination> {
    enter(ctx, STAGE, "finding the base weights of the encoder".to_owned());
    let found = ctx
        .execute_activity(Steps::find_encoder_base, FindBaseInput { base }, policy::long("find the encoder's base"))
        .await;
    let FoundBase { base, millions } = found.map_err(|error| rethrow(STAGE, error))?;
    step_done(ctx);
    let message =
        format!("fine-tuning an encoder of {millions:.1} million numbers, {FOLDS} folds and once on all rows");
    enter(ctx, STAGE, message);
    // The longest part first.
    let parts = [None].into_iter().chain((0..FOLDS as u32).map(Some));
    let runs = parts.map(|without| {
        let ctx = ctx.clone();
        let input = TuneInput {
            dataset: input.dataset.clone(),
            sample: input.sample.clone(),
            seed: input.seed,
            base: base.clone(),
            without,
        };
        async move {
            let options = policy::fine_tuning(format!("fine-tune on {}", input.part()));
            let tuned = ctx.execute_activity(Steps::fine_tune, input, options).await?;
            step_done(&ctx);
            Ok::<Tuned, _>(tuned)
        }
    });
    let mut made = side_by_side(STAGE, runs.collect()).await?.into_iter().map(|tuned| tuned.made);
    let encoder = made.next().expect("an encoder was fine-tuned on all rows");
    Ok(TunedEncoder { base, encoder, unseen: made.collect() })
}
