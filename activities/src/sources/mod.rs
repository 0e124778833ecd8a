//! Where a training run's dataset comes from when the run does not name one: a table, asked from the top.

mod import;
mod sample;

use futures_util::future::BoxFuture;
use registry::{DatasetManifest, Error, Registry};

/// A place where a dataset may be.
///
/// Asking twice changes nothing. A source that cannot be read is an error, and no reason to ask the next: a run must not
/// train on something else because a part was away for a moment.
pub trait Source: Send + Sync {
    /// Its name in reports; never changed once released.
    fn name(&self) -> &'static str;
    /// The dataset, stored in the registry; none where this place has none.
    fn find<'a>(&'a self, registry: &'a Registry) -> BoxFuture<'a, Result<Option<DatasetManifest>, Error>>;
}

/// The first dataset that some sources have, and the name of its source.
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

/// Every source of this crate; the first that has a dataset gives it.
pub const SOURCES: &[&dyn Source] = &[&import::NewestImport, &sample::Sample];
