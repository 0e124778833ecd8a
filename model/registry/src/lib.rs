//! Datasets, model versions and the history of production, kept as objects in a bucket.
//!
//! Only this crate talks to S3. There is no database. Every object is written once, with `If-None-Match: *`,
//! and never changed. `docs/design/registry.md` lists the objects and says which of them are deleted, and when. Writing
//! `history/production/<generation>.json` *is* the promotion. The newest generation is in production.

mod access;
mod audit;
mod backtest;
pub mod backup;
mod bundle;
mod cache;
mod card;
mod clock;
mod compression;
mod dataset;
mod drift;
mod error;
mod feedback;
mod fine_tuning;
mod history;
mod key;
mod large;
mod manifest;
mod marks;
mod memory;
mod probe;
mod replicas;
mod retention;
mod s3;
mod shadow;
mod store;
mod trace;
mod unreadable;
mod verification;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::StreamExt;
use model::{Digest, Model, Version, artifact, counts::CountsByFold};
use serde::{Serialize, de::DeserializeOwned};

pub use self::{
    access::{ApiKey, KeyName, KeyState, Keys, Revocation, Role},
    audit::{AuditEntry, AuditOutcome, Audited, Deed},
    bundle::{Bundle, Production},
    cache::Cache,
    dataset::{Built, Choice, DatasetManifest, Fate, ImportRecord, Open, Provenance, Shard, Source, dataset_digest},
    error::Error,
    feedback::{Feedback, FeedbackId, FeedbackItem, FeedbackList, Label, Said},
    history::{Promotion, PromotionRecord},
    key::Key,
    manifest::{EncoderFacts, LoadedModel, ModelManifest},
    memory::MemoryStore,
    probe::Trust,
    replicas::{RENEW, ReplicaId, Serving},
    s3::{S3Settings, S3Store, Secret},
    shadow::ShadowOrder,
    store::{Created, Entry, Store, StoreError},
    verification::Verification,
};

/// Small requests that run at the same time: a thousand versions are listed in a second.
const REQUESTS_AT_ONCE: usize = 16;

/// This machine's clock: milliseconds since 1970, UTC.
fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Runs slow work on another thread, so that other tasks do not wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Panicked)
}

/// The registry on a store. Cheap to clone: clones share one connection pool.
///
/// A dataset is imported, two versions are registered and promoted, and production is rolled back:
///
/// ```
/// use std::sync::Arc;
///
/// use model::{Generation, protocol::PromoteInput};
/// use registry::{MemoryStore, Registry};
#[doc = include_str!("example.txt")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new(Arc::new(MemoryStore::default()));
/// let now = 1_795_399_809_000;
/// let dataset = registry.import_dataset("sample.txt", model::SAMPLE_CORPUS, now).await?;
/// assert_eq!(registry.newest_import().await?, Some(dataset));
///
/// let mut versions = Vec::new();
/// for run in [1, 2] {
///     // A training run makes the bytes of a model and their manifest.
///     let (artifact, manifest) = trained(run);
///     registry.put_artifact(artifact).await?;
///     registry.register(&manifest).await?;
///     versions.push(manifest.version);
/// }
/// for version in &versions {
///     let input = PromoteInput {
///         version: version.clone(),
///         change_id: format!("promote {version}"),
///         expected_generation: None,
///         actor: "anna".to_owned(),
///         reason: "better recall".to_owned(),
///         gate: None,
///         forced: false,
///     };
///     assert!(registry.promote(&input, now).await?.is_new);
/// }
/// let production = registry.production().await?.expect("two versions were promoted");
/// assert_eq!((production.record.generation, &production.record.version), (Generation(2), &versions[1]));
///
/// // A rollback promotes the version that was in production before.
/// let (target, generation) = registry.rollback_target(None).await?;
/// assert_eq!(target, versions[0]);
/// let input = PromoteInput { expected_generation: Some(generation), ..promotion(&target, "roll back") };
/// registry.promote(&input, now).await?;
/// let history = registry.history().await?;
/// let history: Vec<_> = history.iter().map(|promotion| &promotion.record.version).collect();
/// assert_eq!(history, [&versions[0], &versions[1], &versions[0]]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Registry {
    store: Arc<dyn Store>,
    /// The number of the newest audit entry that this process knows.
    newest_audit: Arc<tokio::sync::Mutex<Option<u64>>>,
}

