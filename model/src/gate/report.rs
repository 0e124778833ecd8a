//! The gate's report, as runs answer it and the history keeps it.

use serde::{Deserialize, Serialize};

use super::{Finding, Flips};
use crate::{Generation, Version};

/// What `gate` found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gated {
    /// Whether every check passed.
    pub passed: bool,
    /// Every check.
    pub checks: Vec<Finding>,
    /// The version in production that the candidate was compared with.
    pub against: Option<Version>,
    /// The generation of that version.
    pub generation: Option<Generation>,
    /// Who put it into production.
    #[serde(default)]
    pub promoted_by: Option<String>,
    /// What the candidate decides otherwise than production, to the worse.
    #[serde(default)]
    pub flips: Flips,
}

impl Gated {
    /// The checks that did not pass, in one line for a message.
    #[must_use]
    pub fn failures(&self) -> String {
        let failed = self.checks.iter().filter(|finding| !finding.passed);
        let each = failed.map(|f| format!("{} is {:.4}, {} is needed", f.check, f.value, f.bound()));
        each.collect::<Vec<_>>().join("; ")
    }
}
