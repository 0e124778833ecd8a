//! Where a worker finds the base of an encoder, beside the bucket.

use encoder::BaseFiles;
use model::Digest;

/// Where a worker finds the base of an encoder. Functions block.
pub trait BaseSource: Send + Sync {
    /// The base that is on this machine, because somebody said where or because it was fetched before.
    fn here(&self) -> anyhow::Result<Option<BaseFiles>>;
    /// The digest of the base that [`Self::fetch`] brings.
    fn published(&self) -> Digest;
    /// Fetches the base that everybody uses.
    fn fetch(&self) -> anyhow::Result<BaseFiles>;
}
