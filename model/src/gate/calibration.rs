//! Checks that the probabilities agree with the observed shares of threats.

use super::{Answer, Bound, Check, Evidence};

/// A calibration error up to this always passes.
///
/// With a few hundred rows it cannot be measured more precisely.
const FLOOR: f64 = 0.06;
/// The most by which the calibration error may exceed that of production.
const MARGIN: f64 = 0.02;

pub(super) struct Calibrated;

impl Check for Calibrated {
    fn name(&self) -> &'static str {
        "calibration"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let value = evidence.candidate.scores.sentence.ece;
        let production = evidence.production.as_ref().map(|incumbent| incumbent.judged.scores.sentence.ece);
        let meaning = match production {
            Some(today) => format!(
                "The probabilities are off by {:.1} percentage points on average; those in production by {:.1}.",
                100.0 * value,
                100.0 * today
            ),
            None => format!("The probabilities are off by {:.1} percentage points on average.", 100.0 * value),
        };
        Answer { value, bound: Bound::AtMost(production.map_or(FLOOR, |today| FLOOR.max(today + MARGIN))), meaning }
    }
}
