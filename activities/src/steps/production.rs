//! Writes a generation, watches the replicas, finds the target of a rollback.

use std::time::{Duration, Instant};

use model::gate;
use registry::Serving;
use workflows::steps::{AwaitInput, FindRollbackInput, FoundRollback, PromoteInput, Promoted, Replicas};

use super::{Activities, now_millis};
use crate::{alive::compute, failure::Failure};

/// Replicas look for a new generation twice a second.
///
/// One that does not serve it after this time has a problem.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often their reports are read meanwhile.
const LOOK: Duration = Duration::from_millis(200);

impl Activities {
    pub(super) async fn write_generation(&self, input: PromoteInput) -> Result<Promoted, Failure> {
        self.trust.require().await?;
        let promoted = self.registry.promote(&input, now_millis()).await?;
        tracing::info!(
            model.version = %promoted.version,
            generation = promoted.generation.0,
            forced = input.forced,
            "promoted"
        );
        Ok(promoted)
    }

    pub(super) async fn watch_replicas(&self, input: AwaitInput) -> Result<Replicas, Failure> {
        let started = Instant::now();
        loop {
            let Serving { reported, missing } = self.registry.serving(input.generation).await?;
            if missing.is_empty() || started.elapsed() > PATIENCE {
                if !missing.is_empty() {
                    tracing::warn!(generation = input.generation.0, ?missing, "replicas do not serve the generation");
                }
                return Ok(Replicas { reported, missing, unknown: None });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) async fn verify_rollback(&self, input: FindRollbackInput) -> Result<FoundRollback, Failure> {
        let (version, generation) = self.registry.rollback_target(input.to.as_ref()).await?;
        let loaded = self.registry.load(&version).await?;
        let is_sound = compute(move || Ok(gate::ranks_golden_examples(&loaded.model))).await?;
        if is_sound { Ok(FoundRollback { version, generation }) } else { Err(Failure::GoldenExamples(version)) }
    }
}
