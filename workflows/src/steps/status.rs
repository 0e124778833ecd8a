//! The status of a run.

use model::{Digest, Version};
use serde::{Deserialize, Serialize};

/// Answer of the query `status`, at any time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The step that it is in (`ingest`, `train`, `evaluate`, `register`, `gate`, `promote`, `verify`), then `done`.
    pub stage: String,
    /// Activities finished.
    pub done: u32,
    /// Activities in all.
    pub total: u32,
    /// One line for people.
    pub message: String,
    /// The dataset of the training, once known.
    #[serde(default)]
    pub dataset: Option<Digest>,
    /// Start of the run: seconds since 1970, UTC; 0 before it is known.
    #[serde(default)]
    pub started: i64,
    /// Versions registered so far, the one that is promoted, or those that are compared.
    #[serde(default)]
    pub versions: Vec<Version>,
    /// The user who requested the run, if known.
    #[serde(default)]
    pub actor: String,
}
