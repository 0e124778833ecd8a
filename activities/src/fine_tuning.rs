//! What fine-tuning is given by the program that it is part of.

use std::{fmt, sync::Arc, time::Duration};

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

/// How a worker fine-tunes.
#[derive(Clone)]
pub struct FineTuning {
    /// Where the base of an encoder is found.
    pub bases: Arc<dyn BaseSource>,
    /// So much work is lost at the most when a worker dies.
    pub checkpoint: Duration,
}

impl fmt::Debug for FineTuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FineTuning").field("checkpoint", &self.checkpoint).finish_non_exhaustive()
    }
}
