//! The durable workflows: what is done, in which order, how often a step is tried again. No I/O, no clock, no chance.
//!
//! Activities are known here by their signatures alone ([`signatures`]); their bodies live elsewhere.

mod asked;
mod backtest;
pub mod codec;
mod details;
mod feedback;
mod fine_tuning;
mod headline;
pub mod lenient;
pub mod orchestrator;
mod policy;
mod progress;
mod promote;
mod running;
pub mod schedule;
mod search;
mod shards;
pub mod signatures;
pub mod steps;
mod train;
mod upkeep;

pub use self::{
    backtest::BacktestWorkflow,
    codec::Codec,
    details::pages::set_api_url,
    feedback::FeedbackWorkflow,
    fine_tuning::STAGE as FINE_TUNING_STAGE,
    lenient::Lenient,
    orchestrator::Orchestrator,
    policy::TRIES,
    promote::{PromoteWorkflow, RollbackWorkflow},
    running::{Running, goes_on, running},
    search::ATTRIBUTES,
    train::TrainWorkflow,
    upkeep::{ReproduceWorkflow, RetentionWorkflow},
};

/// Where workers wait for work.
pub const TASK_QUEUE: &str = "threatwatch";

/// Where they wait for fine-tuning, each for one encoder at a time: several workers then share the folds.
pub const FINE_TUNING_QUEUE: &str = "threatwatch-fine-tuning";

/// Workflow id of promotions and rollbacks: one id, so one at a time.
pub const PROMOTE_WORKFLOW_ID: &str = "promote-production";

/// Workflow id of retention that somebody asks for; a scheduled one has the time behind it, and both may run at once.
pub const RETENTION_WORKFLOW_ID: &str = "retention";

/// The release that this code is of, as manifests and the memos of runs name it.
pub const CODE_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where a run's memo has the release that began it; until a worker takes the run, the one that asked for it.
pub const CODE_VERSION_MEMO: &str = "code_version";

/// Types of failures that end a run at once: trying again cannot help.
pub mod failure {
    /// The input is wrong; the message names the field.
    pub const INVALID_INPUT: &str = "InvalidInput";
    /// The dataset cannot train a model.
    pub const INVALID_DATASET: &str = "InvalidDataset";
    /// What was named is not there.
    pub const NOT_FOUND: &str = "NotFound";
    /// Stored bytes are not what they must be.
    pub const CORRUPT: &str = "Corrupt";
    /// Production is not where the caller thought.
    pub const CONFLICT: &str = "GenerationConflict";
    /// A check of the gate did not pass.
    pub const GATE_FAILED: &str = "GateFailed";
    /// The object store cannot be trusted with promotions.
    pub const STORE_UNSAFE: &str = "StoreUnsafe";
    /// There is nothing in production, or nothing to go back to.
    pub const NO_TARGET: &str = "NoTarget";
    /// The base weights of an encoder are neither here nor in the bucket, and cannot be fetched.
    pub const NO_ENCODER_BASE: &str = "NoEncoderBase";

    /// A run does not wait for approval, or not any more.
    pub const NOT_WAITING: &str = "NotWaiting";

    /// All that an activity may end with.
    pub const FINAL: [&str; 9] = [
        INVALID_INPUT,
        INVALID_DATASET,
        NOT_FOUND,
        CORRUPT,
        CONFLICT,
        GATE_FAILED,
        STORE_UNSAFE,
        NO_TARGET,
        NO_ENCODER_BASE,
    ];
}
