//! Deletes what neither the registry nor a running workflow needs.

use temporalio_client::Client;
use workflows::steps::{PruneInput, Pruned};

use super::{Activities, now_millis};
use crate::failure::Failure;

impl Activities {
    pub(super) async fn delete_what_nothing_needs(&self, input: PruneInput, client: Client) -> Result<Pruned, Failure> {
        let running = workflows::running(&client).await?;
        let in_use: Vec<_> = running.iter().flat_map(|run| run.status.versions.iter().cloned()).collect();
        let is_busy = running.iter().any(workflows::Running::makes_models);
        // Reads the store's clock. The earlier one of the two clocks is used: deleting later does no harm.
        self.registry.ping().await?;
        let now = self.registry.now().min(now_millis());
        let pruned = self.registry.prune(&PruneInput { in_use, is_busy, ..input }, now).await?;
        tracing::info!(versions = pruned.versions.len(), blobs = pruned.blobs, bytes = pruned.bytes, "pruned");
        Ok(pruned)
    }
}
