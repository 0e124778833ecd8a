//! Checks that the model is fast enough for production.

use super::{Answer, Bound, Check, Evidence};

/// The least speed in sentences per second: a comment of ten sentences takes a millisecond.
const LEAST: f64 = 10_000.0;
/// The least speed with an encoder: five comments of twenty sentences per second.
const LEAST_WITH_ENCODER: f64 = 100.0;

pub(super) struct ScoringSpeed;

impl Check for ScoringSpeed {
    fn name(&self) -> &'static str {
        "scoring_speed"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let value = evidence.sentences_per_second;
        let meaning = format!("It judges about {value:.0} sentences in a second on one processor core.");
        let least = if evidence.candidate.model.cascade().is_some() { LEAST_WITH_ENCODER } else { LEAST };
        Answer { value, bound: Bound::AtLeast(least), meaning }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, experiment, gate::Judged, trainers};

    #[test]
    fn a_model_with_an_encoder_may_be_slower_to_a_floor_of_its_own() {
        let passes = |trainer: &str, sentences_per_second| {
            let config = experiment::Config::default();
            let model = experiment::train_small(trainers::find(trainer).unwrap(), &config).model;
            let artifact = Digest::of(b"");
            let candidate = Judged::of(&model, &[]);
            let evidence =
                Evidence { candidate, artifact: &artifact, sentences_per_second, rows: &[], production: None };
            match ScoringSpeed.judge(&evidence) {
                Answer { value, bound: Bound::AtLeast(least), .. } => value >= least,
                answer => panic!("{answer:?}"),
            }
        };
        assert!(passes("multinomial_nb", 10_000.0) && !passes("multinomial_nb", 9_999.0));
        assert!(passes("encoder", 100.0) && !passes("encoder", 99.0));
    }
}
