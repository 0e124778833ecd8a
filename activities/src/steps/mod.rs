//! The activities: each loads what its input names, calls the pure crate, and stores the result.
//!
//! Each may run again at any time. Outputs are named by their content or by the run, so a repetition changes nothing.

mod backtest;
mod counting;
mod dataset;
mod encoder;
mod feedback;
mod gating;
mod production;
mod retention;
mod training;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use ::encoder::Base;
use model::Digest;
use registry::{Registry, Trust};
use temporalio_sdk::activities::{ActivityContext, ActivityError, activities};
use tokio::sync::{Mutex, Semaphore};
use workflows::{
    signatures,
    steps::{
        AwaitInput, Backtest, BuildInput, BuiltDataset, CountInput, Counted, EvaluateInput, Evaluated, FindBaseInput,
        FindRollbackInput, FoundBase, FoundRollback, GateInput, Gated, GatherInput, Gathered, IngestInput, Ingested,
        JudgeCommentsInput, JudgedComments, MergeInput, PlanBacktestInput, PlannedBacktest, PromoteInput, Promoted,
        PruneInput, Pruned, RecallInput, Recalled, RegisterInput, Registered, Replicas, ReportBacktestInput,
        SampleInput, Sampled, TrainInput, Trained, TuneInput, Tuned,
    },
};

use crate::{
    Added, FineTuning, Parts,
    alive::{alive, telling},
    failure::Failure,
    metrics::Metrics,
};

/// The activities and everything that they may use.
pub struct Activities {
    registry: Registry,
    /// Whether the store can be trusted with promotions.
    trust: Trust,
    metrics: Arc<Metrics>,
    /// Threads for computations that take long.
    threads: usize,
    /// Limits how many of these computations run at once.
    ///
    /// It bounds memory, and a rollback does not wait for a training
    /// run.
    turns: Semaphore,
    tuning: FineTuning,
    /// Added checks and sources.
    extensions: Added,
    /// The base that was used last.
    base: Mutex<Option<(Digest, Arc<Base>)>>,
}

impl Activities {
    /// Makes the activities from these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { registry, metrics, tuning, threads, extensions } = parts;
        let trust = Trust::new(registry.clone());
        let threads = threads.get();
        let turns = Semaphore::new(threads);
        Self { registry, trust, metrics, threads, turns, tuning, extensions, base: Mutex::default() }
    }

    /// Waits for its turn, then works.
    async fn in_turn<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let _turn = self.turns.acquire().await.expect("the turns are never closed");
        work.await
    }
}

#[activities]
impl Activities {
    /// Finds or creates the dataset.
    #[activity(definition = signatures::Ingest)]
    pub async fn ingest(self: Arc<Self>, ctx: ActivityContext, input: IngestInput) -> Result<Ingested, ActivityError> {
        alive(&ctx, self.in_turn(self.find_dataset(input))).await
    }

    /// Builds a dataset from the newest one and reviewers' decisions.
    #[activity(definition = signatures::BuildDataset)]
    pub async fn build_dataset(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: BuildInput,
    ) -> Result<BuiltDataset, ActivityError> {
        alive(&ctx, Box::pin(self.in_turn(self.build(input)))).await
    }

    /// Finds the rows of some commenters in some shards.
    #[activity(definition = signatures::SampleShards)]
    pub async fn sample_shards(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: SampleInput,
    ) -> Result<Sampled, ActivityError> {
        alive(&ctx, self.in_turn(self.sample(input))).await
    }

    /// Builds a dataset from sampled rows.
    #[activity(definition = signatures::GatherSample)]
    pub async fn gather_sample(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: GatherInput,
    ) -> Result<Gathered, ActivityError> {
        alive(&ctx, self.in_turn(self.gather(input))).await
    }

    /// Counts the features of some shards' training rows.
    #[activity(definition = signatures::CountShards)]
    pub async fn count_shards(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CountInput,
    ) -> Result<Counted, ActivityError> {
        alive(&ctx, self.in_turn(self.count(input))).await
    }

    /// Adds the counts of different shards.
    #[activity(definition = signatures::MergeCounts)]
    pub async fn merge_counts(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: MergeInput,
    ) -> Result<Counted, ActivityError> {
        alive(&ctx, self.in_turn(self.merge(input))).await
    }

