//! What crosses Temporal's wire: ids, digests and scores; never rows, comments or models.
//!
//! Histories outlive releases, so every field added later has a serde default. `...Request` and `...Report` are what a
//! workflow takes and gives; `...Input` and a past participle are what an activity takes and gives.

mod promote;
mod upkeep;

use serde::{Deserialize, Serialize};

pub use self::{
    promote::{
        AwaitInput, FindRollbackInput, FoundRollback, GateInput, Gated, Outcome, PromoteInput, PromoteReport,
        PromoteRequest, Promoted, Replicas, RollbackRequest,
    },
    upkeep::{PruneInput, Pruned, RecallInput, Recalled, ReproduceReport, ReproduceRequest, RetentionRequest},
};

use crate::{
    Digest, Generation, Version, calibration::Operation, evaluation::Scores, experiment::DEFAULT_SEED,
    features::FeatureSet, trainers::Preset,
};

/// What `TrainWorkflow` is given: one JSON object, every field optional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainRequest {
    /// Names of trainers; each makes a version, the best by cross-validated PR-AUC is proposed.
    pub trainers: Vec<String>,
    /// Parameters of the trainers.
    pub preset: Preset,
    /// A stored dataset; without it the newest imported one, else the sample.
    pub dataset: Option<Digest>,
    /// Decides the held-out commenters and the folds.
    pub seed: u64,
    /// Whether the best version is promoted.
    pub auto_promote: AutoPromote,
    /// Which threshold decides, and for what flood of comments and flags a day one of them is made.
    pub operation: Operation,
    /// Seconds that `after_approval` waits; then the run ends and nothing is promoted.
    pub approval_seconds: u32,
    /// Sentences that a worker holds in memory at once. Of a larger dataset, whatever cannot be summed shard by shard
    /// is learned and measured on a sample of commenters of about this size.
    pub sentences_in_memory: u64,
    /// Who asks, for the history.
    pub actor: Option<String>,
    /// Why, for the history.
    pub reason: Option<String>,
}

impl Default for TrainRequest {
    fn default() -> Self {
        Self {
            trainers: ["multinomial_nb", "stacked"].map(str::to_owned).to_vec(),
            preset: Preset::Default,
            dataset: None,
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
    /// Refuses what could only fail later; the message names the field.
    pub fn check(&self) -> Result<(), String> {
        if self.trainers.is_empty() {
            return Err(format!("`trainers` is empty: name one or more of {}", crate::trainers::names()));
        }
        for (at, name) in self.trainers.iter().enumerate() {
            crate::trainers::find(name).map_err(|error| format!("`trainers`: {error}"))?;
            if self.preset == Preset::Sklearn && name != "multinomial_nb" {
                return Err(format!("`preset`: sklearn is for multinomial_nb alone, and `trainers` names `{name}`"));
            }
            if self.trainers[..at].contains(name) {
                return Err(format!("`trainers` names `{name}` twice"));
            }
        }
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

/// Two hundred thousand sentences: fits of every trainer stay within some hundred MB.
const SENTENCES_IN_MEMORY: u64 = 200_000;
/// Thirty days: what nobody approves in a month is stale.
const LONGEST_APPROVAL: u32 = 30 * 24 * 3600;
/// Fewer would leave folds without threats.
const LEAST_IN_MEMORY: u64 = 500;

/// Whether a training run promotes what it made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoPromote {
    /// Somebody promotes by hand.
    #[default]
    Never,
    /// At once, when every check of the gate passes.
    IfGatePasses,
    /// When every check passes and somebody approves: the run waits for the update `approve` or `reject`.
    AfterApproval,
}

/// What the updates `approve` and `reject` are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Say {
    /// Who says so.
    pub actor: String,
    /// Why, for the history.
    pub reason: String,
}

impl Say {
    /// Refuses what says nothing; the message names the field.
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

/// How a run that waited for somebody went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// `approved`, `rejected` or `expired`.
    pub outcome: String,
    /// Who said so; empty where nobody did.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// What `TrainWorkflow` gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// The best version of this run.
    pub version: Version,
    /// Its trainer.
    pub trainer: String,
    /// What it was trained on.
    pub dataset: Digest,
    /// Every version of this run, best first.
    pub candidates: Vec<Candidate>,
    /// The gate's report on the best.
    pub gate: Gated,
    /// Whether it was promoted.
    pub promoted: bool,
    /// The generation that the promotion made.
    pub generation: Option<Generation>,
    /// Who approved or rejected it, where the run waited for that.
    #[serde(default)]
    pub approval: Option<Approval>,
    /// Which replicas serve it, where it was promoted.
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

/// What `ingest` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IngestInput {
    /// A stored dataset; without it the newest imported one, else the sample.
    pub dataset: Option<Digest>,
    /// Decides the held-out commenters.
    pub seed: u64,
    /// A larger dataset is sampled.
    #[serde(default = "in_memory")]
    pub sentences_in_memory: u64,
}

fn in_memory() -> u64 {
    SENTENCES_IN_MEMORY
}

/// What `ingest` found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ingested {
    /// The dataset.
    pub dataset: Digest,
    /// `import`, `sample`, or `stored` where the request named it.
    pub source: String,
    /// Usable sentences.
    pub sentences: u64,
    /// Threats among them.
    pub threats: u64,
    /// Comments.
    pub comments: u64,
    /// Commenters.
    pub commenters: u64,
    /// Malformed rows set aside.
    pub quarantined: u64,
    /// Sentences of held-out commenters, of the sample if there is one.
    pub held_out: u64,
    /// Where the dataset is too large for memory: the share of its commenters that fits.
    #[serde(default)]
    pub share: Option<f64>,
    /// The rows of these commenters, as a dataset, once they are gathered.
    #[serde(default)]
    pub sample: Option<Digest>,
    /// Sentences of the sample.
    #[serde(default)]
    pub sampled: u64,
    /// Pieces of the dataset.
    #[serde(default)]
    pub shards: u32,
}

impl Ingested {
    /// The rows that are held in memory: the sample, else the dataset.
    #[must_use]
    pub fn rows(&self) -> &Digest {
        self.sample.as_ref().unwrap_or(&self.dataset)
    }
}

/// What `sample_shards` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleInput {
    /// Whose rows.
    pub dataset: Digest,
    /// The first shard.
    pub from: u32,
    /// One past the last.
    pub to: u32,
    /// Decides who is sampled.
    pub seed: u64,
    /// The share of the commenters that is.
    pub share: f64,
}

