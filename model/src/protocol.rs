//! Requests to the registry and its answers.
//!
//! Temporal carries these types unchanged, as inputs and results of activities. They are defined here and not with
//! the workflows, because the registry's own methods use them and the registry does not depend on workflows. Every
//! field that was added later has a serde default, because histories outlive releases.
//!
//! - **In**: a request of a workflow or a test to promote or to prune.
//! - **Out**: what was written or deleted.
//! - **Callers**: the registry, activities, workflows.

use serde::{Deserialize, Serialize};

use crate::{Generation, Version, gate::Gated};

/// The input of `promote`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromoteInput {
    /// The version to put into production.
    pub version: Version,
    /// The same for every attempt of a promotion, to recognise a retry.
    pub change_id: String,
    /// If given, the promotion is refused unless production is at this generation.
    pub expected_generation: Option<Generation>,
    /// Who requested it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The gate's report, kept in the history.
    pub gate: Option<Gated>,
    /// Whether the version is promoted although the gate refused it.
    #[serde(default)]
    pub forced: bool,
}

/// The result of `promote`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    /// The version in production now.
    pub version: Version,
    /// The generation.
    pub generation: Generation,
    /// The version in production before.
    pub previous: Option<Version>,
    /// False if the version was already in production.
    pub is_new: bool,
}

/// The input of `prune`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneInput {
    /// How many of the newest versions to keep.
    pub keep: u32,
    /// Only report; delete nothing.
    pub dry_run: bool,
    /// Versions in use by running workflows; the activity fills this in.
    #[serde(default)]
    pub in_use: Vec<Version>,
    /// Whether a running workflow may soon refer to a blob; the activity finds this out.
    #[serde(default)]
    pub is_busy: bool,
}

/// The result of `RetentionWorkflow` and `prune`. A dry run reports what would be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Deleted versions.
    pub versions: Vec<Version>,
    /// Deleted artifacts and counts that nothing referred to.
    pub blobs: u64,
    /// Deleted datasets that nothing referred to.
    pub datasets: u64,
    /// Total size of the deleted objects in bytes.
    pub bytes: u64,
    /// Marked objects; each is deleted a day later unless something refers to it.
    #[serde(default)]
    pub marked: u64,
    /// Whether blobs and datasets were kept because a training run may soon refer to one.
    #[serde(default)]
    pub was_busy: bool,
}

/// Which label counts if reviewers disagree about a comment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolve {
    /// The label of the majority; a comment without a majority is left out.
    #[default]
    Majority,
    /// The latest label.
    Latest,
    /// None: a comment with disagreement is left out.
    Drop,
}

impl Resolve {
    /// Every rule.
    pub const ALL: [Self; 3] = [Self::Majority, Self::Latest, Self::Drop];

    /// Its name.
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
        found.ok_or_else(|| "it must be `majority`, `latest` or `drop`".to_owned())
    }
}
