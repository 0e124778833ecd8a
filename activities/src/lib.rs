//! The bodies of the activities, where datasets come from, and the worker.

mod alive;
mod bases;
mod failure;
mod metrics;
pub mod sources;
mod steps;
pub mod worker;

pub use self::{
    bases::BaseSource,
    metrics::Metrics,
    sources::SOURCES,
    steps::Activities,
    worker::{plugin, run},
};
