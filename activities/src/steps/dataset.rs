//! Finds a dataset, draws a sample of it, and reads the rows that a step needs.

use std::collections::HashSet;

use model::{
    Digest, Row,
    corpus::{self, split},
    protocol::Resolve,
};
use registry::DatasetManifest;
use workflows::steps::{GatherInput, Gathered, IngestInput, Ingested, SampleInput, Sampled};

use super::Activities;
use crate::{alive::compute, failure::Failure, sources};

/// Counts of a dataset that is held in memory.
struct InMemory {
    /// Sentences of held-out commenters.
    held_out: u64,
    /// Repeated sentences, by their words, without the first of each.
    duplicates: u64,
}

impl Activities {
    pub(super) async fn find_dataset(&self, input: IngestInput) -> Result<Ingested, Failure> {
        let (mut manifest, mut source) = if let Some(digest) = &input.dataset {
            (self.registry.claim_dataset(digest).await?, "stored".to_owned())
        } else {
            let (newest, source) = match &input.source {
                Some(name) => self.named_source(name).await?,
                None => self.first_source().await?,
            };
            (newest, source.to_owned())
        };
        if manifest.built_on.is_some()
            && let Some(provenance) = self.registry.provenance(&manifest.digest).await?
            && provenance.choice.seed != input.seed
        {
            return Err(Failure::OtherSeed { built: provenance.choice.seed, asked: input.seed });
        }
        if input.with_feedback {
            manifest = Box::pin(self.build_on(&manifest, Resolve::default(), input.seed)).await?.dataset;
            source += "_with_feedback";
        }
        let share = (manifest.sentences > input.sentences_in_memory)
            .then(|| input.sentences_in_memory as f64 / manifest.sentences as f64);
        // A dataset that is too large for memory is examined when its sample is gathered.
        let (held_out, duplicates) = match share {
            None => {
                let InMemory { held_out, duplicates } = self.look_at(&manifest, input.seed).await?;
                (held_out, Some(duplicates))
            }
            Some(_) => (0, None),
        };
        self.metrics.rows_ingested.inc_by(manifest.sentences);
        self.metrics.rows_quarantined.inc_by(manifest.quarantined);
        tracing::info!(
            dataset = %manifest.digest.short(),
            source,
            sentences = manifest.sentences,
            quarantined = manifest.quarantined,
            "ingested"
        );
        Ok(Ingested {
            source,
            sentences: manifest.sentences,
            threats: manifest.threats,
            comments: manifest.comments,
            commenters: manifest.commenters,
            quarantined: manifest.quarantined,
            duplicates,
            held_out,
            share,
            sample: None,
            sampled: 0,
            shards: manifest.shards.len() as u32,
            dataset: manifest.digest,
        })
    }

    /// Examines all rows of a dataset.
    ///
    /// Refuses it if the rows that are not held out cannot train a model.
    async fn look_at(&self, manifest: &DatasetManifest, seed: u64) -> Result<InMemory, Failure> {
        let rows = self.registry.rows(manifest).await?;
        compute(move || {
            let different = rows.iter().map(|row| row.text.as_str()).collect::<HashSet<_>>().len();
            let duplicates = (rows.len() - different) as u64;
            let (train, test) = split::held_out(seed, rows);
            corpus::require_trainable(&train)?;
            Ok(InMemory { held_out: test.len() as u64, duplicates })
        })
        .await
    }

    /// The rows of some commenters in some shards.
    pub(super) async fn sample(&self, input: SampleInput) -> Result<Sampled, Failure> {
        let manifest = self.registry.dataset(&input.dataset).await?;
        let SampleInput { seed, share, .. } = input;
        let keep = move |sample: &mut Vec<Row>, rows: Vec<Row>| {
            sample.extend(rows.into_iter().filter(|row| split::is_sampled(seed, &row.commenter, share)));
        };
        let shards = input.from as usize..input.to as usize;
        let rows = self.registry.fold_rows(&manifest, shards, Vec::new(), keep).await?;
        let sentences = rows.len() as u64;
        Ok(Sampled { rows: self.registry.put_part(rows).await?, sentences })
    }

    pub(super) async fn gather(&self, input: GatherInput) -> Result<Gathered, Failure> {
        let whole = self.registry.dataset(&input.dataset).await?;
        let mut rows = Vec::new();
        for part in &input.parts {
            rows.extend(self.registry.part(part).await?);
        }
        let (seed, limit) = (input.seed, input.limit);
        let rows = compute(move || Ok(split::at_most(seed, rows, limit))).await?;
        let sample = self.registry.put_sample(&whole, rows).await?;
        let held_out = self.look_at(&sample, input.seed).await?.held_out;
        Ok(Gathered { sentences: sample.sentences, sample: sample.digest, held_out })
    }

    pub(super) async fn first_source(&self) -> Result<(DatasetManifest, &'static str), Failure> {
        let found = sources::first(&self.extensions.sources(), &self.registry).await?;
        let (manifest, source) = found.expect("the last source always has a dataset");
        Ok((self.registry.claim_dataset(&manifest.digest).await?, source))
    }

    async fn named_source(&self, name: &str) -> Result<(DatasetManifest, &'static str), Failure> {
        let sources = self.extensions.sources();
        let Some(source) = sources.iter().find(|source| source.name() == name) else {
            let known = sources.iter().map(|source| source.name()).collect::<Vec<_>>().join(", ");
            return Err(Failure::UnknownSource { name: name.to_owned(), known });
        };
        let found = source.find(&self.registry).await?.ok_or_else(|| Failure::EmptySource(name.to_owned()))?;
        Ok((self.registry.claim_dataset(&found.digest).await?, source.name()))
    }

    /// Training rows and held-out rows.
    pub(super) async fn rows(&self, dataset: &Digest, seed: u64) -> Result<(Vec<Row>, Vec<Row>), Failure> {
        let manifest = self.registry.dataset(dataset).await?;
        let rows = self.registry.rows(&manifest).await?;
        compute(move || Ok(split::held_out(seed, rows))).await
    }
}
