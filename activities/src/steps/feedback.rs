//! Builds datasets with reviewers' decisions.

use std::collections::BTreeMap;

use model::{Digest, protocol::Resolve};
use registry::{Built, Choice, DatasetManifest, Fate, FeedbackId};
use workflows::steps::{BuildInput, BuiltDataset};

use super::Activities;
use crate::failure::Failure;

/// How many of the newest versions are searched for one that was trained with decisions.
const LOOK_BACK: usize = 50;

impl Activities {
    pub(super) async fn build(&self, input: BuildInput) -> Result<BuiltDataset, Failure> {
        let (base, _) = self.first_source().await?;
        let built = Box::pin(self.build_on(&base, input.resolve, input.seed)).await?;
        let (of_version, learnt) = self.learnt().await?.unzip();
        let learnt = learnt.unwrap_or_default();
        let is_learnt = of_version.as_ref() == Some(&built.dataset.digest);
        // A decision that changes no row, now or before, has nothing to teach.
        let changes = |(_, fate): &(u32, Fate)| matches!(fate, Fate::Added | Fate::Corrected);
        let is_new = |(id, now): &(&FeedbackId, &(u32, Fate))| {
            let before = learnt.get(*id);
            before != Some(*now) && (changes(now) || before.is_some_and(changes))
        };
        let items = &built.provenance.items;
        Ok(BuiltDataset {
            base: base.digest,
            dataset: built.dataset.digest,
            decisions: items.len() as u64,
            // The same rows teach nothing new, even if more reviewers agree with them.
            new_decisions: if is_learnt { 0 } else { items.iter().filter(is_new).count() as u64 },
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

    /// The dataset of the newest version that was trained with decisions, and the decisions' revisions and fates.
    async fn learnt(&self) -> Result<Option<(Digest, BTreeMap<FeedbackId, (u32, Fate)>)>, Failure> {
        for manifest in self.registry.manifests().await?.into_iter().take(LOOK_BACK) {
            if let Some(provenance) = self.registry.provenance(&manifest.dataset).await? {
                return Ok(Some((manifest.dataset, provenance.items)));
            }
        }
        Ok(None)
    }
}
