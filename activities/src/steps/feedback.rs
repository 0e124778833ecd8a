//! Datasets with what reviewers decided.

use std::collections::BTreeMap;

use model::protocol::Resolve;
use registry::{Built, Choice, DatasetManifest, FeedbackId};
use workflows::steps::{BuildInput, BuiltDataset};

use super::Activities;
use crate::failure::Failure;

/// Versions that are asked with which decisions they were trained: of the newest.
const LOOK_BACK: usize = 50;

impl Activities {
    pub(super) async fn build(&self, input: BuildInput) -> Result<BuiltDataset, Failure> {
        let (base, _) = self.first_source().await?;
        let built = Box::pin(self.build_on(&base, input.resolve, input.seed)).await?;
        let learnt = self.learnt().await?;
        let is_new = |(id, (revision, _)): &(&FeedbackId, &(u32, registry::Fate))| learnt.get(*id) != Some(revision);
        let items = &built.provenance.items;
        Ok(BuiltDataset {
            base: base.digest,
            dataset: built.dataset.digest,
            decisions: items.len() as u64,
            new_decisions: items.iter().filter(is_new).count() as u64,
            comments: built.fates.iter().map(|(fate, number)| (fate.name().to_owned(), *number)).collect(),
            added: built.added,
            threats: built.threats,
            corrected: built.corrected,
        })
    }

    /// Builds a dataset on another one.
    pub(super) async fn build_on(&self, base: &DatasetManifest, resolve: Resolve, seed: u64) -> Result<Built, Failure> {
        let choice = Choice { since: None, resolve, seed };
        let built = self.registry.build_dataset(&base.digest, &choice).await?;
        tracing::info!(
            dataset = %built.dataset.digest.short(),
            base = %base.digest.short(),
            decisions = built.provenance.items.len(),
            added = built.added,
            corrected = built.corrected,
            "built with feedback"
        );
        Ok(built)
    }

    /// The decisions, by revision, that the newest version with any was trained with.
    async fn learnt(&self) -> Result<BTreeMap<FeedbackId, u32>, Failure> {
        for manifest in self.registry.manifests().await?.into_iter().take(LOOK_BACK) {
            if let Some(provenance) = self.registry.provenance(&manifest.dataset).await? {
                return Ok(provenance.items.into_iter().map(|(id, (revision, _))| (id, revision)).collect());
            }
        }
        Ok(BTreeMap::new())
    }
}
