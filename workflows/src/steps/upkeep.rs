//! What retention and reproduction take and give.

use model::{Digest, Version};
use serde::{Deserialize, Serialize};

use super::TrainInput;

/// What `RetentionWorkflow` is given; every field is optional.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionRequest {
    /// How many of the newest versions are always kept.
    pub keep: u32,
    /// Show what would be deleted, but delete nothing.
    pub dry_run: bool,
}

impl Default for RetentionRequest {
    fn default() -> Self {
        Self { keep: 20, dry_run: false }
    }
}

impl RetentionRequest {
    /// Refuses input that would fail later. The message names the field.
    pub fn check(&self) -> Result<(), String> {
        if self.keep == 0 { Err("`keep` is 0: the newest version always stays".to_owned()) } else { Ok(()) }
    }
}

/// What `ReproduceWorkflow` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReproduceRequest {
    /// The version to train again.
    pub version: Version,
}

impl ReproduceRequest {
    /// Every request that parses is valid.
    pub fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What `recall` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecallInput {
    /// The version.
    pub version: Version,
}

/// What `recall` found in a version's manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recalled {
    /// What was trained, without the counts.
    pub input: TrainInput,
    /// Pieces of the dataset.
    pub shards: u32,
    /// The resulting artifact.
    pub artifact: Digest,
    /// Release of threatwatch that trained it.
    pub code_version: String,
    /// With an encoder: the digest of the base that it was fine-tuned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// What `ReproduceWorkflow` gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReproduceReport {
    /// The version.
    pub version: Version,
    /// Whether the bytes are identical.
    pub identical: bool,
    /// The registered artifact.
    pub expected: Digest,
    /// The artifact that was trained again.
    pub actual: Digest,
    /// Release of threatwatch that trained the registered one.
    pub trained_by: String,
    /// Release of threatwatch that trained it again.
    pub reproduced_by: String,
}
