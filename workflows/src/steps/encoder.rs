//! The steps that fine-tune an encoder: find its base weights, then learn without each fold and on all rows.

use std::fmt;

use model::Digest;
use serde::{Deserialize, Serialize};

/// What `find_encoder_base` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindBaseInput {
    /// The digest of a base in the bucket; without it the worker's configured base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// What `find_encoder_base` found, and put into the bucket for the other workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundBase {
    /// Its digest.
    pub base: String,
    /// Number of its parameters, in millions.
    pub millions: f64,
}

/// What `fine_tune` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TuneInput {
    /// What to learn from.
    pub dataset: Digest,
    /// If the dataset is too large for memory: the rows of some commenters, as a dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Digest>,
    /// Seed for the held-out commenters, the folds, and all random draws of the training.
    pub seed: u64,
    /// The digest of the base.
    pub base: String,
    /// The fold to learn without; none to learn from all training rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without: Option<u32>,
}

impl TuneInput {
    /// For people: `fold 2` or `all folds`.
    #[must_use]
    pub fn part(&self) -> String {
        self.without.map_or_else(|| "all folds".to_owned(), |fold| format!("all but fold {}", fold + 1))
    }
}

/// The progress of a `fine_tune`: the details of its heartbeats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// The rows that it learns from.
    pub part: String,
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub of: u64,
    /// Mean loss of the last hundred steps.
    pub loss: f32,
    /// Sentences a second, since this attempt began.
    pub sentences_per_second: f32,
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, step, of, loss, sentences_per_second } = self;
        write!(f, "{part}: step {step} of {of}, loss {loss:.3}, {sentences_per_second:.0} sentences/s")
    }
}

/// What `fine_tune` made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuned {
    /// For a fold: the blob of its rows' scores, one 32-bit float each, little-endian, in the order of the rows.
    /// For all folds: the blob of the encoder.
    pub made: Digest,
}

/// The result of fine-tuning for a trainer. Only names of blobs cross the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunedEncoder {
    /// The digest of the base.
    pub base: String,
    /// The blobs of the scores of each fold's rows, in order.
    pub unseen: Vec<Digest>,
    /// The blob of the encoder that learned from all training rows.
    pub encoder: Digest,
}
