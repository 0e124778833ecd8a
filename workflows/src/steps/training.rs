//! What a training run takes and gives.

use model::{
    Digest, Generation, Version,
    calibration::Operation,
    evaluation::Scores,
    experiment::DEFAULT_SEED,
    gate::Gated,
    trainers::{self, Preset},
};
use serde::{Deserialize, Serialize};

use super::{Replicas, check_note};

/// What `TrainWorkflow` is given: one JSON object, every field optional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainRequest {
    /// Names of trainers. Each makes a version; the best by cross-validated PR-AUC is proposed.
    pub trainers: Vec<String>,
    /// Parameters of the trainers.
    pub preset: Preset,
    /// A stored dataset, or `latest_with_feedback`; without it the newest import, otherwise the sample.
    pub dataset: Option<DatasetChoice>,
    /// The source of the dataset; without it the sources are tried in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Seed that chooses the held-out commenters and the folds.
    pub seed: u64,
    /// Whether the best version is promoted.
    pub auto_promote: AutoPromote,
    /// The operating point, and the comments and flags per day for the point `daily_budget`.
    pub operation: Operation,
    /// Seconds that `after_approval` waits; then the run ends and nothing is promoted.
    pub approval_seconds: u32,
    /// Most sentences in a worker's memory at once.
    ///
    /// For a larger dataset, models that need more than counts per shard
    /// are trained and measured on a sample of commenters of about this size.
    pub sentences_in_memory: u64,
    /// The requesting user, for the history.
    pub actor: Option<String>,
    /// The reason, for the history.
    pub reason: Option<String>,
}

impl Default for TrainRequest {
    fn default() -> Self {
        Self {
            trainers: ["multinomial_nb", "stacked"].map(str::to_owned).to_vec(),
            preset: Preset::Default,
            dataset: None,
            source: None,
            seed: DEFAULT_SEED,
            auto_promote: AutoPromote::Never,
            operation: Operation::default(),
            approval_seconds: 72 * 3600,
            sentences_in_memory: SENTENCES_IN_MEMORY,
            actor: None,
            reason: None,
        }
    }
}

impl TrainRequest {
    /// Refuses input that would fail later. The message names the field.
    pub fn check(&self) -> Result<(), String> {
        if self.trainers.is_empty() {
            return Err(format!("`trainers` is empty: name one or more of {}", trainers::names()));
        }
        for (at, name) in self.trainers.iter().enumerate() {
            trainers::find(name).map_err(|error| format!("`trainers`: {error}"))?;
            if self.preset == Preset::Sklearn && name != "multinomial_nb" {
                return Err(format!("`preset`: sklearn works only for multinomial_nb, but `trainers` names `{name}`"));
            }
            if self.trainers[..at].contains(name) {
                return Err(format!("`trainers` names `{name}` twice"));
            }
        }
        if self.source.is_some() && self.dataset.is_some() {
            return Err("`source` and `dataset` cannot be combined: name one".to_owned());
        }
        if self.source.as_deref() == Some("") {
            return Err("`source` is empty: leave it out to try all sources".to_owned());
        }
        check_note("source", self.source.as_deref())?;
        self.operation.check().map_err(|error| format!("`operation`: {error}"))?;
        if !(1..=LONGEST_APPROVAL).contains(&self.approval_seconds) {
            return Err(format!("`approval_seconds` is not between 1 and {LONGEST_APPROVAL}"));
        }
        if self.sentences_in_memory < LEAST_IN_MEMORY {
            return Err(format!("`sentences_in_memory` is less than {LEAST_IN_MEMORY}"));
        }
        check_note("actor", self.actor.as_deref())?;
        check_note("reason", self.reason.as_deref())
    }
}

/// Which rows a run is trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DatasetChoice {
    /// A stored dataset, by its digest.
    Stored(Digest),
    /// The newest import, otherwise the sample, with reviewers' decisions.
    LatestWithFeedback,
}

impl DatasetChoice {
    const LATEST_WITH_FEEDBACK: &str = "latest_with_feedback";
}

impl std::str::FromStr for DatasetChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::LATEST_WITH_FEEDBACK {
            return Ok(Self::LatestWithFeedback);
        }
        let digest = Digest::parse(text).map_err(|error| format!("{error}, or `{}`", Self::LATEST_WITH_FEEDBACK))?;
        Ok(Self::Stored(digest))
    }
}

impl TryFrom<String> for DatasetChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DatasetChoice> for String {
    fn from(choice: DatasetChoice) -> Self {
        match choice {
            DatasetChoice::Stored(digest) => digest.to_string(),
            DatasetChoice::LatestWithFeedback => DatasetChoice::LATEST_WITH_FEEDBACK.to_owned(),
        }
    }
}

