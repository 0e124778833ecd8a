//! How an encoder's score joins the fast one, and which sentences the encoder is asked about.

use serde::{Deserialize, Serialize};

use super::{Context, Invalid};
use crate::calibration::{OperatingPoint, Platt};

/// Who judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JudgedBy {
    /// Weights of words and letters.
    Fast,
    /// These and the encoder.
    Encoder,
}

impl JudgedBy {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Fast, Self::Encoder];

    /// Its name in answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Encoder => "encoder",
        }
    }
}

/// What a model with an encoder has beside its fast part, which judges every sentence first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cascade {
    /// The encoder is asked about sentences whose fast probability, in context, is at least this.
    pub pass_from: f64,
    /// Share of the training sentences that this passes on, from 0 to 1.
    pub passed_share: f64,
    /// Factor of the fast score.
    pub fast: f64,
    /// Factor of the encoder's score.
    pub encoder: f64,
    /// Added to both.
    pub intercept: f64,
    /// The encoder's score of a sentence that it is not asked about, as far as the fast score foretells it.
    pub expected: Line,
    /// What the sentences before and after say.
    pub context: Context,
    /// From score to probability.
    pub calibration: Platt,
    /// Thresholds with names; the first is the default.
    pub operating_points: Vec<OperatingPoint>,
}

/// `slope * x + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Factor.
    pub slope: f64,
    /// Added.
    pub offset: f64,
}

impl Line {
    /// Its value.
    #[must_use]
    pub fn at(self, x: f64) -> f64 {
        self.slope * x + self.offset
    }
}

impl Cascade {
    /// One score of a sentence's two; without the encoder's, of what it is expected to be.
    #[must_use]
    pub fn combine(&self, fast: f64, encoder: Option<f64>) -> f64 {
        self.fast * fast + self.encoder * encoder.unwrap_or_else(|| self.expected.at(fast)) + self.intercept
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        let numbers = [self.fast, self.encoder, self.intercept, self.expected.slope, self.expected.offset];
        let of_calibration = [self.calibration.slope, self.calibration.offset];
        // They are multiplied with each other.
        let is_small = |x: f64| x.abs() <= 1e12;
        let context = &self.context;
        let of_context = [context.own, context.previous, context.next, context.intercept, context.centre];
        if !numbers.into_iter().chain(of_calibration).chain(of_context).all(is_small) || !context.is_sane() {
            return Err(Invalid::OutOfRange("cascade"));
        }
        let is_share = |x: f64| (0.0..=1.0).contains(&x);
        let points = &self.operating_points;
        let thresholds = points.iter().map(|point| point.threshold);
        if points.is_empty() || !thresholds.chain([self.pass_from, self.passed_share]).all(is_share) {
            return Err(Invalid::OutOfRange("cascade"));
        }
        Ok(())
    }
}
