//! The dataset sources of a training run that names no dataset: a table, tried from the top.

mod import;
mod sample;

use futures_util::future::BoxFuture;
use registry::{DatasetManifest, Error, Registry};

/// A source that may have a dataset.
///
/// A repeated call changes nothing. If a source cannot be read, that is an error and the next one is not tried: a run
/// must not train on other data because a part was away for a moment.
pub trait Source: Send + Sync {
    /// Its name in reports. It never changes after a release.
    fn name(&self) -> &'static str;
    /// The dataset, stored in the registry; none if this source has none.
    fn find<'a>(&'a self, registry: &'a Registry) -> BoxFuture<'a, Result<Option<DatasetManifest>, Error>>;
}

/// The first dataset of some sources, and its source's name.
pub async fn first(
    sources: &[&dyn Source],
    registry: &Registry,
) -> Result<Option<(DatasetManifest, &'static str)>, Error> {
    for source in sources {
        if let Some(found) = source.find(registry).await? {
            return Ok(Some((found, source.name())));
        }
    }
    Ok(None)
}

/// Every source of this crate. The first one with a dataset is used.
pub const SOURCES: &[&dyn Source] = &[&import::NewestImport, &sample::Sample];