    /// Finds the base weights of an encoder and puts them into the bucket.
    #[activity(definition = signatures::FindEncoderBase)]
    pub async fn find_encoder_base(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: FindBaseInput,
    ) -> Result<FoundBase, ActivityError> {
        alive(&ctx, self.find_base(input)).await
    }

    /// Fine-tunes an encoder without one fold, or on all training rows.
    #[activity(definition = signatures::FineTune)]
    pub async fn fine_tune(self: Arc<Self>, ctx: ActivityContext, input: TuneInput) -> Result<Tuned, ActivityError> {
        let progress = encoder::Progress::default();
        let details = || progress.lock().expect("no holder panics").clone();
        telling(&ctx, Box::pin(self.tune(&ctx, input, Arc::clone(&progress))), details).await
    }

    /// Trains one trainer on the training rows and stores the artifact.
    #[activity(definition = signatures::Train)]
    pub async fn train(self: Arc<Self>, ctx: ActivityContext, input: TrainInput) -> Result<Trained, ActivityError> {
        alive(&ctx, self.in_turn(self.fit(input))).await
    }

    /// Judges a stored artifact on the held-out rows.
    #[activity(definition = signatures::Evaluate)]
    pub async fn evaluate(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: EvaluateInput,
    ) -> Result<Evaluated, ActivityError> {
        alive(&ctx, self.in_turn(self.judge_artifact(input))).await
    }

    /// Writes a version's manifest.
    #[activity(definition = signatures::Register)]
    pub async fn register(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: RegisterInput,
    ) -> Result<Registered, ActivityError> {
        alive(&ctx, Box::pin(self.write_manifest(input))).await
    }

    /// Runs the gate: the checks, and the comparison with production.
    #[activity(definition = signatures::Gate)]
    pub async fn gate(self: Arc<Self>, ctx: ActivityContext, input: GateInput) -> Result<Gated, ActivityError> {
        alive(&ctx, Box::pin(self.hold_against_checks(input))).await
    }

    /// Writes the next generation.
    #[activity(definition = signatures::Promote)]
    pub async fn promote(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PromoteInput,
    ) -> Result<Promoted, ActivityError> {
        alive(&ctx, self.write_generation(input)).await
    }

    /// Waits until every replica of the service serves a generation, for a bounded time.
    #[activity(definition = signatures::AwaitReplicas)]
    pub async fn await_replicas(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: AwaitInput,
    ) -> Result<Replicas, ActivityError> {
        alive(&ctx, self.watch_replicas(input)).await
    }

    /// Deletes old versions and data that nothing needs.
    #[activity(definition = signatures::Prune)]
    pub async fn prune(self: Arc<Self>, ctx: ActivityContext, input: PruneInput) -> Result<Pruned, ActivityError> {
        alive(&ctx, self.delete_what_nothing_needs(input, ctx.client())).await
    }

    /// Reads how a version was trained.
    #[activity(definition = signatures::Recall)]
    pub async fn recall(self: Arc<Self>, ctx: ActivityContext, input: RecallInput) -> Result<Recalled, ActivityError> {
        alive(&ctx, self.read_how_it_was_trained(input)).await
    }

    /// Finds the comments of a backtest, and the version to compare with.
    #[activity(definition = signatures::PlanBacktest)]
    pub async fn plan_backtest(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: PlanBacktestInput,
    ) -> Result<PlannedBacktest, ActivityError> {
        alive(&ctx, self.plan(input)).await
    }

    /// Judges a piece of a backtest's comments with both versions.
    #[activity(definition = signatures::JudgeComments)]
    pub async fn judge_comments(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: JudgeCommentsInput,
    ) -> Result<JudgedComments, ActivityError> {
        alive(&ctx, Box::pin(self.in_turn(self.judge_piece(input)))).await
    }

    /// Writes the report of a backtest.
    #[activity(definition = signatures::ReportBacktest)]
    pub async fn report_backtest(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: ReportBacktestInput,
    ) -> Result<Backtest, ActivityError> {
        alive(&ctx, Box::pin(self.in_turn(self.report(input)))).await
    }

    /// Finds and verifies the version to go back to.
    #[activity(definition = signatures::FindRollback)]
    pub async fn find_rollback(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: FindRollbackInput,
    ) -> Result<FoundRollback, ActivityError> {
        alive(&ctx, self.verify_rollback(input)).await
    }
}

fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as i64)
}
