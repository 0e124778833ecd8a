//! The durable workflows: steps, their order, and their retries. No I/O, no clock, no randomness.
//!
//! This crate has only the signatures of activities ([`signatures`]); their bodies are elsewhere.

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

/// The task queue of the workers.
pub const TASK_QUEUE: &str = "threatwatch";

/// The task queue for fine-tuning.
///
/// A worker takes one encoder at a time, so several workers share the folds.
pub const FINE_TUNING_QUEUE: &str = "threatwatch-fine-tuning";

/// Workflow id of promotions and rollbacks. All share one id, so only one runs at a time.
pub const PROMOTE_WORKFLOW_ID: &str = "promote-production";

/// Workflow id of retention by command.
///
/// A scheduled one has a time after it, and both may run at once.
pub const RETENTION_WORKFLOW_ID: &str = "retention";

/// The release of this code, as manifests and the memos of runs name it.
pub const CODE_VERSION: &str = env!("CARGO_PKG_VERSION");
/// Memo key with the release that began the run; until a worker takes the run, the release that requested it.
pub const CODE_VERSION_MEMO: &str = "code_version";

/// Types of failures that end a run at once, because a retry cannot help.
pub mod failure {
    /// The input is wrong; the message names the field.
    pub const INVALID_INPUT: &str = "InvalidInput";
    /// The dataset cannot train a model.
    pub const INVALID_DATASET: &str = "InvalidDataset";
    /// A named object does not exist.
    pub const NOT_FOUND: &str = "NotFound";
    /// Stored bytes are damaged.
    pub const CORRUPT: &str = "Corrupt";
    /// Production is not at the generation that the caller expected.
    pub const CONFLICT: &str = "GenerationConflict";
    /// A check of the gate did not pass.
    pub const GATE_FAILED: &str = "GateFailed";
    /// The object store cannot be trusted with promotions.
    pub const STORE_UNSAFE: &str = "StoreUnsafe";
    /// There is nothing in production, or nothing to go back to.
    pub const NO_TARGET: &str = "NoTarget";
    /// The base weights of an encoder are neither on this machine nor in the bucket, and cannot be fetched.
    pub const NO_ENCODER_BASE: &str = "NoEncoderBase";

    /// A run does not wait for approval, or no longer.
    pub const NOT_WAITING: &str = "NotWaiting";

    /// All final failure types of activities.
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
