//! The gate's report, as runs return it and the history keeps it.

use serde::{Deserialize, Serialize};

use super::{Finding, Flips};
use crate::{Generation, Version};

/// The result of `gate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gated {
    /// Whether every check passed.
    pub passed: bool,
    /// The result of each check.
    pub checks: Vec<Finding>,
    /// The version in production that the candidate was compared with.
    pub against: Option<Version>,
    /// The generation of that version.
    pub generation: Option<Generation>,
    /// Who promoted that version.
    #[serde(default)]
    pub promoted_by: Option<String>,
    /// Rows that the candidate decides worse than production.
    #[serde(default)]
    pub flips: Flips,
}

impl Gated {
    /// The failed checks in one line, for a message.
    #[must_use]
    pub fn failures(&self) -> String {
        let failed = self.checks.iter().filter(|finding| !finding.passed);
        let each = failed.map(|f| format!("{} is {:.4}, {} is needed", f.check, f.value, f.bound()));
        each.collect::<Vec<_>>().join("; ")
    }
}
