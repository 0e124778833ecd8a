//! What training on reviewers' decisions takes and gives: counts and digests, never a comment.

use std::collections::BTreeMap;

use model::{Digest, protocol::Resolve};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{AutoPromote, TrainReport, TrainRequest};

/// Fewer new decisions than this hardly change a model.
const LEAST_DECISIONS: u32 = 20;

/// What `FeedbackWorkflow` is given: one JSON object, every field optional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FeedbackRequest {
    /// With fewer new decisions nothing is trained.
    pub least_decisions: u32,
    /// Which decision counts if reviewers disagree.
    pub resolve: Resolve,
    /// How to train on the built dataset. By default the best version waits for approval.
    #[serde(deserialize_with = "waiting")]
    pub training: TrainRequest,
}

/// A training request whose `auto_promote` is `after_approval` by default.
fn waiting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TrainRequest, D::Error> {
    let mut fields = Map::deserialize(deserializer)?;
    fields.entry("auto_promote").or_insert_with(|| "after_approval".into());
    serde_json::from_value(Value::Object(fields)).map_err(serde::de::Error::custom)
}

impl Default for FeedbackRequest {
    fn default() -> Self {
        let training = TrainRequest { auto_promote: AutoPromote::AfterApproval, ..TrainRequest::default() };
        Self { least_decisions: LEAST_DECISIONS, resolve: Resolve::default(), training }
    }
}

impl FeedbackRequest {
    /// Refuses input that would fail later. The message names the field.
    pub fn check(&self) -> Result<(), String> {
        if self.least_decisions == 0 {
            return Err("`least_decisions` is 0: without a decision there is nothing to learn".to_owned());
        }
        if self.training.dataset.is_some() {
            return Err("`training.dataset`: leave it out, the dataset is built".to_owned());
        }
        if self.training.source.is_some() {
            return Err("`training.source`: leave it out, the dataset is built".to_owned());
        }
        self.training.check().map_err(|error| format!("`training`: {error}"))
    }
}

/// What `build_dataset` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildInput {
    /// Which decision counts if reviewers disagree.
    pub resolve: Resolve,
    /// Seed that chooses the held-out commenters.
    pub seed: u64,
}

/// What `build_dataset` made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltDataset {
    /// The dataset that it was built on.
    pub base: Digest,
    /// The dataset; the base itself if no decision changes it.
    pub dataset: Digest,
    /// Number of decisions.
    pub decisions: u64,
    /// Decisions that change a row and with which the newest version with feedback was not trained.
    pub new_decisions: u64,
    /// Number of comments by outcome: `added`, `corrected`, `known`, `near_held_out`, `disputed`, `no_sentence`.
    pub comments: BTreeMap<String, u64>,
    /// Sentences that were added.
    pub added: u64,
    /// Threats among them.
    pub threats: u64,
    /// Sentences of the base with another label.
    pub corrected: u64,
}

/// What `FeedbackWorkflow` gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedbackReport {
    /// What was built.
    pub built: BuiltDataset,
    /// The training run's report; none if there were too few new decisions.
    pub training: Option<TrainReport>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_waits_for_approval_unless_it_is_told_otherwise() {
        let read = |text: &str| serde_json::from_str::<FeedbackRequest>(text).unwrap().training.auto_promote;
        for text in ["{}", r#"{"training":{}}"#, r#"{"training":{"seed":1}}"#] {
            assert_eq!(read(text), AutoPromote::AfterApproval, "{text}");
        }
        assert_eq!(read(r#"{"training":{"auto_promote":"never"}}"#), AutoPromote::Never);
        let wrong = serde_json::from_str::<FeedbackRequest>(r#"{"training":{"sed":1}}"#).unwrap_err();
        assert!(wrong.to_string().contains("sed"), "{wrong}");
    }
}
