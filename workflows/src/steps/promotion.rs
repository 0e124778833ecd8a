//! What promotion and rollback take and give.

use model::{Generation, Version, gate::Gated};

use serde::{Deserialize, Serialize};

use super::check_note;

/// What `PromoteWorkflow` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// What to promote.
    pub version: Version,
    /// Refuse if production is not at this generation.
    #[serde(default)]
    pub expected_generation: Option<Generation>,
    /// Check everything, but write nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Promote even if the gate refuses; needs a reason, which is kept in the history.
    #[serde(default)]
    pub force: bool,
    /// The requesting user, for the history.
    #[serde(default)]
    pub actor: Option<String>,
    /// The reason, for the history.
    #[serde(default)]
    pub reason: Option<String>,
}

impl PromoteRequest {
    /// Its name in the audit trail.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match (self.dry_run, self.force) {
            (true, _) => "promote_dry_run",
            (false, true) => "promote_by_force",
            (false, false) => "promote",
        }
    }

    /// Refuses input that would fail later. The message names the field.
    pub fn check(&self) -> Result<(), String> {
        if self.force && self.reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
            return Err("`force` needs a `reason`".to_owned());
        }
        check_note("actor", self.actor.as_deref())?;
        check_note("reason", self.reason.as_deref())
    }
}

/// What `RollbackWorkflow` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackRequest {
    /// The version to go back to; without it the newest one in the history that is not in production.
    pub to: Option<Version>,
    /// The requesting user, for the history.
    pub actor: Option<String>,
    /// The reason, for the history.
    pub reason: Option<String>,
}

impl RollbackRequest {
    /// Refuses input that would fail later. The message names the field.
    pub fn check(&self) -> Result<(), String> {
        check_note("actor", self.actor.as_deref())?;
        check_note("reason", self.reason.as_deref())
    }
}

/// What `PromoteWorkflow` and `RollbackWorkflow` give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromoteReport {
    /// What happened.
    pub outcome: Outcome,
    /// In production now.
    pub version: Version,
    /// The newest generation.
    pub generation: Option<Generation>,
    /// In production before.
    pub previous: Option<Version>,
    /// The gate's report; none for a rollback, whose target was in production before.
    pub gate: Option<Gated>,
    /// Which replicas serve it; none if nothing was written.
    #[serde(default)]
    pub replicas: Option<Replicas>,
}

/// Which replicas serve a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// Those that reported it.
    pub reported: Vec<String>,
    /// Running replicas that did not report it in time.
    pub missing: Vec<String>,
    /// Why the replicas could not be checked, if so. The promotion is done nevertheless.
    #[serde(default)]
    pub unknown: Option<String>,
}

/// What `await_replicas` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwaitInput {
    /// The generation that they must serve.
    pub generation: Generation,
}

/// How a promotion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A generation was written.
    Promoted,
    /// The version is in production already.
    AlreadyLive,
    /// Everything was checked; nothing was written.
    DryRun,
}

/// What `gate` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateInput {
    /// The candidate.
    pub version: Version,
}

/// What `find_rollback` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindRollbackInput {
    /// The version to go back to, if the caller names one.
    pub to: Option<Version>,
}

/// What `find_rollback` found, verified: its blob hashes, loads and ranks the golden examples.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRollback {
    /// Where to go back to.
    pub version: Version,
    /// The generation in production. It must be unchanged when the rollback is written.
    pub generation: Generation,
}
