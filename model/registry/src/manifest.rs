//! What is known of a model version.

use model::{
    Digest, Model, Version,
    calibration::Operation,
    evaluation::{Pair, Scores, drift::Reference},
    trainers::Preset,
};
use serde::{Deserialize, Serialize};

/// The manifest of a version: where it came from and what it is worth. Written once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelManifest {
    /// Its id.
    pub version: Version,
    /// The artifact's digest.
    pub artifact: Digest,
    /// The artifact's length in bytes.
    pub artifact_bytes: u64,
    /// Features with a weight.
    pub features: u64,
    /// What it was trained on.
    pub dataset: Digest,
    /// Where the dataset was too large for memory: the rows of some commenters, as a dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Digest>,
    /// The trainer.
    pub trainer: String,
    /// Its parameters.
    pub preset: Preset,
    /// Decided the held-out commenters and the folds.
    pub seed: u64,
    /// Which threshold decides.
    #[serde(default)]
    pub operation: Operation,
    /// Figures of cross-validation by commenter on the training rows.
    pub cross_validation: Scores,
    /// Figures on the held-out rows.
    pub held_out: Scores,
    /// Measures of the held-out comments, which later ones are held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Box<Reference>>,
    /// How an encoder takes part in it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<Box<EncoderFacts>>,
    /// Release of threatwatch that trained it.
    pub code_version: String,
    /// The workflow.
    pub workflow_id: String,
    /// Its run.
    pub run_id: String,
    /// Start of the run: seconds since 1970, UTC.
    pub started: i64,
}

/// How an encoder takes part in a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncoderFacts {
    /// The digest of the base that it was fine-tuned from.
    pub base: String,
    /// The cross-validated figures if it were asked about every sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub everywhere: Option<Scores>,
}

impl ModelManifest {
    /// The rows that figures are of: the sample, else the dataset.
    #[must_use]
    pub fn rows(&self) -> &Digest {
        self.sample.as_ref().unwrap_or(&self.dataset)
    }
}

impl ModelManifest {
    /// What was given to the training of two versions and is not the same: name, here, there.
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

    /// The figures of two versions side by side, each with the rows that it is of: `cross_validation` or `held_out`.
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
    /// What is known of it.
    pub manifest: ModelManifest,
    /// Digest of the manifest's bytes.
    pub manifest_digest: Digest,
    /// The model.
    pub model: Model,
}
