//! Naive Bayes and the support vector machine together: their errors differ, so the sum ranks better than either.

use super::{Learner, Trainer, linear_svc::Hinge, multinomial_nb::NaiveBayes};

pub(super) struct Stacked;

impl Trainer for Stacked {
    fn name(&self) -> &'static str {
        "stacked"
    }

    fn summary(&self) -> &'static str {
        "naive Bayes and a linear support vector machine, weighed against each other out of fold"
    }

    fn learners(&self) -> &'static [&'static dyn Learner] {
        &[&NaiveBayes, &Hinge]
    }
}
