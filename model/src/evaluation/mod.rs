//! Figures of a model on rows that it has not seen.
//!
//! - **In**: rows and the probabilities that a model gave them, or pairs of a probability and a label.
//! - **Out**: [`Scores`] by sentence and by comment with 95% intervals; curves, thresholds, differences of two models.
//! - **Callers**: calibration for thresholds, experiment for figures, gate for comparisons; never a trainer.

mod agreement;
pub mod bootstrap;
mod comparison;
mod curves;
pub mod drift;
mod noise;
mod ranking;
mod thresholds;

use serde::{Deserialize, Serialize};

pub use self::{
    agreement::kappa,
    comparison::{Figure, Pair},
    curves::{
        ByLabel, CalibrationBin, CurvePoint, FlaggedShare, Mistake, calibration_curve, flagged_shares, pr_curve,
        worst_mistakes,
    },
    noise::{Suspect, suspects},
    ranking::Judged,
    thresholds::{best_f1_threshold, threshold_at_fpr, threshold_at_precision},
};
use self::{
    bootstrap::{Intervals, Judgement},
    ranking::{brier, ece, pr_auc, recall_at_fpr, roc_auc},
};
use crate::Row;

/// A fixed seed: the same rows always give the same intervals.
const BOOTSTRAP_SEED: u64 = 0x7472_7561;

/// Figures of one set of judged rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The share of threats among the flagged rows; 0 if no row is flagged.
    pub precision: f64,
    /// The share of the threats that are flagged; 0 if there are no threats.
    pub recall: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
    /// The chance that a threat ranks above another row; 0.5 if a class is missing.
    pub roc_auc: f64,
    /// Average precision.
    pub pr_auc: f64,
    /// The recall at the threshold that flags 5% of the harmless rows.
    pub recall_at_fpr_5: f64,
    /// The mean squared error of the probability.
    pub brier: f64,
    /// The expected calibration error over 15 bins of equal width.
    pub ece: f64,
    /// A row with at least this probability is flagged.
    pub threshold: f64,
    /// The number of rows.
    pub n: usize,
    /// The number of threats.
    pub positives: usize,
    /// The confusion matrix at the threshold.
    pub confusion: Confusion,
    /// 95% intervals of the figures, from resampled commenters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervals: Option<Intervals>,
}

/// The confusion matrix at a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Flagged threats.
    pub true_positives: usize,
    /// Flagged harmless rows.
    pub false_positives: usize,
    /// Missed threats.
    pub false_negatives: usize,
    /// Harmless rows that are not flagged.
    pub true_negatives: usize,
}

/// Figures by sentence and by comment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Each sentence is a row.
    pub sentence: Evaluation,
    /// Each comment is a row.
    ///
    /// It is a threat if any sentence is one, and it has the highest probability of its sentences.
    pub comment: Evaluation,
}

impl Scores {
    /// Figures of rows and their probabilities, with intervals.
    ///
    /// ```
    /// use model::{Row, evaluation::Scores};
    ///
    /// let row = |comment, label, text: &str| Row { comment, commenter: "ann".into(), label, text: text.into() };
    /// let rows = [row(0, 0, "Hello."), row(0, 1, "I will find you."), row(1, 0, "Nice song.")];
    /// let scores = Scores::of(&rows, &[0.1, 0.9, 0.2], 0.5);
    /// assert_eq!((scores.sentence.n, scores.comment.n), (3, 2));
    /// assert_eq!(scores.comment.f1, 1.0);
    /// assert!(scores.sentence.intervals.is_some());
    /// ```
    #[must_use]
    pub fn of(rows: &[Row], probabilities: &[f64], threshold: f64) -> Self {
        let sentences = sentences(rows, probabilities);
        let evaluate = |judgements: &[Judgement<'_>]| {
            let judged: Vec<Judged> = judgements.iter().map(|j| (j.probability, j.is_threat)).collect();
            let intervals = Some(bootstrap::intervals(judgements, threshold, BOOTSTRAP_SEED));
            Evaluation { intervals, ..Evaluation::of(&judged, threshold) }
        };
        Self { comment: evaluate(&comments(rows, &sentences)), sentence: evaluate(&sentences) }
    }
}

impl Evaluation {
    /// Computes the figures at a threshold, without intervals.
    ///
    /// ```
    /// use model::evaluation::Evaluation;
    ///
    /// let judged = [(0.9, true), (0.8, false), (0.7, true), (0.1, false)];
    /// let figures = Evaluation::of(&judged, 0.75);
    /// assert_eq!((figures.precision, figures.recall), (0.5, 0.5));
    /// assert_eq!(figures.roc_auc, 0.75);
    /// assert_eq!(figures.confusion.false_positives, 1);
    /// ```
    #[must_use]
    pub fn of(judged: &[Judged], threshold: f64) -> Self {
        let confusion = Confusion::at(judged, threshold);
        let (precision, recall, f1) = confusion.precision_recall_f1();
        Self {
            precision,
            recall,
            f1,
            roc_auc: roc_auc(judged),
            pr_auc: pr_auc(judged),
            recall_at_fpr_5: recall_at_fpr(judged, 0.05),
            brier: brier(judged),
            ece: ece(judged),
            threshold,
            n: judged.len(),
            positives: judged.iter().filter(|(_, threat)| *threat).count(),
            confusion,
            intervals: None,
        }
    }
}

