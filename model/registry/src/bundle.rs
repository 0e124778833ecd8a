//! Everything that is needed to serve one generation, as stored and verifiable bytes.

use bytes::Bytes;
use model::{Digest, artifact};

use crate::{Error, Key, ModelManifest, Promotion, PromotionRecord, Registry, blocking};

/// A promotion record, its version's manifest and artifact. Each has the digest of the next.
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
    /// The version's manifest.
    pub manifest: ModelManifest,
    /// The model.
    pub model: model::Model,
}

impl Bundle {
    /// The promotion and its manifest, after all digests were checked, beginning with the record's.
    pub fn verify(&self, record: &Digest) -> Result<(Promotion, ModelManifest), Error> {
        let corrupt = |path: String, reason: &str| Error::Corrupt { path, reason: reason.to_owned() };
        let of_record = || format!("{}{record}", Key::HISTORY);
        if Digest::of(&self.record) != *record {
            return Err(corrupt(of_record(), "its bytes do not match the digest of the record"));
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

    /// Verifies and decodes on another thread, which takes some hundred milliseconds.
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
    /// The bytes that are needed to serve a promotion.
    ///
    /// Only the artifact's digest is verified yet.
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
