//! The steps before training: a dataset, a sample of it, counts of its shards.

use model::{Digest, features::FeatureSet};
use serde::{Deserialize, Serialize};

use super::training::SENTENCES_IN_MEMORY;

/// What `ingest` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IngestInput {
    /// A stored dataset; without it the dataset of a source.
    pub dataset: Option<Digest>,
    /// The source of the dataset; without it the sources are tried in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether to add reviewers' decisions, as `build_dataset` does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_feedback: bool,
    /// Seed that chooses the held-out commenters.
    pub seed: u64,
    /// Most sentences in memory. A larger dataset is sampled.
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
    /// The source's name: `import`, `sample` or another one; `stored` if the request named the dataset. The suffix
    /// `_with_feedback` means that reviewers' decisions were added.
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
    /// Repeated sentences, by their words, without the first of each; none if the dataset is too large for memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<u64>,
    /// Sentences of held-out commenters, of the sample if there is one.
    pub held_out: u64,
    /// If the dataset is too large for memory: the share of its commenters that fits.
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
    /// The rows that are held in memory: the sample, otherwise the dataset.
    #[must_use]
    pub fn rows(&self) -> &Digest {
        self.sample.as_ref().unwrap_or(&self.dataset)
    }
}

/// What `sample_shards` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleInput {
    /// The dataset of the rows.
    pub dataset: Digest,
    /// The first shard.
    pub from: u32,
    /// One past the last.
    pub to: u32,
    /// Seed that chooses the sampled commenters.
    pub seed: u64,
    /// The share of the commenters that is sampled.
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
    /// The dataset of which it is a sample.
    pub dataset: Digest,
    /// Seed that chooses the held-out commenters.
    pub seed: u64,
    /// The rows, in the order of the shards.
    pub parts: Vec<Digest>,
    /// Most sentences of the sample.
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
    /// The dataset of the rows.
    pub dataset: Digest,
    /// The first shard.
    pub from: u32,
    /// One past the last.
    pub to: u32,
    /// The features to count.
    pub features: FeatureSet,
    /// Seed that chooses the held-out commenters and the folds.
    pub seed: u64,
    /// Number of folds. Each is counted separately.
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
