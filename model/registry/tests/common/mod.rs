//! A small model that can be registered under any name, and requests to promote it.
#![allow(dead_code, reason = "each test binary uses a part of this")]
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test may panic; a module of tests is shared")]

use std::sync::LazyLock;

use model::{
    Digest, Generation, Version, artifact,
    experiment::{self, Config},
    protocol::PromoteInput,
    trainers,
};
use registry::{ModelManifest, Registry};

/// A small model's bytes and its manifest, to be registered under any name.
pub static TEMPLATE: LazyLock<(Vec<u8>, ModelManifest)> = LazyLock::new(|| {
    let rows: Vec<_> = model::corpus::sample().rows.into_iter().take(60).collect();
    let trainer = trainers::find("multinomial_nb").unwrap();
    let trained = experiment::train(trainer, &rows, &Config::default(), &|_, _| {}).unwrap();
    let bytes = artifact::encode(&trained.model);
    let manifest = ModelManifest {
        version: Version::derive(0, "template", "run", trainer.name()),
        artifact: Digest::of(&bytes),
        artifact_bytes: bytes.len() as u64,
        features: 1,
        dataset: Digest::of(b"rows"),
        sample: None,
        trainer: trainer.name().to_owned(),
        preset: trainers::Preset::Default,
        seed: 1,
        operation: model::calibration::Operation::default(),
        held_out: trained.cross_validation.clone(),
        reference: None,
        cross_validation: trained.cross_validation,
        encoder: None,
        code_version: "test".to_owned(),
        workflow_id: "template".to_owned(),
        run_id: "run".to_owned(),
        started: 0,
    };
    (bytes, manifest)
});

pub fn version(number: usize) -> Version {
    Version::derive(number as i64, &format!("train-{number}"), "run", "multinomial_nb")
}

/// The manifest of a version with the small model.
pub fn manifest(number: usize) -> ModelManifest {
    ModelManifest { version: version(number), started: number as i64, ..TEMPLATE.1.clone() }
}

/// Registers a version with the small model. The same number gives the same version.
pub async fn registered(registry: &Registry, number: usize) -> Version {
    let manifest = manifest(number);
    assert_eq!(registry.put_artifact(TEMPLATE.0.clone()).await.unwrap(), manifest.artifact);
    let (stored, _) = registry.register(&manifest).await.unwrap();
    assert_eq!(stored, manifest);
    manifest.version
}

/// A request to promote, with the generation that must be in production.
pub fn promotion(version: &Version, change_id: &str, expected: Option<u64>) -> PromoteInput {
    input(version.clone(), change_id.to_owned(), expected.map(Generation))
}

pub fn input(version: Version, change_id: String, expected: Option<Generation>) -> PromoteInput {
    PromoteInput {
        version,
        change_id,
        expected_generation: expected,
        actor: "suite".to_owned(),
        reason: "test".to_owned(),
        gate: None,
        forced: false,
    }
}

pub fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}
