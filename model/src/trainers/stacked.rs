//! Naive Bayes and the support vector machine together.
//!
//! Their errors differ, so their weighted sum ranks better than either of them.

use super::{Learner, Trainer, linear_svc::Hinge, multinomial_nb::NaiveBayes};

pub(super) struct Stacked;

impl Trainer for Stacked {
    fn name(&self) -> &'static str {
        "stacked"
    }

    fn summary(&self) -> &'static str {
        "naive Bayes and a linear support vector machine, weighted by cross-validation"
    }

    fn learners(&self) -> &'static [&'static dyn Learner] {
        &[&NaiveBayes, &Hinge]
    }
}
