//! Samples and counts a dataset that is too large for memory, shard by shard, on any number of workers.

use model::{
    Digest,
    experiment::FOLDS,
    trainers::{self, Preset},
};
use temporalio_sdk::{WorkflowContext, WorkflowTermination};

use crate::{
    headline::rethrow,
    policy,
    progress::{Tells, enter, side_by_side, step_done},
    signatures::Steps,
    steps::{CountInput, Counted, GatherInput, Gathered, Ingested, MergeInput, SampleInput, Sampled, TrainRequest},
};

/// Shards that one activity reads: half a million sentences, about a second of work.
const SHARDS_A_PIECE: u32 = 25;

/// The shards of each piece: the first, and one past the last.
fn pieces(shards: u32) -> impl ExactSizeIterator<Item = (u32, u32)> + Clone {
    (0..shards.div_ceil(SHARDS_A_PIECE)).map(move |piece| {
        let from = piece * SHARDS_A_PIECE;
        (from, shards.min(from + SHARDS_A_PIECE))
    })
}

/// Gathers the rows of a share of the commenters into a separate dataset.
pub(crate) async fn sample<W: Tells>(
    ctx: &WorkflowContext<W>,
    ingested: &Ingested,
    request: &TrainRequest,
    share: f64,
) -> Result<Gathered, WorkflowTermination> {
    let seed = request.seed;
    let pieces = pieces(ingested.shards);
    ctx.state_mut(|w| w.progress_mut().status.total += pieces.len() as u32 + 1);
    let message = format!("sampling {} sentences in {} pieces", ingested.sentences, pieces.len());
    enter(ctx, "sample", message);
    let runs = pieces.map(|(from, to)| {
        let ctx = ctx.clone();
        let input = SampleInput { dataset: ingested.dataset.clone(), from, to, seed, share };
        async move {
            let options = policy::long(format!("sample shards {from} to {}", to - 1));
            let sampled: Sampled = ctx.execute_activity(Steps::sample_shards, input, options).await?;
            step_done(&ctx);
            Ok(sampled.rows)
        }
    });
    let parts = side_by_side("sample", runs.collect()).await?;
    // Commenters are sampled, and some write much: the sample may be a little larger than planned.
    let limit = request.sentences_in_memory + request.sentences_in_memory / 10;
    let input = GatherInput { dataset: ingested.dataset.clone(), seed, parts, limit };
    let gathered = ctx.execute_activity(Steps::gather_sample, input, policy::long("gather the sample")).await;
    let gathered: Gathered = gathered.map_err(|error| rethrow("sample", error))?;
    step_done(ctx);
    Ok(gathered)
}

/// What to count, and for which trainers.
pub(crate) struct Order<'a> {
    pub(crate) dataset: &'a Digest,
    pub(crate) shards: u32,
    pub(crate) trainers: &'a [String],
    pub(crate) preset: Preset,
    pub(crate) seed: u64,
}

/// Counts what the additive learners of the trainers need. Returns the digests of the sums.
pub(crate) async fn count<W: Tells>(
    ctx: &WorkflowContext<W>,
    order: &Order<'_>,
) -> Result<Vec<Digest>, WorkflowTermination> {
    let trainers: Vec<_> = order.trainers.iter().filter_map(|name| trainers::find(name).ok()).collect();
    let sets = trainers::features_to_count(&trainers, order.preset);
    let pieces = pieces(order.shards);
    ctx.state_mut(|w| w.progress_mut().status.total += (pieces.len() as u32 + 1) * sets.len() as u32);
    enter(ctx, "count", format!("counting {} shards in {} pieces", order.shards, pieces.len()));
    let mut counted = Vec::new();
    let of = sets.len();
    for (number, features) in (1..).zip(sets) {
        let runs = pieces.clone().map(|(from, to)| {
            let ctx = ctx.clone();
            let input = CountInput {
                dataset: order.dataset.clone(),
                from,
                to,
                features: features.clone(),
                seed: order.seed,
                folds: FOLDS as u32,
            };
            async move {
                let options = policy::long(format!("count features {number} of {of} in shards {from} to {}", to - 1));
                let counted: Counted = ctx.execute_activity(Steps::count_shards, input, options).await?;
                step_done(&ctx);
                Ok(counted.counts)
            }
        });
        let parts = side_by_side("count", runs.collect()).await?;
        let options = policy::long(format!("add the counts of features {number} of {of}, {} pieces", pieces.len()));
        let merged = ctx.execute_activity(Steps::merge_counts, MergeInput { parts }, options).await;
        let merged: Counted = merged.map_err(|error| rethrow("count", error))?;
        step_done(ctx);
        counted.push(merged.counts);
    }
    Ok(counted)
}
