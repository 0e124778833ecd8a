//! What crosses Temporal's wire: ids, digests and scores; never rows, comments or models.
//!
//! Histories outlive releases, so every field added later has a serde default. `...Request` and `...Report` are what a
//! workflow takes and gives; `...Input` and a past participle are what an activity takes and gives.

mod backtest;
mod candidate;
mod data;
mod encoder;
mod feedback;
mod promotion;
mod status;
mod training;
mod upkeep;

pub use model::{
    backtest::Backtest,
    gate::Gated,
    protocol::{PromoteInput, Promoted, PruneInput, Pruned},
};

pub use self::{
    backtest::{
        BacktestRequest, JudgeCommentsInput, JudgedComments, PlanBacktestInput, PlannedBacktest, ReportBacktestInput,
    },
    candidate::{EvaluateInput, Evaluated, RegisterInput, Registered, TrainInput, Trained},
    data::{CountInput, Counted, GatherInput, Gathered, IngestInput, Ingested, MergeInput, SampleInput, Sampled},
    encoder::{FindBaseInput, FoundBase, TuneInput, Tuned, TunedEncoder, Tuning},
    feedback::{BuildInput, BuiltDataset, FeedbackReport, FeedbackRequest},
    promotion::{
        AwaitInput, FindRollbackInput, FoundRollback, GateInput, Outcome, PromoteReport, PromoteRequest, Replicas,
        RollbackRequest,
    },
    status::Status,
    training::{Approval, AutoPromote, Candidate, DatasetChoice, Say, TrainReport, TrainRequest},
    upkeep::{RecallInput, Recalled, ReproduceReport, ReproduceRequest, RetentionRequest},
};

/// Notes go into the history for ever: 500 characters are enough.
fn check_note(field: &str, note: Option<&str>) -> Result<(), String> {
    match note {
        Some(note) if note.chars().count() > 500 => Err(format!("`{field}` is longer than 500 characters")),
        _ => Ok(()),
    }
}
