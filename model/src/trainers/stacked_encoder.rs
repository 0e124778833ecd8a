//! The best of both: words and letters, which know this corpus, and an encoder, which has read much else.

use super::{Learner, Trainer, Voice, linear_svc::Hinge, multinomial_nb::NaiveBayes};

pub(super) struct StackedEncoder;

impl Trainer for StackedEncoder {
    fn name(&self) -> &'static str {
        "stacked_encoder"
    }

    fn summary(&self) -> &'static str {
        "naive Bayes, a linear support vector machine and a fine-tuned encoder, weighed against each other out of fold"
    }

    fn learners(&self) -> &'static [&'static dyn Learner] {
        &[&NaiveBayes, &Hinge]
    }

    fn encoder(&self) -> Option<Voice> {
        Some(Voice::Beside)
    }
}
