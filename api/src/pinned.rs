//! Versions that are asked for by name: a few that were loaded and verified stay in memory.

use std::sync::{Arc, Mutex};

use model::Version;
use registry::Registry;
use tokio::sync::{OnceCell, Semaphore};

use crate::serving::Live;

/// Versions that are kept: some ten megabytes each.
pub(crate) const MOST: usize = 4;

/// The versions that were asked for last.
pub(crate) struct Pinned {
    registry: Registry,
    pass_from: Option<f64>,
    /// The last one asked for comes first.
    kept: Mutex<Vec<(Version, Arc<OnceCell<Arc<Live>>>)>>,
    /// One version is loaded at a time: loading takes memory and a core.
    loading: Semaphore,
}

impl Pinned {
    /// Nothing is loaded yet.
    pub(crate) fn new(registry: Registry, pass_from: Option<f64>) -> Self {
        Self { registry, pass_from, kept: Mutex::default(), loading: Semaphore::new(1) }
    }

    /// A version, loaded and verified if it is not kept. Requests for the same one wait for one load.
    pub(crate) async fn get(&self, version: &Version) -> Result<Arc<Live>, registry::Error> {
        let cell = self.cell(version);
        let load = || async {
            let _turn = self.loading.acquire().await.expect("it is never closed");
            Ok(Arc::new(Live::pinned(self.registry.load(version).await?, self.pass_from)))
        };
        cell.get_or_try_init(load).await.cloned()
    }

    fn cell(&self, version: &Version) -> Arc<OnceCell<Arc<Live>>> {
        let mut kept = self.kept.lock().expect("no holder panics");
        let found = kept.iter().position(|(of, _)| of == version);
        let entry = found.map_or_else(|| (version.clone(), Arc::default()), |at| kept.remove(at));
        let cell = Arc::clone(&entry.1);
        kept.insert(0, entry);
        kept.truncate(MOST);
        cell
    }
}
