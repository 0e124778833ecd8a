//! Checks that everything that the history names is still there and unchanged.

use std::collections::BTreeMap;

use model::{Digest, Generation, Version};

use crate::{Error, Key, PromotionRecord, Registry};

/// What [`Registry::verify`] found.
///
/// ```
/// use std::sync::Arc;
///
/// use registry::{Key, MemoryStore, Registry};
#[doc = include_str!("example.txt")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(MemoryStore::default());
/// let registry = Registry::new(store.clone());
/// let version = registered(&registry, 1).await?;
/// registry.promote(&promotion(&version, "first"), 0).await?;
/// let found = registry.verify().await?;
/// assert_eq!((found.generations, found.versions, found.problems.len()), (1, 1, 0));
///
/// // One byte more in the manifest: it is not the one that was promoted.
/// store.corrupt(&Key::Model(&version).path(), |bytes| bytes.push(b' '));
/// let found = registry.verify().await?;
/// assert!(found.problems[0].contains(version.as_str()), "{found:?}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Generations that were checked.
    pub generations: u64,
    /// Versions that were loaded.
    pub versions: u64,
    /// A message for each problem; empty if there is none.
    pub problems: Vec<String>,
}

impl Registry {
    /// Checks all promotions, from the first to the newest, and loads every registered version.
    ///
    /// It fails only if the store does not answer. Damaged or missing objects are reported in the answer.
    pub async fn verify(&self) -> Result<Verification, Error> {
        let mut found = Verification::default();
        let manifests = self.verify_versions(&mut found).await?;
        let names = self.store.list(Key::HISTORY).await?;
        let newest = names.iter().filter_map(|path| Key::generation_of(path)).max().unwrap_or_default();
        let mut before = Before::default();
        for generation in (1..=newest.0).map(Generation) {
            match self.promotion(generation).await {
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => found.problems.push(error.to_string()),
                Ok(None) => found.problems.push(format!("generation {generation} is missing from the history")),
                Ok(Some(promotion)) => {
                    found.generations += 1;
                    found.problems.extend(before.objections(&promotion.record));
                    found.problems.extend(objection_to_version(&promotion.record, &manifests));
                    before = Before { record: Some(promotion.digest), version: Some(promotion.record.version) };
                }
            }
        }
        Ok(found)
    }

    /// Loads every version and returns the digests of their manifests.
    async fn verify_versions(&self, found: &mut Verification) -> Result<BTreeMap<Version, Digest>, Error> {
        let mut manifests = BTreeMap::new();
        for path in self.store.list(Key::MODELS).await? {
            let Some(version) = Key::version_of(&path) else { continue };
            match self.load(&version).await {
                Ok(loaded) => {
                    found.versions += 1;
                    manifests.insert(version, loaded.manifest_digest);
                }
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => found.problems.push(error.to_string()),
            }
        }
        Ok(manifests)
    }
}

/// The record before the checked one, as the store has it now.
#[derive(Default)]
struct Before {
    record: Option<Digest>,
    version: Option<Version>,
}

impl Before {
    /// Where a record does not match the record before it.
    fn objections(&self, record: &PromotionRecord) -> Vec<String> {
        let generation = record.generation;
        let mut objections = Vec::new();
        if record.previous_record != self.record {
            objections.push(format!("generation {generation} names another digest for the record before it"));
        }
        if record.previous != self.version {
            objections.push(format!("generation {generation} names another previous version"));
        }
        objections
    }
}

/// The problem if a record's version is missing or not the promoted one.
fn objection_to_version(record: &PromotionRecord, manifests: &BTreeMap<Version, Digest>) -> Option<String> {
    let PromotionRecord { generation, version, .. } = record;
    match manifests.get(version) {
        Some(manifest) if *manifest == record.manifest => None,
        Some(_) => {
            Some(format!("the manifest of {version} is not the one that was promoted as generation {generation}"))
        }
        None => Some(format!("{version}, promoted as generation {generation}, cannot be loaded")),
    }
}
