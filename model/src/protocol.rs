//! What the registry is asked to do, and what it answers.
//!
//! These cross Temporal's wire as they are, in inputs and results of activities. They are
//! here and not with the workflows because the registry's own methods take and give them, and the registry knows no
//! workflow. Every field that was added later has a serde default, for histories outlive releases.
//!
//! - **In**: what a workflow, or a test, wants of production or of retention.
//! - **Out**: what was written, or deleted.
//! - **Callers**: the registry, activities, workflows.

use serde::{Deserialize, Serialize};

use crate::{Generation, Version, gate::Gated};

/// What `promote` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromoteInput {
    /// What goes into production.
    pub version: Version,
    /// The same for every attempt of one promotion, so that a lost reply is recognised.
    pub change_id: String,
    /// Refuse if production is not at this generation.
    pub expected_generation: Option<Generation>,
    /// Who asked.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The gate's report, kept in the history.
    pub gate: Option<Gated>,
    /// Whether the gate refused it, and it is promoted all the same.
    #[serde(default)]
    pub forced: bool,
}

/// What `promote` wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    /// In production now.
    pub version: Version,
    /// The generation.
    pub generation: Generation,
    /// In production before.
    pub previous: Option<Version>,
    /// False where the version was in production already.
    pub is_new: bool,
}

/// What `prune` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneInput {
    /// The newest versions, which stay.
    pub keep: u32,
    /// Delete nothing.
    pub dry_run: bool,
    /// Versions that running workflows use; filled in by the activity.
    #[serde(default)]
    pub in_use: Vec<Version>,
    /// Whether a workflow runs that may be about to name a blob; found by the activity.
    #[serde(default)]
    pub is_busy: bool,
}

/// What `RetentionWorkflow` and `prune` give: what was deleted, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Versions.
    pub versions: Vec<Version>,
    /// Artifacts and counts that nothing named.
    pub blobs: u64,
    /// Datasets that nothing named.
    pub datasets: u64,
    /// Bytes of all these objects.
    pub bytes: u64,
    /// Objects that were marked, or would be: they are deleted a day later if nobody has named them by then.
    #[serde(default)]
    pub marked: u64,
    /// Blobs and datasets were left alone, since a training run may be about to name one.
    #[serde(default)]
    pub was_busy: bool,
}

/// What counts where reviewers differ about a comment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolve {
    /// What most say; a comment without a majority is left out.
    #[default]
    Majority,
    /// What was said last.
    Latest,
    /// Nothing: a comment that reviewers differ about is left out.
    Drop,
}

impl Resolve {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Majority, Self::Latest, Self::Drop];

    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Majority => "majority",
            Self::Latest => "latest",
            Self::Drop => "drop",
        }
    }
}

impl std::str::FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|resolve| resolve.name() == text);
        found.ok_or_else(|| "it is `majority`, `latest` or `drop`".to_owned())
    }
}