impl Registry {
    /// A registry on a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, newest_audit: Arc::default() }
    }

    /// Stores an artifact under its digest. Storing it again changes nothing.
    pub async fn put_artifact(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        let path = Key::Blob(&digest).path();
        self.store.create(&path, bytes.into()).await?;
        self.claim(&path).await?;
        // An older object of this name may have been deleted between the write and the claim.
        if !self.store.list(&path).await?.contains(&path) {
            return Err(Error::BeingDeleted { path });
        }
        Ok(digest)
    }

    /// Stores counts, compressed, under the digest of the compressed bytes.
    pub async fn put_counts(&self, counts: CountsByFold) -> Result<Digest, Error> {
        // The fastest level: they are read once, and a higher level would not compress the keys better.
        let bytes = blocking(move || zstd::bulk::compress(&counts.encode(), 1)).await?;
        self.put_artifact(bytes.expect("compression in memory")).await
    }

    /// Stored counts, checked against the digest.
    pub async fn counts(&self, digest: &Digest) -> Result<CountsByFold, Error> {
        let bytes = self.artifact(digest).await?;
        let decode = move || {
            let bytes = compression::decompress(&bytes)?;
            CountsByFold::decode(&bytes).map_err(|error| error.to_string())
        };
        blocking(decode).await?.map_err(|reason| Key::Blob(digest).corrupt(reason))
    }

    /// The artifact's bytes, checked against the digest.
    pub async fn artifact(&self, digest: &Digest) -> Result<Bytes, Error> {
        let key = Key::Blob(digest);
        let path = key.path();
        let bytes = self.read_or_condemn(&path).await?.ok_or(Error::NotFound { what: key.what(), path })?;
        if Digest::of(&bytes) != *digest {
            return Err(key.corrupt("its bytes do not have the digest it is named by"));
        }
        Ok(bytes)
    }

    /// The model in a stored artifact, checked against the digest.
    pub async fn model(&self, digest: &Digest) -> Result<Model, Error> {
        let bytes = self.artifact(digest).await?;
        artifact::decode(&bytes).map_err(|error| Key::Blob(digest).undecodable(error))
    }

    /// Registers a version and returns its stored manifest.
    ///
    /// If the version has a manifest already, nothing is written and that one is returned. A version id is derived from
    /// its run, so the first manifest under it is that run's manifest.
    pub async fn register(&self, manifest: &ModelManifest) -> Result<(ModelManifest, Digest), Error> {
        let key = Key::Model(&manifest.version);
        self.create_json(key, manifest).await?;
        self.refuse_while_deleted(&key.path()).await?;
        match self.manifest(&manifest.version).await {
            // An older manifest was there at the write, and was deleted since.
            Err(Error::NotFound { path, .. }) => Err(Error::BeingDeleted { path }),
            found => found,
        }
    }

    /// A version's manifest and the digest of its bytes.
    pub async fn manifest(&self, version: &Version) -> Result<(ModelManifest, Digest), Error> {
        let key = Key::Model(version);
        let bytes = self.require(key).await?;
        let manifest: ModelManifest = serde_json::from_slice(&bytes).map_err(|error| key.corrupt(error))?;
        if manifest.version != *version {
            return Err(key.corrupt("it names another version"));
        }
        Ok((manifest, Digest::of(&bytes)))
    }

    /// A version's model card, in Markdown.
    pub async fn card(&self, version: &Version) -> Result<String, Error> {
        let (manifest, _) = self.manifest(version).await?;
        let rows = self.dataset(manifest.rows()).await?;
        Ok(manifest.card(&rows))
    }

    /// The manifests of all registered versions, newest first. Unreadable ones are left out and logged.
    pub async fn manifests(&self) -> Result<Vec<ModelManifest>, Error> {
        let mut known = BTreeMap::new();
        self.follow_manifests(&mut known).await?;
        Ok(known.into_values().rev().map(Arc::unwrap_or_clone).collect())
    }

    /// Brings a list of the registered versions up to date.
    ///
    /// Unreadable manifests are left out and logged. Known manifests are not read again, because a manifest never
    /// changes.
    pub async fn follow_manifests(&self, known: &mut BTreeMap<Version, Arc<ModelManifest>>) -> Result<(), Error> {
        let paths = self.store.list(Key::MODELS).await?;
        let versions: BTreeSet<Version> = paths.iter().filter_map(|path| Key::version_of(path)).collect();
        known.retain(|version, _| versions.contains(version));
        let unknown: Vec<Version> = versions.into_iter().filter(|version| !known.contains_key(version)).collect();
        let read = |version: Version| {
            let registry = self.clone();
            async move { registry.manifest(&version).await }
        };
        let mut reads = futures_util::stream::iter(unknown).map(read).buffered(REQUESTS_AT_ONCE);
        while let Some(read) = reads.next().await {
            match read {
                Ok((manifest, _)) => drop(known.insert(manifest.version.clone(), Arc::new(manifest))),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => tracing::warn!(%error, "left out of the list of models"),
            }
        }
        Ok(())
    }

    /// A version's manifest and model, after checks of manifest, artifact digest and decoder.
    pub async fn load(&self, version: &Version) -> Result<LoadedModel, Error> {
        let (manifest, manifest_digest) = self.manifest(version).await?;
        let model = self.model(&manifest.artifact).await?;
        Ok(LoadedModel { manifest, manifest_digest, model })
    }

    /// The store's time: milliseconds since 1970, UTC.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.store.now()
    }

    /// Checks that the store answers, by one small read that is tried once.
    pub async fn ping(&self) -> Result<(), Error> {
        self.store.get_at_once(&Key::Record(model::Generation(0)).path()).await?;
        Ok(())
    }

    async fn require(&self, key: Key<'_>) -> Result<Bytes, Error> {
        let path = key.path();
        let found = self.store.get(&path).await?;
        found.ok_or(Error::NotFound { what: key.what(), path })
    }

    async fn create_json(&self, key: Key<'_>, value: &impl Serialize) -> Result<Created, Error> {
        let bytes = serde_json::to_vec_pretty(value).expect("manifests and records are plain data");
        Ok(self.store.create(&key.path(), bytes.into()).await?)
    }

    async fn read_json<T: DeserializeOwned>(&self, key: Key<'_>) -> Result<Option<(T, Digest)>, Error> {
        let Some(bytes) = self.store.get(&key.path()).await? else { return Ok(None) };
        let value = serde_json::from_slice(&bytes).map_err(|error| key.corrupt(error))?;
        Ok(Some((value, Digest::of(&bytes))))
    }
}