/// Two hundred thousand sentences: fits of every trainer stay within some hundred MB.
pub(super) const SENTENCES_IN_MEMORY: u64 = 200_000;
/// Thirty days: a version without approval after a month is stale.
const LONGEST_APPROVAL: u32 = 30 * 24 * 3600;
/// Fewer would leave folds without threats.
const LEAST_IN_MEMORY: u64 = 500;

/// Whether a training run promotes its best version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoPromote {
    /// Never: an operator promotes by hand.
    #[default]
    Never,
    /// At once, when every check of the gate passes.
    IfGatePasses,
    /// When every check passes and an operator approves: the run waits for the update `approve` or `reject`.
    AfterApproval,
}

/// What the updates `approve` and `reject` are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Say {
    /// The deciding user.
    pub actor: String,
    /// The reason, for the history.
    pub reason: String,
}

impl Say {
    /// Refuses empty fields. The message names the field.
    pub fn check(&self) -> Result<(), String> {
        for (field, text) in [("actor", &self.actor), ("reason", &self.reason)] {
            if text.trim().is_empty() {
                return Err(format!("`{field}` is empty"));
            }
            check_note(field, Some(text))?;
        }
        Ok(())
    }
}

/// The outcome of the wait for approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// `approved`, `rejected` or `expired`.
    pub outcome: String,
    /// The deciding user; empty if there was none.
    pub actor: String,
    /// The reason.
    pub reason: String,
}

/// What `TrainWorkflow` gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// The best version of this run.
    pub version: Version,
    /// Its trainer.
    pub trainer: String,
    /// The dataset that it was trained on.
    pub dataset: Digest,
    /// Every version of this run, best first.
    pub candidates: Vec<Candidate>,
    /// The gate's report on the best.
    pub gate: Gated,
    /// Whether it was promoted.
    pub promoted: bool,
    /// The generation that the promotion made.
    pub generation: Option<Generation>,
    /// Who approved or rejected it, if the run waited for approval.
    #[serde(default)]
    pub approval: Option<Approval>,
    /// Which replicas serve it, if it was promoted.
    #[serde(default)]
    pub replicas: Option<Replicas>,
}

/// A version that a training run made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its id.
    pub version: Version,
    /// Its trainer.
    pub trainer: String,
    /// Figures of cross-validation by commenter on the training rows.
    pub cross_validation: Scores,
    /// Figures on the held-out rows.
    pub held_out: Scores,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_of_a_request_is_fixed() {
        let json = serde_json::to_string(&TrainRequest::default()).unwrap();
        assert_eq!(
            json,
            r#"{"trainers":["multinomial_nb","stacked"],"preset":"default","dataset":null,"seed":42,"auto_promote":"never","operation":{"point":"best_f1","comments_per_day":10000,"flags_per_day":200},"approval_seconds":259200,"sentences_in_memory":200000,"actor":null,"reason":null}"#
        );
        assert_eq!(serde_json::from_str::<TrainRequest>("{}").unwrap(), TrainRequest::default());
        let request: TrainRequest =
            serde_json::from_str(r#"{"trainers":["multinomial_nb"],"auto_promote":"if_gate_passes"}"#).unwrap();
        assert_eq!(request.auto_promote, AutoPromote::IfGatePasses);
    }

    #[test]
    fn a_wrong_request_is_refused_by_the_fields_name() {
        for (json, named) in [
            (r#"{"trainer":"x"}"#, "trainer"),
            (r#"{"trainers":"multinomial_nb"}"#, "sequence"),
            (r#"{"dataset":"../x"}"#, "64 lower-case hex digits"),
            (r#"{"auto_promote":"sometimes"}"#, "if_gate_passes"),
        ] {
            let error = serde_json::from_str::<TrainRequest>(json).unwrap_err().to_string();
            assert!(error.contains(named), "{json}: {error}");
        }
        let check = |json| serde_json::from_str::<TrainRequest>(json).unwrap().check().unwrap_err();
        assert!(check(r#"{"trainers":["forest"]}"#).contains("`trainers`: no trainer is named `forest`"));
        assert!(check(r#"{"trainers":["stacked"],"preset":"sklearn"}"#).contains("`preset`"));
        assert!(check(r#"{"trainers":[]}"#).contains("`trainers` is empty"));
        assert!(check(r#"{"trainers":["multinomial_nb","multinomial_nb"]}"#).contains("twice"));
        assert!(check(r#"{"source":"sample","dataset":"latest_with_feedback"}"#).contains("name one"));
        assert!(check(r#"{"source":""}"#).contains("`source` is empty"));
        assert!(check(&format!(r#"{{"reason":"{}"}}"#, "x".repeat(501))).contains("`reason`"));
    }
}
