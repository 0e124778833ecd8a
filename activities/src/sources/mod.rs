//! Where a training run's dataset comes from when the run does not name one: a table, asked from the top.

mod import;
mod sample;

use futures_util::future::BoxFuture;
use registry::{DatasetManifest, Error, Registry};

/// A place where a dataset may be.
pub trait Source: Send + Sync {
    /// Its name in reports; never changed once released.
    fn name(&self) -> &'static str;
    /// The dataset, stored in the registry; none where this place has none.
    fn find<'a>(&'a self, registry: &'a Registry) -> BoxFuture<'a, Result<Option<DatasetManifest>, Error>>;
}

/// Every source; the first that has a dataset gives it.
pub const SOURCES: &[&dyn Source] = &[&import::NewestImport, &sample::Sample];
