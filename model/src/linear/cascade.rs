//! Combines the encoder's score with the fast score, and selects the sentences for the encoder.

use serde::{Deserialize, Serialize};

use super::{Context, Invalid};
use crate::calibration::{OperatingPoint, Platt};

/// The part of a model that judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JudgedBy {
    /// The fast part: weights of words and letters.
    Fast,
    /// The fast part and the encoder.
    Encoder,
}

impl JudgedBy {
    /// Both values.
    pub const ALL: [Self; 2] = [Self::Fast, Self::Encoder];

    /// The name in answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Encoder => "encoder",
        }
    }
}

/// How a model uses an encoder after its fast part has judged every sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cascade {
    /// The encoder scores sentences whose fast probability (in context) is at least this.
    pub pass_from: f64,
    /// The share of training sentences that are passed to the encoder, from 0 to 1.
    pub passed_share: f64,
    /// Factor of the fast score.
    pub fast: f64,
    /// Factor of the encoder's score.
    pub encoder: f64,
    /// Added to the weighted scores.
    pub intercept: f64,
    /// Estimates the encoder's score of a skipped sentence from the fast score.
    pub expected: Line,
    /// How the sentences before and after count.
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
    /// The slope.
    pub slope: f64,
    /// The offset.
    pub offset: f64,
}

impl Line {
    /// The value of the line at `x`.
    #[must_use]
    pub fn at(self, x: f64) -> f64 {
        self.slope * x + self.offset
    }
}

impl Cascade {
    /// Combines both scores of a sentence; uses the expected score without the encoder's.
    #[must_use]
    pub fn combine(&self, fast: f64, encoder: Option<f64>) -> f64 {
        self.fast * fast + self.encoder * encoder.unwrap_or_else(|| self.expected.at(fast)) + self.intercept
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        let numbers = [self.fast, self.encoder, self.intercept, self.expected.slope, self.expected.offset];
        let of_calibration = [self.calibration.slope, self.calibration.offset];
        // Smaller bounds, because these numbers are multiplied with each other.
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
