//! The model that a command was told: a registered version, or the file of an artifact.

use std::path::Path;

use anyhow::Context;
use model::{Digest, Model, Version, artifact};
use registry::{LoadedModel, ModelManifest, Registry};
use serde::Serialize;

use crate::settings::Settings;

/// A model and where it is from.
#[derive(Debug)]
pub(crate) struct ChosenModel {
    pub(crate) model: Model,
    /// SHA-256 of the artifact.
    pub(crate) artifact: Digest,
    /// What is known of the version; none of a file.
    pub(crate) manifest: Option<ModelManifest>,
}

/// Whether a model learned from the rows that it is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TrainingData {
    /// It did: they are its dataset, or the sample of it.
    Same,
    /// From some of them: its dataset and these were made of one another, or of the same dataset.
    Shared,
    /// From others, as far as datasets tell.
    Other,
    /// Nobody knows: the file of an artifact names no dataset.
    Unknown,
}

impl ChosenModel {
    /// Reads a file, if there is one of this name, else loads the version; without a server for a file.
    pub(crate) async fn find(name: &str, settings: &Settings) -> anyhow::Result<Self> {
        if Path::new(name).is_file() {
            return Self::read(Path::new(name));
        }
        let version = Version::parse(name).with_context(|| format!("`{name}` is neither a file nor a version"))?;
        Self::load(&settings.registry().await?, &version).await
    }

    fn read(file: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let model = artifact::decode(&bytes).with_context(|| format!("{} is no model", file.display()))?;
        Ok(Self { model, artifact: Digest::of(&bytes), manifest: None })
    }

    pub(crate) async fn load(registry: &Registry, version: &Version) -> anyhow::Result<Self> {
        let LoadedModel { manifest, model, .. } = registry.load(version).await?;
        Ok(Self { model, artifact: manifest.artifact.clone(), manifest: Some(manifest) })
    }

    /// Whether it learned from a dataset.
    pub(crate) async fn learned_from(&self, registry: &Registry, dataset: &Digest) -> anyhow::Result<TrainingData> {
        let Some(manifest) = &self.manifest else { return Ok(TrainingData::Unknown) };
        if manifest.dataset == *dataset || manifest.rows() == dataset {
            return Ok(TrainingData::Same);
        }
        let (its, asked) = (lineage(registry, manifest.rows()).await?, lineage(registry, dataset).await?);
        let share = its.iter().any(|one| asked.contains(one));
        Ok(if share { TrainingData::Shared } else { TrainingData::Other })
    }
}

/// A dataset, then the one that it was made of, and so on, as far as they are stored.
async fn lineage(registry: &Registry, dataset: &Digest) -> anyhow::Result<Vec<Digest>> {
    let mut found = vec![dataset.clone()];
    loop {
        match registry.dataset(&found[found.len() - 1]).await {
            Ok(manifest) => match manifest.sample_of.or(manifest.built_on) {
                Some(before) => found.push(before),
                None => return Ok(found),
            },
            Err(registry::Error::NotFound { .. }) => return Ok(found),
            Err(error) => return Err(error.into()),
        }
    }
}

impl TrainingData {
    /// What to be warned of, in words.
    pub(crate) fn warning(self) -> Option<&'static str> {
        match self {
            Self::Same => Some(
                "the model was trained on these very rows: the figures flatter it. `models show` has those of the \
                 commenters that it never saw",
            ),
            Self::Shared => Some("the model was trained on some of these rows: the figures flatter it"),
            Self::Unknown => Some(
                "the file of a model does not say what it was trained on: if on these rows, the figures flatter it",
            ),
            Self::Other => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use model::{
        Row, corpus,
        experiment::{self, Config},
        protocol::Resolve,
        trainers,
    };
    use registry::{Choice, Feedback, Label, MemoryStore};

    use super::*;

    /// A registry with the sample as a dataset, and a version that was trained on it.
    pub(crate) async fn registered() -> (Registry, Digest, Version) {
        let registry = Registry::new(Arc::new(MemoryStore::default()));
        let dataset = registry.put_dataset("sample.txt", model::SAMPLE_CORPUS).await.unwrap().digest;
        let rows = corpus::sample().rows;
        let trainer = trainers::find("multinomial_nb").unwrap();
        let trained = experiment::train(trainer, &rows, &Config::default(), &|_, _| {}).unwrap();
        let bytes = artifact::encode(&trained.model);
        let artifact = registry.put_artifact(bytes.clone()).await.unwrap();
        let manifest = ModelManifest {
            version: Version::parse("20261123T021009Z-3f9c2a1b").unwrap(),
            artifact,
            artifact_bytes: bytes.len() as u64,
            features: 1,
            dataset: dataset.clone(),
            sample: None,
            trainer: trainer.name().to_owned(),
            preset: trainers::Preset::Default,
            seed: 42,
            operation: model::calibration::Operation::default(),
            cross_validation: trained.cross_validation.clone(),
            held_out: trained.cross_validation,
            reference: None,
            encoder: None,
            code_version: "0.1.0".to_owned(),
            workflow_id: "train".to_owned(),
            run_id: "run".to_owned(),
            started: 1,
        };
        registry.register(&manifest).await.unwrap();
        (registry, dataset, manifest.version)
    }

    fn jsonl(rows: &[Row]) -> Vec<u8> {
        let line = |row: &Row| serde_json::json!({ "text": row.text, "label": row.label, "commenter": row.commenter });
        rows.iter().map(|row| format!("{}\n", line(row))).collect::<String>().into_bytes()
    }

    #[tokio::test]
    async fn a_versions_own_training_data_is_told_apart_from_other_data() {
        let (registry, dataset, version) = registered().await;
        let chosen = ChosenModel::load(&registry, &version).await.unwrap();
        let learned = async |digest: &Digest| chosen.learned_from(&registry, digest).await.unwrap();
        assert_eq!(learned(&dataset).await, TrainingData::Same);
        let mut fewer = corpus::sample().rows;
        fewer.truncate(900);
        let other = registry.put_dataset("other.jsonl", jsonl(&fewer)).await.unwrap();
        assert_eq!(learned(&other.digest).await, TrainingData::Other);
        assert_eq!(learned(&Digest::of(b"a file that was never stored")).await, TrainingData::Other);

        // What reviewers add to the dataset keeps the rows that the version learned from.
        let decision = Feedback {
            text: "The harbour opens at noon and we shall all be there.".to_owned(),
            label: Label::Harmless,
            sentences: std::collections::BTreeSet::new(),
            reviewer: "mona".parse().unwrap(),
            note: None,
            model: None,
            request_id: None,
        };
        registry.put_feedback(decision).await.unwrap();
        let choice = Choice { since: None, resolve: Resolve::Majority, seed: 42 };
        let built = registry.build_dataset(&dataset, &choice).await.unwrap().dataset;
        assert_ne!(built.digest, dataset);
        assert_eq!(learned(&built.digest).await, TrainingData::Shared);
    }
}
