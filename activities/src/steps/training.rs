//! Trains, evaluates and registers a version, and reads how a version was trained.

use model::{artifact, experiment, trainers};
use registry::{EncoderFacts, ModelManifest};
use workflows::steps::{
    EvaluateInput, Evaluated, RecallInput, Recalled, RegisterInput, Registered, TrainInput, Trained,
};

use super::{Activities, encoder};
use crate::{alive::compute, failure::Failure};

impl Activities {
    pub(super) async fn fit(&self, input: TrainInput) -> Result<Trained, Failure> {
        let trainer = trainers::find(&input.trainer)?;
        let (train, _) = self.rows(input.sample.as_ref().unwrap_or(&input.dataset), input.seed).await?;
        let is_sampled = input.sample.is_some();
        let mut counts = Vec::new();
        for digest in &input.counts {
            counts.push(self.registry.counts(digest).await?);
        }
        let config = experiment::Config {
            preset: input.preset,
            seed: input.seed,
            operation: input.operation,
            threads: self.threads,
            ..experiment::Config::default()
        };
        let encoder = match &input.encoder {
            Some(tuned) => Some(self.tuned(tuned, &encoder::folds_of(is_sampled, &train, &config)?).await?),
            None => None,
        };
        let (bytes, features, cross_validation, everywhere) = compute(move || {
            // By the sample, never by the counts: a trainer's result must not depend on the other trainers of the run.
            let trained = if is_sampled {
                experiment::train_counted(trainer, &train, &counts, encoder, &config, &|_, _| {})?
            } else {
                experiment::train_with_encoder(trainer, &train, encoder, &config, &|_, _| {})?
            };
            let features = trained.model.table().keys().len() as u64;
            Ok((artifact::encode(&trained.model), features, trained.cross_validation, trained.everywhere))
        })
        .await?;
        let artifact_bytes = bytes.len() as u64;
        let artifact = self.registry.put_artifact(bytes).await?;
        tracing::info!(trainer = %input.trainer, artifact = %artifact.short(), features, "trained");
        Ok(Trained { trainer: input.trainer, artifact, artifact_bytes, features, cross_validation, everywhere })
    }

    pub(super) async fn judge_artifact(&self, input: EvaluateInput) -> Result<Evaluated, Failure> {
        let model = self.registry.model(&input.artifact).await?;
        let (_, test) = self.rows(&input.dataset, input.seed).await?;
        compute(move || {
            let held_out = experiment::evaluate(&model, &test);
            Ok(Evaluated { held_out, reference: experiment::reference(&model, &test) })
        })
        .await
    }

    pub(super) async fn write_manifest(&self, input: RegisterInput) -> Result<Registered, Failure> {
        let manifest = ModelManifest {
            version: input.version,
            artifact: input.trained.artifact,
            artifact_bytes: input.trained.artifact_bytes,
            features: input.trained.features,
            dataset: input.input.dataset,
            sample: input.input.sample,
            operation: input.input.operation,
            trainer: input.input.trainer,
            preset: input.input.preset,
            seed: input.input.seed,
            cross_validation: input.trained.cross_validation,
            held_out: input.evaluated.held_out,
            reference: input.evaluated.reference.map(Box::new),
            encoder: input
                .input
                .encoder
                .map(|tuned| Box::new(EncoderFacts { base: tuned.base, everywhere: input.trained.everywhere })),
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            workflow_id: input.workflow_id,
            run_id: input.run_id,
            started: input.started,
        };
        let (manifest, digest) = self.registry.register(&manifest).await?;
        self.metrics.trained_now();
        tracing::info!(model.version = %manifest.version, trainer = %manifest.trainer, "registered");
        Ok(Registered { version: manifest.version, manifest: digest })
    }

    pub(super) async fn read_how_it_was_trained(&self, input: RecallInput) -> Result<Recalled, Failure> {
        let (manifest, _) = self.registry.manifest(&input.version).await?;
        let shards = self.registry.dataset(&manifest.dataset).await?.shards.len() as u32;
        let input = TrainInput {
            dataset: manifest.dataset,
            trainer: manifest.trainer,
            preset: manifest.preset,
            seed: manifest.seed,
            operation: manifest.operation,
            sample: manifest.sample,
            counts: Vec::new(),
            encoder: None,
        };
        let base = manifest.encoder.map(|encoder| encoder.base);
        Ok(Recalled { input, shards, artifact: manifest.artifact, code_version: manifest.code_version, base })
    }
}
