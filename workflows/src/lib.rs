//! The durable workflows: what is done, in which order, how often a step is tried again. No I/O, no clock, no chance.
//!
//! Activities are known here by their signatures alone ([`signatures`]); their bodies live elsewhere.

pub mod lenient;
pub mod orchestrator;
mod policy;
mod promote;
mod search;
pub mod signatures;
mod train;

pub use self::{
    lenient::Lenient,
    orchestrator::Orchestrator,
    promote::{PromoteWorkflow, RollbackWorkflow},
    search::ATTRIBUTES,
    train::TrainWorkflow,
};

/// Where workers wait for work.
pub const TASK_QUEUE: &str = "threatwatch";

/// Workflow id of promotions and rollbacks: one id, so one at a time.
pub const PROMOTE_WORKFLOW_ID: &str = "promote-production";

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
    /// There is nothing in production, or nothing to go back to.
    pub const NO_TARGET: &str = "NoTarget";

    /// All of them.
    pub const FINAL: [&str; 7] = [INVALID_INPUT, INVALID_DATASET, NOT_FOUND, CORRUPT, CONFLICT, GATE_FAILED, NO_TARGET];
}
