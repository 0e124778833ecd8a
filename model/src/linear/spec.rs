//! What a model is, apart from its weights; the header of its artifact.

use serde::{Deserialize, Serialize};

use super::Cascade;
use crate::{
    calibration::{OperatingPoint, Platt},
    features::FeatureSet,
};

/// What a model is, apart from its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The trainer that made it.
    pub trainer: String,
    /// Which features are looked up.
    pub features: FeatureSet,
    /// Parts that are scored apart and then added, each with its columns of the table, in order.
    pub components: Vec<Component>,
    /// Added to the components' weighted scores.
    pub intercept: f64,
    /// What the sentences before and after say; none where a sentence is judged alone.
    pub context: Option<Context>,
    /// From score to probability.
    pub calibration: Platt,
    /// Thresholds with names; the first is the default.
    pub operating_points: Vec<OperatingPoint>,
    /// How an encoder takes part, if it does; everything above is then what is said without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cascade: Option<Cascade>,
}

/// A linear model of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// What fitted it.
    pub learner: String,
    /// The learner's parameters, as it was given them.
    pub parameters: serde_json::Value,
    /// Added to the sum of its weights.
    pub bias: f64,
    /// How a sentence's length counts.
    pub normalisation: Normalisation,
    /// Factor of its score in the model's.
    pub weight: f64,
}

/// How a sentence's length counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Normalisation {
    /// The summed weights are divided by (number of known features) to this power. One column: the weight.
    ///
    /// 0 is plain naive Bayes; above 0 undoes part of its over-counting in long sentences.
    Length {
        /// From 0 to 1.
        exponent: f64,
    },
    /// Features count 1 + ln(occurrences) times their inverse document frequency, scaled to length 1.
    /// Two columns: the weight times the frequency, and the frequency.
    TfIdf,
}

impl Normalisation {
    /// Columns of the table that a component of this kind has.
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
    /// Factor of the score of the sentence before, less `centre`.
    pub previous: f64,
    /// Factor of the score of the sentence after, less `centre`.
    pub next: f64,
    /// Added where there is a sentence before.
    pub has_previous: f64,
    /// Added where there is a sentence after.
    pub has_next: f64,
    /// Added always.
    pub intercept: f64,
    /// The mean score of training.
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

/// Whether sums and products of such numbers stay finite.
pub(super) fn is_sane(x: f64) -> bool {
    x.abs() <= 1e100
}
