//! Learns how to weigh an encoder's scores, and which sentences the encoder can skip.

use super::second_stage::{SecondStage, Unseen};
use crate::{
    Row,
    calibration::{Band, Operation},
    linear::{Cascade, Line},
    trainers::Voice,
};

/// Of the sentences that reach the review threshold, this share is passed to the encoder.
const PASSED: f64 = 0.98;

/// The fast part's and the encoder's scores of rows that neither had seen.
pub(super) struct Both<'a> {
    rows: &'a [Row],
    assigned: &'a [usize],
    /// The fast part's score of each row, before context.
    combined: Vec<f64>,
    /// The fast part's probability of each row.
    fast: Vec<f64>,
    /// The encoder's score of each row.
    encoder: &'a [f64],
}

/// A cascade that was learned from some rows.
pub(super) struct Learned {
    voice: Voice,
    /// The second stage if the encoder scores every sentence.
    everywhere: SecondStage,
    /// The second stage in production: a skipped sentence gets the encoder's expected score.
    served: SecondStage,
    pass_from: f64,
    passed_share: f64,
    expected: Line,
}

impl Learned {
    /// Learns from the rows that `is_used` selects; it selects whole comments.
    pub(super) fn of(both: &Both<'_>, voice: Voice, operation: &Operation, is_used: impl Fn(usize) -> bool) -> Self {
        let scores = both.scores(voice, both.encoder.to_vec());
        let everywhere = SecondStage::fit(&both.with(&scores), &is_used);
        let probabilities = everywhere.probabilities(&both.with(&scores));
        let used: Vec<usize> = (0..probabilities.len()).filter(|&i| is_used(i)).collect();
        let band = Band::of(&both.with(&scores).points(operation, &probabilities, &used));

        let looked_at = used.iter().filter(|&&i| probabilities[i] >= band.review_from);
        let mut fast: Vec<f64> = looked_at.map(|&i| both.fast[i]).collect();
        fast.sort_by(f64::total_cmp);
        let pass_from = fast.get(((1.0 - PASSED) * fast.len() as f64) as usize).copied().unwrap_or(0.0);
        let mut left_out: Vec<(f64, f64)> =
            used.iter().filter(|&&i| both.fast[i] < pass_from).map(|&i| (both.combined[i], both.encoder[i])).collect();
        // Sums of floats depend on their order. Sorting makes them independent of the order of the rows.
        left_out.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let passed_share = 1.0 - left_out.len() as f64 / used.len().max(1) as f64;
        let expected = through(&left_out);

        let scores = both.scores(voice, both.served(pass_from, expected));
        let (weights, intercept) = (everywhere.weights.clone(), everywhere.intercept);
        let served = SecondStage::weighed(&both.with(&scores), &is_used, weights, intercept);
        Self { voice, everywhere, served, pass_from, passed_share, expected }
    }

    /// The probability of every row: as in production, and if the encoder scores every row.
    pub(super) fn probabilities(&self, both: &Both<'_>) -> [Vec<f64>; 2] {
        let served = both.scores(self.voice, both.served(self.pass_from, self.expected));
        let everywhere = both.scores(self.voice, both.encoder.to_vec());
        [self.served.probabilities(&both.with(&served)), self.everywhere.probabilities(&both.with(&everywhere))]
    }

    /// The cascade for the model, with thresholds for the probabilities in production.
    pub(super) fn cascade(self, both: &Both<'_>, operation: &Operation) -> Cascade {
        let [served, _] = self.probabilities(both);
        let all: Vec<usize> = (0..served.len()).collect();
        let (fast, encoder) = match self.voice {
            Voice::Alone => (0.0, self.served.weights[0]),
            Voice::Beside => (self.served.weights[0], self.served.weights[1]),
        };
        Cascade {
            pass_from: self.pass_from,
            passed_share: self.passed_share,
            fast,
            encoder,
            intercept: self.served.intercept,
            expected: self.expected,
            context: self.served.context,
            calibration: self.served.calibration,
            operating_points: both.with(&[]).points(operation, &served, &all),
        }
    }
}

impl<'a> Both<'a> {
    /// Combines the scores of the fast part's second stage with those of the encoder.
    pub(super) fn of(unseen: &Unseen<'a>, stage: &SecondStage, encoder: &'a [f64]) -> Self {
        let (combined, fast) = (stage.combined(unseen), stage.probabilities(unseen));
        Self { rows: unseen.rows, assigned: unseen.assigned, combined, fast, encoder }
    }

    /// The encoder's scores in production; a skipped row gets the expected score.
    fn served(&self, pass_from: f64, expected: Line) -> Vec<f64> {
        let of_row = |i: usize| if self.fast[i] >= pass_from { self.encoder[i] } else { expected.at(self.combined[i]) };
        (0..self.encoder.len()).map(of_row).collect()
    }

    /// The scores to weigh: the encoder's, and the fast part's if it has a voice.
    fn scores(&self, voice: Voice, encoder: Vec<f64>) -> Vec<Vec<f64>> {
        match voice {
            Voice::Alone => vec![encoder],
            Voice::Beside => vec![self.combined.clone(), encoder],
        }
    }

    fn with<'s>(&'s self, scores: &'s [Vec<f64>]) -> Unseen<'s> {
        Unseen { rows: self.rows, assigned: self.assigned, scores }
    }
}

/// The least-squares line.
fn through(points: &[(f64, f64)]) -> Line {
    let n = points.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let across = points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>();
    let along = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>();
    let slope = if across > 1e-12 { along / across } else { 0.0 };
    Line { slope, offset: y - slope * x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_its_points() {
        let line = through(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]);
        assert!((line.slope - 2.0).abs() < 1e-12 && (line.offset - 3.0).abs() < 1e-12);
        assert_eq!(through(&[(1.0, 5.0)]), Line { slope: 0.0, offset: 5.0 });
        assert_eq!(through(&[]), Line { slope: 0.0, offset: 0.0 });
    }
}
