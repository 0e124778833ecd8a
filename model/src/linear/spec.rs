//! The specification of a model: everything but its weights; the header of its artifact.

use serde::{Deserialize, Serialize};

use super::Cascade;
use crate::{
    calibration::{OperatingPoint, Platt},
    features::FeatureSet,
};

/// The specification of a model: everything but its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The trainer that made it.
    pub trainer: String,
    /// The features.
    pub features: FeatureSet,
    /// Parts whose scores are added; each has its columns in the table, in order.
    pub components: Vec<Component>,
    /// Added to the components' weighted scores.
    pub intercept: f64,
    /// How the sentences before and after count; `None` if a sentence is judged alone.
    pub context: Option<Context>,
    /// From score to probability.
    pub calibration: Platt,
    /// Thresholds with names; the first is the default.
    pub operating_points: Vec<OperatingPoint>,
    /// How an encoder takes part; the fields above then describe the fast part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cascade: Option<Cascade>,
}

/// One linear part of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// The learner that fitted it.
    pub learner: String,
    /// The learner's parameters.
    pub parameters: serde_json::Value,
    /// Added to the sum of its weights.
    pub bias: f64,
    /// How a sentence's length counts.
    pub normalisation: Normalisation,
    /// Factor of its score in the model's score.
    pub weight: f64,
}

/// How a sentence's length counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Normalisation {
    /// The summed weights are divided by (number of known features) to this power.
    ///
    /// One column: the weight.
    ///
    /// An exponent of 0 is plain naive Bayes. A larger one reduces its over-counting in long sentences.
    Length {
        /// From 0 to 1.
        exponent: f64,
    },
    /// Features count 1 + ln(occurrences) times their inverse document frequency, scaled to length 1.
    /// Two columns: the weight times the frequency, and the frequency.
    TfIdf,
}

impl Normalisation {
    /// The number of table columns of such a component.
    #[must_use]
    pub fn columns(self) -> usize {
        match self {
            Self::Length { .. } => 1,
            Self::TfIdf => 2,
        }
    }
}

/// A second, linear stage over the scores of a comment's neighbouring sentences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Factor of the sentence's own score.
    pub own: f64,
    /// Factor of the previous sentence's score less `centre`.
    pub previous: f64,
    /// Factor of the next sentence's score less `centre`.
    pub next: f64,
    /// Added if there is a previous sentence.
    pub has_previous: f64,
    /// Added if there is a next sentence.
    pub has_next: f64,
    /// Always added.
    pub intercept: f64,
    /// The mean score in training.
    pub centre: f64,
}

impl Context {
    /// The score of a sentence whose own score is `own`, between neighbours.
    #[must_use]
    pub fn combine(&self, own: f64, previous: Option<f64>, next: Option<f64>) -> f64 {
        let near = |score: Option<f64>, factor: f64, has: f64| score.map_or(0.0, |s| factor * (s - self.centre) + has);
        self.own * own
            + near(previous, self.previous, self.has_previous)
            + near(next, self.next, self.has_next)
            + self.intercept
    }

    pub(super) fn is_sane(&self) -> bool {
        [self.own, self.previous, self.next, self.has_previous, self.has_next, self.intercept, self.centre]
            .iter()
            .all(|&x| is_sane(x))
    }
}

/// Whether sums and products of numbers of this size stay finite.
pub(super) fn is_sane(x: f64) -> bool {
    x.abs() <= 1e100
}
