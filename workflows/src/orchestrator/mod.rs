//! The way into Temporal: starts workflows, asks for their status, waits for their results.
//!
//! The connection is made when it is first needed, so a service starts and goes on while Temporal is away.

mod approval;
mod asking;
mod attributes;

mod connection;
mod history;
mod refusal;
mod starting;

use std::{collections::BTreeMap, sync::OnceLock};

use temporalio_client::Client;
use temporalio_common::telemetry::metrics::TemporalMeter;
use temporalio_sdk::SimplePlugin;

pub(crate) use self::asking::status_of;
pub use self::history::RecordedRun;
use crate::Codec;

/// A connection to Temporal that is made on demand.
pub struct Orchestrator {
    address: Option<String>,
    identity: String,
    meter: Option<TemporalMeter>,
    /// None where no settings count.
    variables: Option<BTreeMap<String, String>>,
    codec: Codec,
    traces: Option<SimplePlugin>,
    client: OnceLock<Client>,
}

/// A workflow that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub workflow_id: String,
    /// Its run.
    pub run_id: String,
}

impl std::fmt::Display for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.workflow_id, self.run_id)
    }
}

/// What Temporal, or a workflow, answered instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings for Temporal make no sense.
    #[error("the settings for Temporal are wrong: {0}")]
    Settings(String),
    /// Temporal does not answer.
    #[error("Temporal does not answer: {0}")]
    Unreachable(String),
    /// A workflow of this id is running already.
    #[error("{workflow_id} is running already{what}")]
    AlreadyRunning {
        /// The id.
        workflow_id: String,
        /// Its run, if known.
        run_id: Option<String>,
        /// What it does and for whom, as `: ...`; empty where it does not say.
        what: String,
    },
    /// There is no such workflow.
    #[error("there is no workflow {0}")]
    NotFound(String),
    /// The workflow ended without a result.
    #[error("{message}")]
    Failed {
        /// One of [`crate::failure`], or another word.
        kind: String,
        /// What the workflow said.
        message: String,
    },
}

impl Orchestrator {
    /// A connection to `address` (`host:port`), else to what `TEMPORAL_*` variables or Temporal's own configuration file
    /// say. `identity` is how Temporal shows this process.
    ///
    /// No variables are known yet, and nothing is encrypted.
    #[must_use]
    pub fn new(address: Option<String>, identity: String, meter: Option<TemporalMeter>) -> Self {
        let variables = Some(BTreeMap::new());
        Self { address, identity, meter, variables, codec: Codec::default(), traces: None, client: OnceLock::new() }
    }

    /// The `TEMPORAL_*` variables; with none at all Temporal's own configuration file does not count either.
    #[must_use]
    pub fn with_variables(self, variables: Option<BTreeMap<String, String>>) -> Self {
        Self { variables, ..self }
    }

    /// What encrypts and decrypts whatever goes to Temporal and comes from it.
    #[must_use]
    pub fn with_codec(self, codec: Codec) -> Self {
        Self { codec, ..self }
    }

    /// The plug-in that carries trace contexts to Temporal and back, for this client and the workers that are made from it.
    #[must_use]
    pub fn with_traces(self, traces: Option<SimplePlugin>) -> Self {
        Self { traces, ..self }
    }

    /// What encrypts and decrypts whatever goes to Temporal and comes from it.
    #[must_use]
    pub fn codec(&self) -> &Codec {
        &self.codec
    }
}
