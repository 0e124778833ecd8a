//! What the long-running parts tell about themselves beside metrics: logs, and traces where a collector is named.

mod log;
mod traces;

pub(crate) use self::{
    log::start as start_logging,
    traces::{Traces, VARIABLES, plugin},
};
