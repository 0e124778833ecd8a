//! The bodies of the activities, where datasets come from, and the worker.

mod alive;
mod failure;
mod fine_tuning;
mod metrics;
pub mod sources;
mod steps;
pub mod worker;

pub use self::{
    fine_tuning::{BaseSource, FineTuning},
    metrics::Metrics,
    sources::SOURCES,
    steps::Activities,
    worker::{plugin, run},
};