impl Confusion {
    /// Counts the rows at a threshold.
    #[must_use]
    pub fn at(judged: &[Judged], threshold: f64) -> Self {
        let mut counts = Self::default();
        for &(p, threat) in judged {
            *match (p >= threshold, threat) {
                (true, true) => &mut counts.true_positives,
                (true, false) => &mut counts.false_positives,
                (false, true) => &mut counts.false_negatives,
                (false, false) => &mut counts.true_negatives,
            } += 1;
        }
        counts
    }

    /// Precision, recall and F1; an undefined figure is 0.
    #[must_use]
    pub fn precision_recall_f1(self) -> (f64, f64, f64) {
        let tp = self.true_positives;
        let share = |of: usize| if of == 0 { 0.0 } else { tp as f64 / of as f64 };
        let wrong = self.false_positives + self.false_negatives;
        let f1 = if tp == 0 { 0.0 } else { 2.0 * tp as f64 / (2 * tp + wrong) as f64 };
        (share(tp + self.false_positives), share(tp + self.false_negatives), f1)
    }
}

/// Each comment's highest sentence probability, and whether it contains a threat.
#[must_use]
pub fn by_comment(rows: &[Row], probabilities: &[f64]) -> Vec<Judged> {
    comments(rows, &sentences(rows, probabilities)).iter().map(|j| (j.probability, j.is_threat)).collect()
}

fn sentences<'a>(rows: &'a [Row], probabilities: &[f64]) -> Vec<Judgement<'a>> {
    let judgement = |(row, &probability): (&'a Row, &f64)| Judgement {
        commenter: &row.commenter,
        probability,
        is_threat: row.is_threat(),
    };
    rows.iter().zip(probabilities).map(judgement).collect()
}

/// Each comment, with the highest probability of its sentences.
fn comments<'a>(rows: &[Row], sentences: &[Judgement<'a>]) -> Vec<Judgement<'a>> {
    let mut by_comment: std::collections::BTreeMap<(u32, &str), Judgement<'a>> = std::collections::BTreeMap::new();
    for (row, sentence) in rows.iter().zip(sentences) {
        let comment = by_comment.entry((row.comment, sentence.commenter)).or_insert(*sentence);
        comment.probability = comment.probability.max(sentence.probability);
        comment.is_threat |= sentence.is_threat;
    }
    by_comment.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures that scikit-learn 1.9 gives for the same eight rows.
    #[test]
    fn the_figures_are_scikit_learns() {
        let p = [0.1, 0.4, 0.35, 0.8, 0.35, 0.9, 0.05, 0.6];
        let y = [false, false, true, true, false, true, false, false];
        let judged: Vec<Judged> = p.into_iter().zip(y).collect();
        let e = Evaluation::of(&judged, 0.5);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(e.roc_auc, 0.833_333_333_333_333_3), "{}", e.roc_auc);
        assert!(close(e.pr_auc, 2.5 / 3.0), "{}", e.pr_auc);
        assert!(close(e.precision, 2.0 / 3.0) && close(e.recall, 2.0 / 3.0) && close(e.f1, 2.0 / 3.0));
        assert!(close(e.brier, 0.140_937_5), "{}", e.brier);
        assert!(close(e.recall_at_fpr_5, 2.0 / 3.0));
        assert_eq!((e.n, e.positives), (8, 3));
        assert_eq!(
            e.confusion,
            Confusion { true_positives: 2, false_positives: 1, false_negatives: 1, true_negatives: 4 }
        );
        assert!((0.35..=0.8).contains(&best_f1_threshold(&judged)));
    }

    #[test]
    fn a_missing_class_gives_numbers_and_not_nan() {
        for judged in [vec![], vec![(0.2, false)], vec![(0.9, true), (0.2, true)]] {
            let e = Evaluation::of(&judged, 0.5);
            let all = [e.precision, e.recall, e.f1, e.roc_auc, e.pr_auc, e.recall_at_fpr_5, e.brier, e.ece];
            assert!(all.iter().all(|x| x.is_finite()), "{e:?}");
            assert!((0.0..=1.0).contains(&best_f1_threshold(&judged)));
            assert!((0.0..=1.0).contains(&threshold_at_fpr(&judged, 0.05)));
        }
    }

    #[test]
    fn curves_and_mistakes_are_of_the_rows() {
        let judged = [(0.9, true), (0.8, false), (0.7, true), (0.1, false), (0.05, true)];
        let curve = pr_curve(&judged, 100);
        assert_eq!(curve.len(), 5);
        assert_eq!((curve[2].threshold, curve[2].precision, curve[2].recall), (0.7, 2.0 / 3.0, 2.0 / 3.0));
        assert_eq!(pr_curve(&judged, 2).last().map(|point| point.recall), Some(1.0));
        let calibration = calibration_curve(&judged);
        assert_eq!(calibration.iter().map(|bin| bin.n).sum::<usize>(), 5);
        let rows: Vec<usize> = worst_mistakes(&judged, 3).iter().map(|m| m.row).collect();
        assert_eq!(rows, [4, 1, 2]);
    }

    #[test]
    fn a_threshold_for_a_false_positive_rate_keeps_it() {
        let judged: Vec<Judged> = (0..1000).map(|i| (f64::from(i) / 1000.0, i % 10 == 0)).collect();
        let threshold = threshold_at_fpr(&judged, 0.05);
        let c = Confusion::at(&judged, threshold);
        assert!(c.false_positives <= 45 && c.false_positives >= 40, "{c:?}");
    }
}
