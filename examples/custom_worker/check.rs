//! A gate check: the forum's phones load the model, so it must be small.

use model::{
    artifact,
    gate::{Answer, Bound, Check, Evidence},
};

/// Most kilobytes with which a phone still starts in a second.
const MOST: f64 = 64.0;

pub(crate) struct FitsTelephones;

impl Check for FitsTelephones {
    fn name(&self) -> &'static str {
        "fits_telephones"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let kilobytes = artifact::encode(evidence.candidate.model).len() as f64 / 1024.0;
        let meaning = format!("The model has {kilobytes:.0} kB; phones load at most {MOST:.0} kB.");
        Answer { value: kilobytes, bound: Bound::AtMost(MOST), meaning }
    }
}
