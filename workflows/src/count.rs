//! Counting a dataset that is too large for memory: shard by shard, on any number of workers.

use model::{
    Digest,
    experiment::FOLDS,
    steps::{CountInput, Counted, MergeInput},
    trainers::{self, Preset},
};
use temporalio_sdk::{WorkflowContext, WorkflowTermination};

use crate::{
    policy,
    progress::{Tells, enter, side_by_side, step_done},
    promote::rethrow,
    signatures::Steps,
};

/// Shards that one activity counts: half a million sentences, about a second of work.
const SHARDS_A_PIECE: u32 = 25;

/// What is counted, and for whom.
pub(crate) struct Order<'a> {
    pub(crate) dataset: &'a Digest,
    pub(crate) shards: u32,
    pub(crate) trainers: &'a [String],
    pub(crate) preset: Preset,
    pub(crate) seed: u64,
}

/// Counts what the additive learners of the trainers need; answers the digests of the sums.
pub(crate) async fn count<W: Tells>(
    ctx: &WorkflowContext<W>,
    order: &Order<'_>,
) -> Result<Vec<Digest>, WorkflowTermination> {
    let trainers: Vec<_> = order.trainers.iter().filter_map(|name| trainers::find(name).ok()).collect();
    let sets = trainers::features_to_count(&trainers, order.preset);
    let pieces = order.shards.div_ceil(SHARDS_A_PIECE);
    ctx.state_mut(|w| w.status_mut().total += (pieces + 1) * sets.len() as u32);
    enter(ctx, "count", format!("counting {} shards in {pieces} pieces", order.shards));
    let mut counted = Vec::new();
    for features in sets {
        let runs = (0..pieces).map(|piece| {
            let ctx = ctx.clone();
            let input = CountInput {
                dataset: order.dataset.clone(),
                from: piece * SHARDS_A_PIECE,
                to: order.shards.min((piece + 1) * SHARDS_A_PIECE),
                features: features.clone(),
                seed: order.seed,
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
