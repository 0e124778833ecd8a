//! The quality of a model on labelled rows: all figures that are printed, never a text.

use model::{
    Row,
    calibration::OperatingPoint,
    evaluation::{
        self, ByLabel, CalibrationBin, Confusion, CurvePoint, Evaluation, Figure, FlaggedShare, Judged, Mistake, Scores,
    },
};
use serde::Serialize;

/// Points of the precision-recall curve: more could not be told apart on a screen.
const POINTS: usize = 100;
/// Number of rows in the list of worst mistakes.
const MISTAKES: usize = 50;

/// Figures, curves and tables of judged rows.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    /// Figures with 95% intervals by commenter: `sentence` and `comment`.
    #[serde(flatten)]
    pub(crate) scores: Scores,
    /// By sentence.
    pub(crate) pr_curve: Vec<CurvePoint>,
    /// By sentence.
    pub(crate) calibration_curve: Vec<CalibrationBin>,
    /// By sentence.
    pub(crate) probability: Histogram,
    /// The figures at each threshold, from the highest down.
    pub(crate) thresholds: Vec<Threshold>,
    /// By comment.
    pub(crate) flagged_comments: Vec<FlaggedShare>,
    /// By sentence; rows by their number, from 0.
    pub(crate) worst_mistakes: Vec<Mistake>,
}

/// A histogram of probabilities, in bins of equal width.
#[derive(Debug, Serialize)]
pub(crate) struct Histogram {
    /// The edges of the bins.
    pub(crate) edges: Vec<f64>,
    /// Threats per bin.
    pub(crate) threats: Vec<u64>,
    /// Other sentences per bin.
    pub(crate) harmless: Vec<u64>,
}

/// The figures at a threshold.
#[derive(Debug, Serialize)]
pub(crate) struct Threshold {
    /// The operating point's name; none for a round number.
    pub(crate) name: Option<String>,
    pub(crate) threshold: f64,
    pub(crate) sentence: Flagged,
    pub(crate) comment: Flagged,
}

/// The rows flagged at a threshold.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Flagged {
    /// Number of flagged rows.
    pub(crate) flagged: usize,
    /// Share of threats among the flagged rows.
    pub(crate) precision: f64,
    /// Share of all threats that is flagged.
    pub(crate) recall: f64,
    pub(crate) f1: f64,
    /// Share of the rows without a threat that is flagged.
    pub(crate) false_positive_rate: f64,
}

impl Figures {
    /// Figures of rows, of their probabilities and of the scores of both.
    pub(crate) fn of(rows: &[Row], probabilities: &[f64], scores: Scores, points: &[OperatingPoint]) -> Self {
        let judged: Vec<Judged> = probabilities.iter().copied().zip(rows.iter().map(Row::is_threat)).collect();
        let comments = evaluation::by_comment(rows, probabilities);
        Self {
            scores,
            pr_curve: evaluation::pr_curve(&judged, POINTS),
            calibration_curve: evaluation::calibration_curve(&judged),
            probability: Histogram::of(&judged),
            thresholds: thresholds(&judged, &comments, points),
            flagged_comments: evaluation::flagged_shares(&comments),
            worst_mistakes: evaluation::worst_mistakes(&judged, MISTAKES),
        }
    }

    /// The figures as a table for people.
    pub(crate) fn table(&self) -> String {
        let Scores { sentence, comment } = &self.scores;
        let judged = |of: &Evaluation| format!("{} ({} threats)", of.n, of.positives);
        let mut table = format!("{:<32} {:<26} {}\n", "", "by sentence", "by comment");
        table += &format!("{:<32} {:<26} {}\n", "judged", judged(sentence), judged(comment));
        for ((key, sentence), (_, comment)) in sentence.figures().into_iter().zip(comment.figures()) {
            table += &format!("{:<32} {:<26} {}\n", figure_name(key), shown(sentence), shown(comment));
        }
        table
    }
}

/// The name of a figure in tables.
pub(crate) fn figure_name(key: &'static str) -> &'static str {
    match key {
        "precision" => "precision",
        "recall" => "recall",
        "f1" => "F1",
        "roc_auc" => "ROC-AUC",
        "pr_auc" => "PR-AUC",
        "recall_at_fpr_5" => "recall at 5% false positives",
        "brier" => "Brier score",
        "ece" => "ECE",
        other => other,
    }
}

/// A figure with its interval, for people.
fn shown(Figure { value, interval }: Figure) -> String {
    interval.map_or_else(|| format!("{value:.4}"), |[low, high]| format!("{value:.4} [{low:.4}, {high:.4}]"))
}

impl Histogram {
    fn of(judged: &[Judged]) -> Self {
        let ByLabel { threats, harmless } = ByLabel::of(judged);
        Self { edges: ByLabel::edges(), threats, harmless }
    }

    /// Each bin: start, end, threats, other sentences.
    pub(crate) fn bins(&self) -> impl Iterator<Item = (f64, f64, u64, u64)> {
        let from = std::iter::once(0.0).chain(self.edges.iter().copied());
        let to = self.edges.iter().copied().chain(std::iter::once(1.0));
        let counts = self.threats.iter().zip(&self.harmless);
        from.zip(to).zip(counts).map(|((from, to), (threats, harmless))| (from, to, *threats, *harmless))
    }
}

/// The operating points, and the tenths between them.
fn thresholds(sentences: &[Judged], comments: &[Judged], points: &[OperatingPoint]) -> Vec<Threshold> {
    let named = points.iter().map(|point| (Some(point.name.clone()), point.threshold));
    let tenths = (1..10).map(|tenth| (None, f64::from(tenth) / 10.0));
    let mut thresholds: Vec<Threshold> = named
        .chain(tenths)
        .map(|(name, threshold)| Threshold {
            name,
            threshold,
            sentence: Flagged::at(sentences, threshold),
            comment: Flagged::at(comments, threshold),
        })
        .collect();
    thresholds.sort_by(|a, b| b.threshold.total_cmp(&a.threshold));
    thresholds
}

impl Flagged {
    fn at(judged: &[Judged], threshold: f64) -> Self {
        let confusion = Confusion::at(judged, threshold);
        let (precision, recall, f1) = confusion.precision_recall_f1();
        let others = confusion.false_positives + confusion.true_negatives;
        let false_positive_rate = confusion.false_positives as f64 / others.max(1) as f64;
        Self {
            flagged: confusion.true_positives + confusion.false_positives,
            precision,
            recall,
            f1,
            false_positive_rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_bar_and_every_threshold_flags_what_reaches_it() {
        let judged = [(0.0, false), (0.05, true), (0.5, false), (0.51, true), (1.0, true)];
        let histogram = Histogram::of(&judged);
        let bins: Vec<_> = histogram.bins().filter(|(.., threats, harmless)| threats + harmless > 0).collect();
        assert_eq!(bins, [(0.0, 0.05, 0, 1), (0.05, 0.1, 1, 0), (0.5, 0.55, 1, 1), (0.95, 1.0, 1, 0)]);
        let points = [OperatingPoint { name: "best_f1".to_owned(), threshold: 0.45 }];
        let found = thresholds(&judged, &judged, &points);
        assert_eq!(found.len(), 10);
        assert!(found.is_sorted_by(|a, b| a.threshold >= b.threshold), "{found:?}");
        let best = found.iter().find(|threshold| threshold.name.is_some()).unwrap();
        let Flagged { flagged, precision, recall, false_positive_rate, .. } = best.sentence;
        assert_eq!((flagged, precision, recall, false_positive_rate), (3, 2.0 / 3.0, 2.0 / 3.0, 0.5));
    }
}
