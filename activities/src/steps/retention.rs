//! Deleting what nothing needs, with what the running workflows need in view.

use temporalio_client::Client;
use workflows::steps::{PruneInput, Pruned};

use super::{Activities, now_millis};
use crate::failure::Failure;

impl Activities {
    pub(super) async fn delete_what_nothing_needs(&self, input: PruneInput, client: Client) -> Result<Pruned, Failure> {
        let running = workflows::running(&client).await?;
        let in_use: Vec<_> = running.iter().flat_map(|run| run.status.versions.iter().cloned()).collect();
        let is_busy = running.iter().any(workflows::Running::makes_models);
        // The store's clock as it is now. Where ours is behind it, ours: too late does no harm.
        self.registry.ping().await?;
        let now = self.registry.now().min(now_millis());
        let pruned = self.registry.prune(&PruneInput { in_use, is_busy, ..input }, now).await?;
        tracing::info!(versions = pruned.versions.len(), blobs = pruned.blobs, bytes = pruned.bytes, "pruned");
        Ok(pruned)
    }
}
