//! Settings of fine-tuning that come from the program around it.

use std::{fmt, sync::Arc, time::Duration};

use encoder::BaseFiles;
use model::Digest;

/// A source of an encoder's base weights. Its functions block.
pub trait BaseSource: Send + Sync {
    /// The base on this machine: a configured one, or one that was fetched before.
    fn here(&self) -> anyhow::Result<Option<BaseFiles>>;
    /// The digest of the base that [`Self::fetch`] returns.
    fn published(&self) -> Digest;
    /// Fetches the published base.
    fn fetch(&self) -> anyhow::Result<BaseFiles>;
}

/// How a worker fine-tunes.
#[derive(Clone)]
pub struct FineTuning {
    /// The source of base weights.
    pub bases: Arc<dyn BaseSource>,
    /// Time between checkpoints: at most this much work is lost if a worker dies.
    pub checkpoint: Duration,
}

impl fmt::Debug for FineTuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FineTuning").field("checkpoint", &self.checkpoint).finish_non_exhaustive()
    }
}
