//! Datasets: named by their content, immutable, in compressed shards, with a report of malformed rows.

mod builder;
mod built;
mod import;
mod sample;
mod shard;

use model::{
    Digest,
    corpus::{Format, Quarantined},
};
use serde::{Deserialize, Serialize};

pub use self::{
    built::{Built, Choice, Fate, Provenance},
    import::Open,
    shard::dataset_digest,
};
use crate::{Error, Key, Registry};

/// What a dataset contains and where it came from. Written once, after its shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetManifest {
    /// SHA-256 of the rows as JSON lines: the dataset's name.
    pub digest: Digest,
    /// The file that it was read from.
    pub source: Source,
    /// Number of usable sentences.
    pub sentences: u64,
    /// Number of threats among them.
    pub threats: u64,
    /// Number of comments.
    pub comments: u64,
    /// Number of commenters.
    pub commenters: u64,
    /// Number of malformed rows that were left out.
    pub quarantined: u64,
    /// The first malformed rows, by line, with the reason.
    pub quarantine: Vec<Quarantined>,
    /// The shards with the rows, in order.
    pub shards: Vec<Shard>,
    /// The dataset that this one is a sample of; `None` if it is no sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_of: Option<Digest>,
    /// The dataset that it was built on, with reviewers' decisions; `None` if it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_on: Option<Digest>,
}

/// The file that a dataset was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file's name, without folders.
    pub name: String,
    /// The format that it was read as.
    pub format: Format,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A piece of a dataset: rows as JSON lines, zstd-compressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number, from 0.
    pub number: u32,
    /// Rows in it.
    pub rows: u64,
    /// SHA-256 of the uncompressed lines.
    pub sha256: Digest,
}

/// When a dataset was imported. The last of these records names the newest imported dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRecord {
    /// The imported dataset.
    pub dataset: Digest,
    /// When: milliseconds since 1970, UTC.
    pub at: i64,
}

impl Registry {
    /// The newest imported dataset.
    pub async fn newest_import(&self) -> Result<Option<DatasetManifest>, Error> {
        let Some(path) = self.store.list(Key::IMPORTS).await?.pop() else { return Ok(None) };
        let corrupt = |reason: &str| Error::Corrupt { path: path.clone(), reason: reason.to_owned() };
        let bytes = self.store.get(&path).await?.ok_or_else(|| corrupt("it is listed but cannot be read"))?;
        let record: ImportRecord = serde_json::from_slice(&bytes).map_err(|_| corrupt("it is not an import record"))?;
        Ok(Some(self.dataset(&record.dataset).await?))
    }

    /// A dataset's manifest, for a run that is going to use it.
    ///
    /// Protects the dataset from retention.
    pub async fn claim_dataset(&self, digest: &Digest) -> Result<DatasetManifest, Error> {
        self.claim(&Key::Dataset(digest).path()).await?;
        self.dataset(digest).await
    }

    /// A dataset's manifest.
    pub async fn dataset(&self, digest: &Digest) -> Result<DatasetManifest, Error> {
        let key = Key::Dataset(digest);
        let found = self.read_json::<DatasetManifest>(key).await?;
        let (manifest, _) = found.ok_or_else(|| Error::NotFound { what: key.what(), path: key.path() })?;
        if manifest.digest == *digest { Ok(manifest) } else { Err(key.corrupt("it names another dataset")) }
    }
}
