//! The steps that make a version: train, evaluate, register.

use model::{
    Digest, Version,
    calibration::Operation,
    evaluation::{Scores, drift::Reference},
    trainers::Preset,
};
use serde::{Deserialize, Serialize};

use super::TunedEncoder;

/// What `train` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainInput {
    /// What to train on.
    pub dataset: Digest,
    /// The trainer.
    pub trainer: String,
    /// Its parameters.
    pub preset: Preset,
    /// Seed that chooses the held-out commenters and the folds.
    pub seed: u64,
    /// The operating point, which gives the threshold.
    #[serde(default)]
    pub operation: Operation,
    /// If the dataset is too large for memory: the rows of some commenters, as a dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Digest>,
    /// Counts of the whole dataset, for the learners that need only counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<Digest>,
    /// For a trainer with an encoder: the result of fine-tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<TunedEncoder>,
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
    /// With an encoder: these figures if it judged every sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub everywhere: Option<Scores>,
}

/// What `evaluate` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluateInput {
    /// The dataset whose held-out rows are judged.
    pub dataset: Digest,
    /// Seed that chooses the held-out commenters.
    pub seed: u64,
    /// The model.
    pub artifact: Digest,
}

/// What `evaluate` measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// Figures on the held-out rows.
    pub held_out: Scores,
    /// The reference for drift of later comments; none if too few comments are held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
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
    /// The result of the training.
    pub trained: Trained,
    /// Its figures.
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
