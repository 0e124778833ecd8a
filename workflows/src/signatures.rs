//! The activities by name, input and output. The bodies are registered elsewhere under the same definitions, so the
//! compiler checks that both sides match.

use temporalio_common::ActivityError;
use temporalio_macros::activity_definitions;

pub use self::steps::{
    AwaitReplicas, BuildDataset, CountShards, Evaluate, FindEncoderBase, FindRollback, FineTune, Gate, GatherSample,
    Ingest, JudgeComments, MergeCounts, PlanBacktest, Promote, Prune, Recall, Register, ReportBacktest, SampleShards,
    Train,
};
use crate::steps::{
    AwaitInput, Backtest, BuildInput, BuiltDataset, CountInput, Counted, EvaluateInput, Evaluated, FindBaseInput,
    FindRollbackInput, FoundBase, FoundRollback, GateInput, Gated, GatherInput, Gathered, IngestInput, Ingested,
    JudgeCommentsInput, JudgedComments, MergeInput, PlanBacktestInput, PlannedBacktest, PromoteInput, Promoted,
    PruneInput, Pruned, RecallInput, Recalled, RegisterInput, Registered, Replicas, ReportBacktestInput, SampleInput,
    Sampled, TrainInput, Trained, TuneInput, Tuned,
};

/// Signatures only; no worker registers this type.
pub struct Steps;

// The macro requires the body `unimplemented!()` and discards it.
#[expect(clippy::unimplemented, reason = "declarations in the form that the macro takes")]
#[activity_definitions]
impl Steps {
    /// Finds or creates the dataset.
    #[activity(name = "ingest")]
    pub fn ingest(input: IngestInput) -> Result<Ingested, ActivityError> {
        unimplemented!()
    }

    /// Builds a dataset from the newest one and reviewers' decisions.
    #[activity(name = "build_dataset")]
    pub fn build_dataset(input: BuildInput) -> Result<BuiltDataset, ActivityError> {
        unimplemented!()
    }

    /// Finds the rows of some commenters in some shards.
    #[activity(name = "sample_shards")]
    pub fn sample_shards(input: SampleInput) -> Result<Sampled, ActivityError> {
        unimplemented!()
    }

    /// Builds a dataset from sampled rows.
    #[activity(name = "gather_sample")]
    pub fn gather_sample(input: GatherInput) -> Result<Gathered, ActivityError> {
        unimplemented!()
    }

    /// Counts the features of some shards' training rows.
    #[activity(name = "count_shards")]
    pub fn count_shards(input: CountInput) -> Result<Counted, ActivityError> {
        unimplemented!()
    }

    /// Adds the counts of different shards.
    #[activity(name = "merge_counts")]
    pub fn merge_counts(input: MergeInput) -> Result<Counted, ActivityError> {
        unimplemented!()
    }

    /// Finds the base weights of an encoder and puts them into the bucket.
    #[activity(name = "find_encoder_base")]
    pub fn find_encoder_base(input: FindBaseInput) -> Result<FoundBase, ActivityError> {
        unimplemented!()
    }

    /// Fine-tunes an encoder without one fold, or on all training rows.
    #[activity(name = "fine_tune")]
    pub fn fine_tune(input: TuneInput) -> Result<Tuned, ActivityError> {
        unimplemented!()
    }

    /// Trains one trainer on the training rows and stores the artifact.
    #[activity(name = "train")]
    pub fn train(input: TrainInput) -> Result<Trained, ActivityError> {
        unimplemented!()
    }

    /// Judges a stored artifact on the held-out rows.
    #[activity(name = "evaluate")]
    pub fn evaluate(input: EvaluateInput) -> Result<Evaluated, ActivityError> {
        unimplemented!()
    }

    /// Writes a version's manifest.
    #[activity(name = "register")]
    pub fn register(input: RegisterInput) -> Result<Registered, ActivityError> {
        unimplemented!()
    }

    /// Runs the gate: the checks, and the comparison with production.
    #[activity(name = "gate")]
    pub fn gate(input: GateInput) -> Result<Gated, ActivityError> {
        unimplemented!()
    }

    /// Writes the next generation.
    #[activity(name = "promote")]
    pub fn promote(input: PromoteInput) -> Result<Promoted, ActivityError> {
        unimplemented!()
    }

    /// Waits until every replica of the service serves a generation, for a bounded time.
    #[activity(name = "await_replicas")]
    pub fn await_replicas(input: AwaitInput) -> Result<Replicas, ActivityError> {
        unimplemented!()
    }

    /// Deletes old versions and data that nothing needs.
    #[activity(name = "prune")]
    pub fn prune(input: PruneInput) -> Result<Pruned, ActivityError> {
        unimplemented!()
    }

    /// Reads how a version was trained.
    #[activity(name = "recall")]
    pub fn recall(input: RecallInput) -> Result<Recalled, ActivityError> {
        unimplemented!()
    }

    /// Finds and verifies the version to go back to.
    #[activity(name = "find_rollback")]
    pub fn find_rollback(input: FindRollbackInput) -> Result<FoundRollback, ActivityError> {
        unimplemented!()
    }
    /// Finds the comments of a backtest, and the version to compare with.
    #[activity(name = "plan_backtest")]
    pub fn plan_backtest(input: PlanBacktestInput) -> Result<PlannedBacktest, ActivityError> {
        unimplemented!()
    }

    /// Judges a piece of a backtest's comments with both versions.
    #[activity(name = "judge_comments")]
    pub fn judge_comments(input: JudgeCommentsInput) -> Result<JudgedComments, ActivityError> {
        unimplemented!()
    }

    /// Writes the report of a backtest.
    #[activity(name = "report_backtest")]
    pub fn report_backtest(input: ReportBacktestInput) -> Result<Backtest, ActivityError> {
        unimplemented!()
    }
}
