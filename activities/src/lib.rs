//! The bodies of the activities, the dataset sources, and the worker.

mod alive;
mod extensions;
mod failure;
mod fine_tuning;
mod metrics;
mod named;
pub mod sources;
mod steps;
pub mod worker;

pub use self::{
    extensions::{Added, Extensions},
    fine_tuning::{BaseSource, FineTuning},
    metrics::Metrics,
    sources::SOURCES,
    steps::Activities,
    worker::{Deployment, Parts, plugin, run},
};
