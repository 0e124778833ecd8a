//! Everything that serves one generation, as stored bytes that vouch for each other.

use bytes::Bytes;
use model::{Digest, artifact};

use crate::{Error, Key, ModelManifest, Promotion, PromotionRecord, Registry, blocking};

/// A promotion record, the manifest that it names by digest, and the artifact that the manifest names by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The record's bytes.
    pub record: Bytes,
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// The artifact.
    pub artifact: Bytes,
}

/// A promotion whose model is verified and ready to serve.
#[derive(Debug)]
pub struct Production {
    /// The promotion.
    pub promotion: Promotion,
    /// What is known of the version.
    pub manifest: ModelManifest,
    /// The model.
    pub model: model::Model,
}

impl Bundle {
    /// The promotion and its manifest, after every digest was checked, from the record's on.
    pub fn verify(&self, record: &Digest) -> Result<(Promotion, ModelManifest), Error> {
        let corrupt = |path: String, reason: &str| Error::Corrupt { path, reason: reason.to_owned() };
        let of_record = || format!("{}{record}", Key::HISTORY);
        if Digest::of(&self.record) != *record {
            return Err(corrupt(of_record(), "it is not the record of that digest"));
        }
        let parsed: PromotionRecord =
            serde_json::from_slice(&self.record).map_err(|error| corrupt(of_record(), &error.to_string()))?;
        let key = Key::Model(&parsed.version);
        if Digest::of(&self.manifest) != parsed.manifest {
            return Err(key.corrupt("it is not the manifest that was promoted"));
        }
        let manifest: ModelManifest = serde_json::from_slice(&self.manifest).map_err(|error| key.corrupt(error))?;
        if Digest::of(&self.artifact) != manifest.artifact {
            return Err(Key::Blob(&manifest.artifact).corrupt("its bytes do not have the digest it is named by"));
        }
        Ok((Promotion { record: parsed, digest: record.clone() }, manifest))
    }

    /// Verifies and decodes. Takes some hundred milliseconds of another thread.
    pub async fn open(self, record: &Digest) -> Result<Production, Error> {
        let record = record.clone();
        blocking(move || self.open_here(&record)).await?
    }

    /// Verifies and decodes, on this thread.
    pub(crate) fn open_here(&self, record: &Digest) -> Result<Production, Error> {
        let (promotion, manifest) = self.verify(record)?;
        let decoded = artifact::decode(&self.artifact);
        let model = decoded.map_err(|error| Key::Blob(&manifest.artifact).undecodable(error))?;
        Ok(Production { promotion, manifest, model })
    }
}

impl Registry {
    /// The bytes that serve a promotion. Nothing is verified yet but the artifact's digest.
    pub async fn bundle(&self, promotion: &Promotion) -> Result<Bundle, Error> {
        let record = &promotion.record;
        let key = Key::Model(&record.version);
        let bytes = self.require(key).await?;
        let manifest: ModelManifest = serde_json::from_slice(&bytes).map_err(|error| key.corrupt(error))?;
        Ok(Bundle {
            record: self.require(Key::Record(record.generation)).await?,
            artifact: self.artifact(&manifest.artifact).await?,
            manifest: bytes,
        })
    }
}
