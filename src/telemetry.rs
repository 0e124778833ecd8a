//! Logs of the long-running parts, and traces if a collector is configured.

mod log;
mod traces;

pub(crate) use self::{
    log::start as start_logging,
    traces::{Traces, VARIABLES, plugin},
};
