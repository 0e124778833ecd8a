//! Checks that the judged model is the registered one.

use super::{Answer, Bound, Check, Evidence};
use crate::{Digest, artifact};

pub(super) struct ArtifactVerifies;

impl Check for ArtifactVerifies {
    fn name(&self) -> &'static str {
        "artifact_verifies"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let bytes = artifact::encode(evidence.candidate.model);
        let is_same = artifact::decode(&bytes).is_ok() && Digest::of(&bytes) == *evidence.artifact;
        let meaning = if is_same {
            "The model's file is complete and unchanged since it was trained."
        } else {
            "The model's file is not the one that was trained."
        };
        Answer { value: f64::from(u8::from(is_same)), bound: Bound::AtLeast(1.0), meaning: meaning.to_owned() }
    }
}
