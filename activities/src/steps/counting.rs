//! Counts the features of shards and adds the counts.

use model::{
    Row,
    counts::{CountsByFold, FoldCounter},
    trainers,
};
use workflows::steps::{CountInput, Counted, MergeInput};

use super::Activities;
use crate::{alive::compute, failure::Failure};

impl Activities {
    pub(super) async fn count(&self, input: CountInput) -> Result<Counted, Failure> {
        let manifest = self.registry.dataset(&input.dataset).await?;
        let counter =
            FoldCounter::new(input.features, input.seed, input.folds as usize).map_err(trainers::Error::from)?;
        let shards = input.from as usize..input.to as usize;
        let add = |counter: &mut FoldCounter, rows: Vec<Row>| rows.iter().for_each(|row| counter.add(row));
        let counter = self.registry.fold_rows(&manifest, shards, counter, add).await?;
        let counts = compute(move || Ok(counter.finish())).await?;
        self.keep(counts).await
    }

    pub(super) async fn merge(&self, input: MergeInput) -> Result<Counted, Failure> {
        let mut parts = input.parts.iter();
        let first = parts.next().ok_or(trainers::Error::Empty("there are no counts"))?;
        let mut sum = self.registry.counts(first).await?;
        for part in parts {
            let part = self.registry.counts(part).await?;
            sum = compute(move || {
                sum.merge(&part)?;
                Ok(sum)
            })
            .await?;
        }
        self.keep(sum).await
    }

    pub(super) async fn keep(&self, counts: CountsByFold) -> Result<Counted, Failure> {
        let all = counts.all();
        let (sentences, features) = (all.sentences.iter().sum(), all.len() as u64);
        let counts = self.registry.put_counts(counts).await?;
        Ok(Counted { counts, sentences, features })
    }
}
