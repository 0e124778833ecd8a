//! The manifest of a model version.

use model::{
    Digest, Model, Version,
    calibration::Operation,
    evaluation::{Pair, Scores, drift::Reference},
    trainers::Preset,
};
use serde::{Deserialize, Serialize};

/// The manifest of a version: how it was made and its figures. Written once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelManifest {
    /// The version's id.
    pub version: Version,
    /// The artifact's digest.
    pub artifact: Digest,
    /// The artifact's length in bytes.
    pub artifact_bytes: u64,
    /// Number of features with a weight.
    pub features: u64,
    /// The dataset that it was trained on.
    pub dataset: Digest,
    /// The sample of some commenters' rows, if the dataset was too large for memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Digest>,
    /// The trainer's name.
    pub trainer: String,
    /// The trainer's parameters.
    pub preset: Preset,
    /// The seed, which decides the held-out commenters and the folds.
    pub seed: u64,
    /// The operating point: which threshold decides.
    #[serde(default)]
    pub operation: Operation,
    /// Figures of cross-validation by commenter on the training rows.
    pub cross_validation: Scores,
    /// Figures on the held-out rows.
    pub held_out: Scores,
    /// Measures of the held-out comments. Later comments are compared with them to find drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Box<Reference>>,
    /// Facts about the encoder, if the version has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<Box<EncoderFacts>>,
    /// The release of threatwatch that trained it.
    pub code_version: String,
    /// The id of the training workflow.
    pub workflow_id: String,
    /// The id of the workflow's run.
    pub run_id: String,
    /// Start of the run: seconds since 1970, UTC.
    pub started: i64,
}

/// Facts about a version's encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderFacts {
    /// The digest of the base that it was fine-tuned from.
    pub base: String,
    /// The cross-validated figures if the encoder judged every sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub everywhere: Option<Scores>,
}

impl ModelManifest {
    /// The rows that the figures are from: the sample, else the dataset.
    #[must_use]
    pub fn rows(&self) -> &Digest {
        self.sample.as_ref().unwrap_or(&self.dataset)
    }
}

impl ModelManifest {
    /// The inputs of training that differ between two versions: name, value here, value there.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<(&'static str, String, String)> {
        let sample = |manifest: &Self| manifest.sample.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        let facts = |manifest: &Self| {
            [
                ("dataset", manifest.dataset.to_string()),
                ("sample", sample(manifest)),
                ("trainer", manifest.trainer.clone()),
                ("preset", format!("{:?}", manifest.preset).to_lowercase()),
                ("seed", manifest.seed.to_string()),
                ("operating_point", manifest.operation.point.clone()),
                ("comments_per_day", manifest.operation.comments_per_day.to_string()),
                ("flags_per_day", manifest.operation.flags_per_day.to_string()),
                ("encoder_base", manifest.encoder.as_ref().map_or("none", |encoder| &encoder.base).to_owned()),
                ("code_version", manifest.code_version.clone()),
                ("artifact", manifest.artifact.to_string()),
            ]
        };
        let both = facts(self).into_iter().zip(facts(other));
        both.filter(|(a, b)| a.1 != b.1).map(|((name, a), (_, b))| (name, a, b)).collect()
    }

    /// The figures of two versions side by side, each with its origin.
    ///
    /// The origin is `cross_validation` or `held_out`.
    #[must_use]
    pub fn figures_beside(&self, other: &Self) -> Vec<(&'static str, Pair)> {
        let cross_validation = self.cross_validation.beside(&other.cross_validation);
        let held_out = self.held_out.beside(&other.held_out);
        let of = |rows| move |pair| (rows, pair);
        cross_validation
            .into_iter()
            .map(of("cross_validation"))
            .chain(held_out.into_iter().map(of("held_out")))
            .collect()
    }
}

/// A verified version, ready to serve.
#[derive(Debug)]
pub struct LoadedModel {
    /// Its manifest.
    pub manifest: ModelManifest,
    /// Digest of the manifest's bytes.
    pub manifest_digest: Digest,
    /// The model.
    pub model: Model,
}
