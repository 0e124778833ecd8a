//! Is everything that the history names still there, and unchanged?

use std::collections::BTreeMap;

use model::Version;

use crate::{Error, Key, Registry};

/// What a walk over history and blobs found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Generations that were checked.
    pub generations: u64,
    /// Versions that were loaded.
    pub versions: u64,
    /// What is wrong, in words; empty where nothing is.
    pub problems: Vec<String>,
}

impl Registry {
    /// Walks the chain of promotions from the first to the newest, and loads every version that is registered.
    ///
    /// Fails only where the store does not answer; what is wrong with its objects is in the answer.
    pub async fn verify(&self) -> Result<Verification, Error> {
        let mut found = Verification::default();
        let manifests = self.verify_versions(&mut found).await?;
        let names = self.store.list(Key::HISTORY).await?;
        let newest = names.iter().filter_map(|path| Key::generation_of(path)).max().unwrap_or_default();
        let (mut record_before, mut version_before) = (None, None);
        let mut generation = model::Generation(1);
        while generation <= newest {
            let promotion = match self.promotion(generation).await {
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    found.problems.push(error.to_string());
                    None
                }
                Ok(None) => {
                    found.problems.push(format!("generation {generation} is missing from the history"));
                    None
                }
                Ok(found) => found,
            };
            if let Some(promotion) = promotion {
                found.generations += 1;
                let record = promotion.record;
                if record.previous_record != record_before {
                    let problem = format!("generation {generation} does not name the record before it as it is now");
                    found.problems.push(problem);
                }
                if record.previous != version_before {
                    found.problems.push(format!("generation {generation} names another version as the one before"));
                }
                match manifests.get(&record.version) {
                    Some(manifest) if *manifest == record.manifest => {}
                    Some(_) => found.problems.push(format!(
                        "the manifest of {} is not the one that was promoted as generation {generation}",
                        record.version
                    )),
                    None => found
                        .problems
                        .push(format!("{}, promoted as generation {generation}, cannot be loaded", record.version)),
                }
                record_before = Some(promotion.digest);
                version_before = Some(record.version);
            }
            generation = generation.next();
        }
        Ok(found)
    }

    /// Loads every version; answers the digests of their manifests.
    async fn verify_versions(&self, found: &mut Verification) -> Result<BTreeMap<Version, model::Digest>, Error> {
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
