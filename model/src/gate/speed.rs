//! Is the model fast enough to serve?

use super::{Answer, Bound, Check, Evidence};

/// A service that judges a comment of ten sentences within a millisecond scores this many.
const LEAST: f64 = 10_000.0;

pub(super) struct ScoringSpeed;

impl Check for ScoringSpeed {
    fn name(&self) -> &'static str {
        "scoring_speed"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let value = evidence.sentences_per_second;
        let meaning = format!("It judges about {value:.0} sentences in a second on one processor core.");
        Answer { value, bound: Bound::AtLeast(LEAST), meaning }
    }
}
