//! The client of Temporal: starts workflows, queries their status, waits for their results.
//!
//! It connects when it is first needed, so a service starts and continues while Temporal is away.

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
    /// None if all settings are ignored.
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

/// An error of Temporal or of a workflow.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings for Temporal are wrong.
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
        /// Its stage, version and actor, as `: ...`; empty if unknown.
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
        /// The workflow's message.
        message: String,
    },
}

impl Orchestrator {
    /// A connection to `address` (`host:port`), otherwise to the address in `TEMPORAL_*` variables or in Temporal's own
    /// configuration file. Temporal shows this process as `identity`.
    ///
    /// No variables are set yet, and nothing is encrypted.
    #[must_use]
    pub fn new(address: Option<String>, identity: String, meter: Option<TemporalMeter>) -> Self {
        let variables = Some(BTreeMap::new());
        Self { address, identity, meter, variables, codec: Codec::default(), traces: None, client: OnceLock::new() }
    }

    /// Sets the `TEMPORAL_*` variables. With `None`, Temporal's own configuration file is ignored, too.
    #[must_use]
    pub fn with_variables(self, variables: Option<BTreeMap<String, String>>) -> Self {
        Self { variables, ..self }
    }

    /// The codec that encrypts and decrypts payloads for Temporal.
    #[must_use]
    pub fn with_codec(self, codec: Codec) -> Self {
        Self { codec, ..self }
    }

    /// The plug-in that passes trace contexts through Temporal, for this client and the workers made from it.
    #[must_use]
    pub fn with_traces(self, traces: Option<SimplePlugin>) -> Self {
        Self { traces, ..self }
    }

    /// The codec that encrypts and decrypts payloads for Temporal.
    #[must_use]
    pub fn codec(&self) -> &Codec {
        &self.codec
    }
}
