//! Versions requested by name. The last few stay in memory, loaded and verified.

use std::sync::{Arc, Mutex};

use model::Version;
use registry::Registry;
use tokio::sync::Semaphore;

use crate::serving::Live;

/// Versions that are kept: some ten megabytes each.
const MOST: usize = 4;
/// Most requests that wait for a version to be loaded.
const WAITING: usize = 32;

/// The versions that were requested last.
pub(crate) struct Pinned {
    registry: Registry,
    pass_from: Option<f64>,
    /// The last requested comes first.
    kept: Mutex<Vec<Arc<Live>>>,
    /// One version is loaded at a time: loading takes memory and a core.
    loading: Semaphore,
    /// Slots for requests that wait.
    pub(crate) waiting: Semaphore,
}

impl Pinned {
    /// Starts empty.
    pub(crate) fn new(registry: Registry, pass_from: Option<f64>) -> Self {
        let (loading, waiting) = (Semaphore::new(1), Semaphore::new(WAITING));
        Self { registry, pass_from, kept: Mutex::default(), loading, waiting }
    }

    /// A version, if it is in memory.
    pub(crate) fn kept(&self, version: &Version) -> Option<Arc<Live>> {
        let mut kept = self.kept.lock().expect("no holder panics");
        let at = kept.iter().position(|live| live.manifest.version == *version)?;
        kept[..=at].rotate_right(1);
        Some(Arc::clone(&kept[0]))
    }

    /// Loads a version and verifies it, unless another request has just done so.
    pub(crate) async fn load(&self, version: &Version) -> Result<Arc<Live>, registry::Error> {
        let _turn = self.loading.acquire().await.expect("it is never closed");
        if let Some(live) = self.kept(version) {
            return Ok(live);
        }
        let live = Arc::new(Live::pinned(self.registry.load(version).await?, self.pass_from));
        let mut kept = self.kept.lock().expect("no holder panics");
        kept.insert(0, Arc::clone(&live));
        kept.truncate(MOST);
        Ok(live)
    }
}
