//! Do the probabilities mean what they say?

use super::{Answer, Bound, Check, Evidence};

/// The calibration error that passes where there is nothing to compare with: a few hundred rows measure it this badly.
const FLOOR: f64 = 0.06;
/// Above production's by at most this much.
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
                "On average a probability is {:.1} points of 100 beside the truth; in production it is {:.1}.",
                100.0 * value,
                100.0 * today
            ),
            None => format!("On average a probability is {:.1} points of 100 beside the truth.", 100.0 * value),
        };
        Answer { value, bound: Bound::AtMost(production.map_or(FLOOR, |today| FLOOR.max(today + MARGIN))), meaning }
    }
}
