//! A gate check: the forum's telephones load the model, so it must be small.

use model::{
    artifact,
    gate::{Answer, Bound, Check, Evidence},
};

/// With this many kilobytes a telephone still starts in a second.
const MOST: f64 = 64.0;

pub(crate) struct FitsTelephones;

impl Check for FitsTelephones {
    fn name(&self) -> &'static str {
        "fits_telephones"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let kilobytes = artifact::encode(evidence.candidate.model).len() as f64 / 1024.0;
        let meaning = format!("The model has {kilobytes:.0} kB, and telephones load {MOST:.0} kB at the most.");
        Answer { value: kilobytes, bound: Bound::AtMost(MOST), meaning }
    }
}
