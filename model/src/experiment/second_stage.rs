//! The second stage: the learners' weights, the context of neighbouring sentences, the calibration.

use std::ops::Range;

use super::{comments, logistic};
use crate::{
    Row,
    calibration::{OperatingPoint, Operation, Platt},
    evaluation::Judged,
    linear::{Context, apply_context},
};

/// Scores of rows from learners that had not seen them.
pub(super) struct Unseen<'a> {
    pub(super) rows: &'a [Row],
    pub(super) assigned: &'a [usize],
    /// By learner, then by row.
    pub(super) scores: &'a [Vec<f64>],
}

impl Unseen<'_> {
    /// Thresholds for the probabilities of some rows, which make whole comments.
    pub(super) fn points(&self, operation: &Operation, probabilities: &[f64], used: &[usize]) -> Vec<OperatingPoint> {
        let judged: Vec<Judged> = used.iter().map(|&i| (probabilities[i], self.rows[i].is_threat())).collect();
        let of_used = comments(self.rows).into_iter().filter(|comment| used.binary_search(&comment.start).is_ok());
        let highest = |comment: Range<usize>| probabilities[comment].iter().copied().fold(0.0, f64::max);
        operation.points(&judged, &of_used.map(highest).collect::<Vec<f64>>())
    }
}

/// The second stage.
pub(super) struct SecondStage {
    /// By learner.
    pub(super) weights: Vec<f64>,
    pub(super) intercept: f64,
    pub(super) context: Context,
    pub(super) calibration: Platt,
}

impl SecondStage {
    /// Learns from the rows that `is_used` selects; it selects whole comments.
    pub(super) fn fit(unseen: &Unseen<'_>, is_used: impl Fn(usize) -> bool) -> Self {
        let (weights, intercept) = weigh(unseen, &mut used(unseen, &is_used));
        Self::weighed(unseen, is_used, weights, intercept)
    }

    /// Learns context and calibration with the given weights.
    pub(super) fn weighed(
        unseen: &Unseen<'_>,
        is_used: impl Fn(usize) -> bool,
        weights: Vec<f64>,
        intercept: f64,
    ) -> Self {
        let combined = combine(unseen, &weights, intercept);
        let context = learn_context(unseen, &combined, &is_used);
        let scores = in_context(unseen, &combined, &context);
        // Sums of floats depend on their order: the rows' must not matter.
        let mut used: Vec<(f64, bool)> =
            used(unseen, &is_used).into_iter().map(|i| (scores[i], unseen.rows[i].is_threat())).collect();
        used.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (of_used, labels): (Vec<f64>, Vec<bool>) = used.into_iter().unzip();
        Self { weights, intercept, context, calibration: Platt::fit(&of_used, &labels) }
    }

    /// Every row's score before context.
    pub(super) fn combined(&self, unseen: &Unseen<'_>) -> Vec<f64> {
        combine(unseen, &self.weights, self.intercept)
    }

    /// The probability of every row.
    pub(super) fn probabilities(&self, unseen: &Unseen<'_>) -> Vec<f64> {
        let combined = self.combined(unseen);
        in_context(unseen, &combined, &self.context).into_iter().map(|s| self.calibration.probability(s)).collect()
    }
}

fn used(unseen: &Unseen<'_>, is_used: &impl Fn(usize) -> bool) -> Vec<usize> {
    (0..unseen.rows.len()).filter(|&i| is_used(i)).collect()
}

/// The weights of one or two learners, by logistic regression on standardised scores.
fn weigh(unseen: &Unseen<'_>, used: &mut [usize]) -> (Vec<f64>, f64) {
    let [first, second] = unseen.scores else { return (vec![1.0; unseen.scores.len()], 0.0) };
    // Sums of floats depend on their order: the rows' must not matter.
    let label = |i: usize| unseen.rows[i].is_threat();
    used.sort_by(|&a, &b| {
        first[a].total_cmp(&first[b]).then(second[a].total_cmp(&second[b])).then(label(a).cmp(&label(b)))
    });
    let scales = [first, second].map(|scores| {
        let n = used.len().max(1) as f64;
        let mean = used.iter().map(|&i| scores[i]).sum::<f64>() / n;
        let variance = used.iter().map(|&i| (scores[i] - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt().max(1e-12))
    });
    let standard = |i: usize| [(first[i] - scales[0].0) / scales[0].1, (second[i] - scales[1].0) / scales[1].1];
    let rows: Vec<[f64; 2]> = used.iter().map(|&i| standard(i)).collect();
    let labels: Vec<bool> = used.iter().map(|&i| unseen.rows[i].is_threat()).collect();
    let (weights, intercept) = logistic::fit(&rows, &labels, 1.0);
    let raw: Vec<f64> = weights.iter().zip(&scales).map(|(w, (_, sd))| w / sd).collect();
    let shift: f64 = raw.iter().zip(&scales).map(|(w, (mean, _))| w * mean).sum();
    (raw, intercept - shift)
}

fn combine(unseen: &Unseen<'_>, weights: &[f64], intercept: f64) -> Vec<f64> {
    let score = |i: usize| weights.iter().zip(unseen.scores).map(|(w, scores)| w * scores[i]).sum::<f64>() + intercept;
    (0..unseen.rows.len()).map(score).collect()
}

/// Learns the context by logistic regression.
///
/// The features are the own score, the neighbours' scores less their mean, and whether there are neighbours.
fn learn_context(unseen: &Unseen<'_>, combined: &[f64], is_used: &impl Fn(usize) -> bool) -> Context {
    let mut of_used: Vec<f64> = (0..combined.len()).filter(|&i| is_used(i)).map(|i| combined[i]).collect();
    of_used.sort_by(f64::total_cmp);
    let n = of_used.len().max(1) as f64;
    let centre = of_used.iter().sum::<f64>() / n;
    let spread = (of_used.iter().map(|s| (s - centre).powi(2)).sum::<f64>() / n).sqrt().max(1e-12);
    let mut examples: Vec<([f64; 5], bool)> = Vec::new();
    for comment in comments(unseen.rows) {
        for i in comment.clone().filter(|&i| is_used(i)) {
            let near = |there: bool, at: usize| if there { (combined[at] - centre) / spread } else { 0.0 };
            let (before, after) = (i > comment.start, i + 1 < comment.end);
            let row = [
                (combined[i] - centre) / spread,
                near(before, i.wrapping_sub(1)),
                near(after, i + 1),
                f64::from(u8::from(before)),
                f64::from(u8::from(after)),
            ];
            examples.push((row, unseen.rows[i].is_threat()));
        }
    }
    examples.sort_by(|a, b| {
        let by_value = a.0.iter().zip(&b.0).map(|(x, y)| x.total_cmp(y)).find(|order| order.is_ne());
        by_value.unwrap_or_else(|| a.1.cmp(&b.1))
    });
    let (rows, labels): (Vec<[f64; 5]>, Vec<bool>) = examples.into_iter().unzip();
    let ([own, previous, next, has_previous, has_next], intercept) = logistic::fit(&rows, &labels, 10.0);
    Context {
        own: own / spread,
        previous: previous / spread,
        next: next / spread,
        has_previous,
        has_next,
        intercept: intercept - own * centre / spread,
        centre,
    }
}

fn in_context(unseen: &Unseen<'_>, combined: &[f64], context: &Context) -> Vec<f64> {
    let of_comment = |comment: std::ops::Range<usize>| apply_context(context, &combined[comment]);
    comments(unseen.rows).into_iter().flat_map(of_comment).collect()
}
