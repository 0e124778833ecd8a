//! References between objects: everything that an object of a backup refers to is in the backup.

use std::collections::BTreeMap;

use model::{Digest, Generation};
use serde::de::DeserializeOwned;

use super::kind::Kind;
use crate::{DatasetManifest, ImportRecord, Key, ModelManifest, PromotionRecord, ShadowOrder, large::Index};

/// An object in a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Its length.
    pub(super) bytes: u64,
    /// The digest of its bytes.
    pub(super) sha256: [u8; 32],
}

/// Every object of a backup so far, and the last link of each chain.
#[derive(Debug, Default)]
pub(super) struct References {
    objects: BTreeMap<Box<str>, Object>,
    last_record: Option<Last>,
    has_import: bool,
    has_order: bool,
}

/// The last record of the history.
#[derive(Debug)]
struct Last {
    generation: Generation,
    sha256: [u8; 32],
}

impl References {
    /// The objects that an object names and that the backup does not have yet.
    ///
    /// An error says why the object cannot be in a backup. Only references that readers follow count. References to the
    /// past may be missing: the base of a dataset, the version that a reviewer saw, older shadow settings.
    pub(super) fn missing(
        &self,
        kind: Kind,
        name: &str,
        bytes: &[u8],
        sha256: &[u8; 32],
    ) -> Result<Vec<String>, String> {
        let named = match kind {
            Kind::Blob => {
                let is_named_so = Key::blob_of(name).is_some_and(|digest| digest.as_str() == hex::encode(sha256));
                if !is_named_so {
                    return Err("its bytes do not have the digest it is named by".to_owned());
                }
                Vec::new()
            }
            Kind::EncoderBase => {
                let parts = parse::<Index>(bytes)?.parts;
                let named: Vec<String> = (0..parts.len() as u32).map(|number| Key::part_of(name, number)).collect();
                for (part, digest) in named.iter().zip(&parts) {
                    if self.objects.get(part.as_str()).is_some_and(|part| hex::encode(part.sha256) != digest.as_str()) {
                        return Err(format!("{part} is not the part that it names"));
                    }
                }
                named
            }
            Kind::Dataset => {
                let manifest: DatasetManifest = parse(bytes)?;
                if Key::Dataset(&manifest.digest).path() != name {
                    return Err("it names another dataset".to_owned());
                }
                manifest.shards.iter().map(|shard| Key::Shard(&manifest.digest, shard.number).path()).collect()
            }
            Kind::Model => {
                let manifest: ModelManifest = parse(bytes)?;
                if Key::Model(&manifest.version).path() != name {
                    return Err("it names another version".to_owned());
                }
                let datasets = [Some(&manifest.dataset), manifest.sample.as_ref()].into_iter().flatten();
                let datasets = datasets.map(|digest| Key::Dataset(digest).path());
                std::iter::once(Key::Blob(&manifest.artifact).path()).chain(datasets).collect()
            }
            Kind::Import => vec![Key::Dataset(&parse::<ImportRecord>(bytes)?.dataset).path()],
            Kind::Drift | Kind::Backtest => {
                let version = name.split('/').nth(1).unwrap_or_default();
                vec![format!("{}{version}.json", Key::MODELS)]
            }
            Kind::Shadow => {
                let order: ShadowOrder = parse(bytes)?;
                let version = order.version.filter(|_| !self.has_order);
                version.iter().map(|version| Key::Model(version).path()).collect()
            }
            Kind::Record => self.named_by_record(name, &parse(bytes)?)?,
            Kind::KeyRevocation
            | Kind::FeedbackDeleted
            | Kind::ApiKey
            | Kind::Shard
            | Kind::Provenance
            | Kind::EncoderPart
            | Kind::Feedback
            | Kind::AuditOutcome
            | Kind::Audit => Vec::new(),
        };
        Ok(named.into_iter().filter(|name| !self.has(name)).collect())
    }

    fn named_by_record(&self, name: &str, record: &PromotionRecord) -> Result<Vec<String>, String> {
        if Key::generation_of(name) != Some(record.generation) {
            return Err("it names another generation".to_owned());
        }
        if record.generation != self.generation().next() {
            return Err(format!("generation {} is missing before it", self.generation().next()));
        }
        let before = self.last_record.as_ref().map(|last| hex::encode(last.sha256));
        if record.previous_record.as_ref().map(Digest::as_str) != before.as_deref() {
            return Err("it does not name the record before it as it is".to_owned());
        }
        let version = Key::Model(&record.version).path();
        match self.objects.get(version.as_str()) {
            Some(manifest) if hex::encode(manifest.sha256) != record.manifest.as_str() => {
                Err(format!("{version} is not the manifest that was promoted"))
            }
            _ => Ok(vec![version]),
        }
    }

    /// Whether an object whose reference is gone is left out: no reader needs it.
    pub(super) fn is_dispensable(&self, kind: Kind) -> bool {
        match kind {
            // Retention deletes these, too, after their version is gone.
            Kind::Drift | Kind::Backtest => true,
            // Readers use only the newest one, which comes first.
            Kind::Import => self.has_import,
            _ => false,
        }
    }

    /// Adds an object whose references are all there. Returns `false` if the name was there already.
    pub(super) fn add(&mut self, kind: Kind, name: &str, object: Object) -> bool {
        match kind {
            Kind::Record => {
                let generation = Key::generation_of(name).unwrap_or_default();
                self.last_record = Some(Last { generation, sha256: object.sha256 });
            }
            Kind::Import => self.has_import = true,
            Kind::Shadow => self.has_order = true,
            _ => {}
        }
        self.objects.insert(name.into(), object).is_none()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.objects.contains_key(name)
    }

    /// The newest generation so far.
    pub(super) fn generation(&self) -> Generation {
        self.last_record.as_ref().map(|last| last.generation).unwrap_or_default()
    }

    pub(super) fn objects(&self) -> &BTreeMap<Box<str>, Object> {
        &self.objects
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}