/// What `sample_shards` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampled {
    /// The rows are stored under this digest.
    pub rows: Digest,
    /// How many there are.
    pub sentences: u64,
}

/// What `gather_sample` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatherInput {
    /// Of which dataset it is a sample.
    pub dataset: Digest,
    /// Decides the held-out commenters.
    pub seed: u64,
    /// The rows, in the order of the shards.
    pub parts: Vec<Digest>,
    /// The sample has so many sentences at the most.
    pub limit: u64,
}

/// What `gather_sample` made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathered {
    /// The sample, a dataset.
    pub sample: Digest,
    /// Its sentences.
    pub sentences: u64,
    /// Sentences of held-out commenters among them.
    pub held_out: u64,
}

/// What `count_shards` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountInput {
    /// Whose rows.
    pub dataset: Digest,
    /// The first shard.
    pub from: u32,
    /// One past the last.
    pub to: u32,
    /// What is counted.
    pub features: FeatureSet,
    /// Decides the held-out commenters and the folds.
    pub seed: u64,
    /// Folds, each counted apart.
    pub folds: u32,
}

/// What `count_shards` and `merge_counts` made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The counts are stored under this digest.
    pub counts: Digest,
    /// Training sentences that were counted.
    pub sentences: u64,
    /// Different features among them.
    pub features: u64,
}

/// What `merge_counts` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeInput {
    /// Counts of different shards.
    pub parts: Vec<Digest>,
}

/// What `train` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainInput {
    /// What to train on.
    pub dataset: Digest,
    /// The trainer.
    pub trainer: String,
    /// Its parameters.
    pub preset: Preset,
    /// Decides the held-out commenters and the folds.
    pub seed: u64,
    /// Which threshold decides.
    #[serde(default)]
    pub operation: Operation,
    /// Where the dataset is too large for memory: the rows of some commenters, as a dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Digest>,
    /// Counts of the whole dataset, for the learners that need no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<Digest>,
}

/// What `train` made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// The trainer.
    pub trainer: String,
    /// The artifact's bytes are stored under this digest.
    pub artifact: Digest,
    /// Its length in bytes.
    pub artifact_bytes: u64,
    /// Features with a weight.
    pub features: u64,
    /// Figures of cross-validation by commenter on the training rows.
    pub cross_validation: Scores,
}

/// What `evaluate` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluateInput {
    /// Whose held-out rows.
    pub dataset: Digest,
    /// Decides the held-out commenters.
    pub seed: u64,
    /// The model.
    pub artifact: Digest,
}

/// What `evaluate` measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// Figures on the held-out rows.
    pub held_out: Scores,
}

/// What `register` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegisterInput {
    /// Derived from the run and the trainer.
    pub version: Version,
    /// When the run started: seconds since 1970, UTC.
    pub started: i64,
    /// The workflow.
    pub workflow_id: String,
    /// Its run.
    pub run_id: String,
    /// What was trained.
    pub input: TrainInput,
    /// What came of it.
    pub trained: Trained,
    /// What it is worth.
    pub evaluated: Evaluated,
}

/// What `register` wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The version.
    pub version: Version,
    /// Digest of its manifest.
    pub manifest: Digest,
}

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
    /// What is trained on, once known.
    #[serde(default)]
    pub dataset: Option<Digest>,
    /// Start of the run: seconds since 1970, UTC; 0 before it is known.
    #[serde(default)]
    pub started: i64,
    /// Versions registered so far, or the one that is promoted.
    #[serde(default)]
    pub versions: Vec<Version>,
    /// Who asked, where somebody did.
    #[serde(default)]
    pub actor: String,
}

/// Notes go into the history for ever: 500 characters are enough.
fn check_note(field: &str, note: Option<&str>) -> Result<(), String> {
    match note {
        Some(note) if note.chars().count() > 500 => Err(format!("`{field}` is longer than 500 characters")),
        _ => Ok(()),
    }
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
        assert!(check(&format!(r#"{{"reason":"{}"}}"#, "x".repeat(501))).contains("`reason`"));
    }
}
