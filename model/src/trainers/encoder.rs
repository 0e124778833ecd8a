//! A fine-tuned encoder alone; naive Bayes selects the sentences for it.

use super::{Learner, Trainer, Voice, multinomial_nb::NaiveBayes};

pub(super) struct Encoder;

impl Trainer for Encoder {
    fn name(&self) -> &'static str {
        "encoder"
    }

    fn summary(&self) -> &'static str {
        "a fine-tuned encoder; naive Bayes selects the sentences for it"
    }

    fn learners(&self) -> &'static [&'static dyn Learner] {
        &[&NaiveBayes]
    }

    fn encoder(&self) -> Option<Voice> {
        Some(Voice::Alone)
    }
}
