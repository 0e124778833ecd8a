//! Holding a version against the checks and against what is in production.

use std::time::{Duration, Instant};

use model::{Model, Row, corpus::split, gate, linear::Scratch};
use registry::{LoadedModel, Promotion};
use workflows::steps::{GateInput, Gated};

use super::Activities;
use crate::{alive::compute, failure::Failure};

/// How long a candidate's speed is measured.
const MEASURE: Duration = Duration::from_millis(100);

impl Activities {
    pub(super) async fn hold_against_checks(&self, input: GateInput) -> Result<Gated, Failure> {
        let LoadedModel { manifest, model: candidate, .. } = self.registry.load(&input.version).await?;
        let production = match self.registry.production().await? {
            Some(Promotion { record, .. }) => {
                let loaded = self.registry.load(&record.version).await?;
                Some((record, loaded))
            }
            None => None,
        };
        let rows = self.registry.rows(&self.registry.dataset(manifest.rows()).await?).await?;
        let gated = compute(move || {
            let (mut numbers, mut rows) = split::held_out_numbered(manifest.seed, rows);
            if let Some((_, incumbent)) = &production {
                // What production was trained on would flatter it: only who is held out for both is judged.
                let is_fair = |row: &Row| split::is_held_out(incumbent.manifest.seed, &row.commenter);
                (numbers, rows) = numbers.into_iter().zip(rows).filter(|(_, row)| is_fair(row)).unzip();
            }
            let speed = sentences_per_second(&candidate, &rows);
            let incumbent = production.as_ref().map(|(_, loaded)| &loaded.model);
            let evidence = gate::Evidence::gather(&candidate, &manifest.artifact, incumbent, &rows, speed);
            let checks = gate::judge(&evidence);
            let flips = gate::Flips::of(&evidence, &numbers);
            let record = production.map(|(record, _)| record);
            Ok(Gated {
                passed: checks.iter().all(|finding| finding.passed),
                checks,
                against: record.as_ref().map(|record| record.version.clone()),
                generation: record.as_ref().map(|record| record.generation),
                promoted_by: record.map(|record| record.actor),
                flips,
            })
        })
        .await?;
        self.metrics.gated(gated.passed);
        tracing::info!(model.version = %input.version, passed = gated.passed, "gated");
        Ok(gated)
    }
}

/// How fast a model scores rows, a tenth of a second long at the most.
fn sentences_per_second(model: &Model, rows: &[Row]) -> f64 {
    let (started, mut scratch, mut scored) = (Instant::now(), Scratch::default(), 0_u32);
    for row in rows.iter().cycle() {
        std::hint::black_box(model.score(&row.text, &mut scratch));
        scored += 1;
        if scored.is_multiple_of(64) && started.elapsed() > MEASURE {
            break;
        }
    }
    f64::from(scored) / started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
}
