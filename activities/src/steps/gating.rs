//! Runs the gate: the checks on a version, and the comparison with production.

use std::time::{Duration, Instant};

use encoder::Room;
use model::{Model, Row, corpus::split, gate, linear::Scratch};
use registry::{LoadedModel, Promotion};
use workflows::steps::{GateInput, Gated};

use super::Activities;
use crate::{alive::compute, failure::Failure};

/// How long a candidate's speed is measured.
const MEASURE: Duration = Duration::from_millis(200);
/// Sentences that are judged together during the measurement.
const TOGETHER: usize = 64;

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
        let checks = self.extensions.checks();
        let gated = compute(move || {
            let (mut numbers, mut rows) = split::held_out_numbered(manifest.seed, rows);
            if let Some((_, incumbent)) = &production {
                // Production's training rows would favour it: only commenters that are held out for both are judged.
                let is_fair = |row: &Row| split::is_held_out(incumbent.manifest.seed, &row.commenter);
                (numbers, rows) = numbers.into_iter().zip(rows).filter(|(_, row)| is_fair(row)).unzip();
            }
            let speed = sentences_per_second(&candidate, &rows);
            let incumbent = production.as_ref().map(|(_, loaded)| &loaded.model);
            let evidence = gate::Evidence::gather(&candidate, &manifest.artifact, incumbent, &rows, speed);
            let checks = gate::ask(&checks, &evidence);
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

/// How fast a model scores rows on one thread, including the encoder for rows that are passed to it.
fn sentences_per_second(model: &Model, rows: &[Row]) -> f64 {
    let (mut scratch, mut room, mut scored) = (Scratch::default(), Room::default(), 0);
    let started = Instant::now();
    for rows in rows.chunks(TOGETHER).cycle() {
        let own: Vec<f64> = rows.iter().map(|row| model.score(&row.text, &mut scratch).logit).collect();
        if let Some((_, encoder)) = model.cascade() {
            let passed = model.passed(&model.fast_probabilities(&own)).into_iter();
            let texts = passed.map(|i| rows[i].text.as_str());
            std::hint::black_box(encoder.score_texts(texts, &mut room));
        }
        std::hint::black_box(own);
        scored += rows.len();
        if started.elapsed() > MEASURE {
            break;
        }
    }
    scored as f64 / started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
}
