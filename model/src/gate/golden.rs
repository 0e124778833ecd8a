//! Invented sentences that every model must rank correctly; no model is trained on them.

use super::{Answer, Bound, Check, Evidence};
use crate::{Model, linear::Scratch};

/// The least share of pairs (threat, harmless sentence) that must be ranked correctly.
pub(super) const LEAST: f64 = 0.75;

const THREATS: &[&str] = &[
    "I will kill you.",
    "We are going to find you and kill you all.",
    "You will die for this.",
    "I will come to your house and shoot you.",
    "Kill them all and burn their houses.",
    "Someone should shoot him.",
];

const HARMLESS: &[&str] = &[
    "Thank you for the video, I learned a lot.",
    "What is the name of the song at the end?",
    "I do not agree with you, but that is a good point.",
    "The second part of the film is better than the first.",
    "My brother works there and says it is a good place.",
    "Does anybody know when the next episode comes out?",
];

pub(super) struct GoldenExamples;

impl Check for GoldenExamples {
    fn name(&self) -> &'static str {
        "golden_examples"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let value = share_ranked_rightly(evidence.candidate.model);
        Answer {
            value,
            bound: Bound::AtLeast(LEAST),
            meaning: format!(
                "In {:.0}% of the pairs of an obvious threat and a harmless sentence the threat scores higher.",
                100.0 * value
            ),
        }
    }
}

/// The share of golden pairs in which the threat scores higher than the harmless sentence.
pub(super) fn share_ranked_rightly(model: &Model) -> f64 {
    let mut scratch = Scratch::default();
    let mut score = |text: &&str| model.score(text, &mut scratch).logit;
    let threats: Vec<f64> = THREATS.iter().map(&mut score).collect();
    let harmless: Vec<f64> = HARMLESS.iter().map(&mut score).collect();
    let right = threats.iter().map(|t| harmless.iter().filter(|&h| t > h).count()).sum::<usize>();
    right as f64 / (THREATS.len() * HARMLESS.len()) as f64
}
