//! Naive Bayes, the support vector machine and an encoder together.
//!
//! The first two know the words and letters of this corpus; the encoder was pretrained on much other text.

use super::{Learner, Trainer, Voice, linear_svc::Hinge, multinomial_nb::NaiveBayes};

pub(super) struct StackedEncoder;

impl Trainer for StackedEncoder {
    fn name(&self) -> &'static str {
        "stacked_encoder"
    }

    fn summary(&self) -> &'static str {
        "naive Bayes, a linear support vector machine and a fine-tuned encoder, weighted by cross-validation"
    }

    fn learners(&self) -> &'static [&'static dyn Learner] {
        &[&NaiveBayes, &Hinge]
    }

    fn encoder(&self) -> Option<Voice> {
        Some(Voice::Beside)
    }
}
