//! The corpus that ships with the project. It always exists, so a first run always has data.

use futures_util::future::{BoxFuture, FutureExt};
use registry::{DatasetManifest, Error, Registry};

use super::Source;

pub(super) struct Sample;

impl Source for Sample {
    fn name(&self) -> &'static str {
        "sample"
    }

    fn find<'a>(&'a self, registry: &'a Registry) -> BoxFuture<'a, Result<Option<DatasetManifest>, Error>> {
        async { Ok(Some(registry.put_dataset("sample.txt", model::SAMPLE_CORPUS).await?)) }.boxed()
    }
}
