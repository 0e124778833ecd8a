//! The newest imported dataset.

use futures_util::future::{BoxFuture, FutureExt};
use registry::{DatasetManifest, Error, Registry};

use super::Source;

pub(super) struct NewestImport;

impl Source for NewestImport {
    fn name(&self) -> &'static str {
        "import"
    }

    fn find<'a>(&'a self, registry: &'a Registry) -> BoxFuture<'a, Result<Option<DatasetManifest>, Error>> {
        registry.newest_import().boxed()
    }
}
