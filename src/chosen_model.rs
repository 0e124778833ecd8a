//! The model that a command uses: a registered version, or an artifact's file.

use std::path::Path;

use anyhow::Context;
use model::{Digest, Model, Version, artifact};
use registry::{LoadedModel, ModelManifest, Registry};
use serde::Serialize;

use crate::settings::Settings;

/// A model and its origin.
#[derive(Debug)]
pub(crate) struct ChosenModel {
    pub(crate) model: Model,
    /// SHA-256 of the artifact.
    pub(crate) artifact: Digest,
    /// The manifest of the version; none for a file.
    pub(crate) manifest: Option<ModelManifest>,
}

/// Whether a model was trained on the rows that it judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TrainingData {
    /// Yes: the rows are its dataset, or the sample of it.
    Same,
    /// On some of them: one dataset was built from the other, or both from the same dataset.
    Shared,
    /// No, as far as the datasets show.
    Other,
    /// Unknown: an artifact's file names no dataset.
    Unknown,
}

impl ChosenModel {
    /// Reads the file of this name if there is one, otherwise loads the version.
    ///
    /// A file needs no server.
    pub(crate) async fn find(name: &str, settings: &Settings) -> anyhow::Result<Self> {
        if Path::new(name).is_file() {
            return Self::read(Path::new(name));
        }
        let version = Version::parse(name).with_context(|| format!("`{name}` is neither a file nor a version"))?;
        Self::load(&settings.registry().await?, &version).await
    }

    fn read(file: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let model = artifact::decode(&bytes).with_context(|| format!("{} is not a model", file.display()))?;
        Ok(Self { model, artifact: Digest::of(&bytes), manifest: None })
    }

    pub(crate) async fn load(registry: &Registry, version: &Version) -> anyhow::Result<Self> {
        let LoadedModel { manifest, model, .. } = registry.load(version).await?;
        Ok(Self { model, artifact: manifest.artifact.clone(), manifest: Some(manifest) })
    }

    /// Whether the model was trained on a dataset.
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

/// A dataset, the dataset that it was built from, and so on, as far as they are stored.
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
    /// The warning for this case, if any.
    pub(crate) fn warning(self) -> Option<&'static str> {
        match self {
            Self::Same => Some(
                "the model was trained on these rows: the figures are too good. `models show` has the figures on the \
                 held-out commenters",
            ),
            Self::Shared => Some("the model was trained on some of these rows: the figures are too good"),
            Self::Unknown => {
                Some("a model's file does not name its training data: if it was these rows, the figures are too good")
            }
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

        // A dataset with reviewers' additions keeps the rows on which the version was trained.
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
