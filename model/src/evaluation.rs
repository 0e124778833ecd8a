//! What a model is worth on rows it has not seen.

use serde::{Deserialize, Serialize};

use crate::Row;

/// A probability and whether it was a threat.
pub type Judged = (f64, bool);

/// Figures of one set of judged rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Threats among what is flagged; 0 where nothing is.
    pub precision: f64,
    /// Flagged among the threats; 0 where there is none.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Chance that a threat is ranked above another row; one half where a class is missing.
    pub roc_auc: f64,
    /// Average precision.
    pub pr_auc: f64,
    /// Recall at the threshold that flags 5% of the rows that are no threat.
    pub recall_at_fpr_5: f64,
    /// Mean squared error of the probability.
    pub brier: f64,
    /// Expected calibration error over 15 bins of equal width.
    pub ece: f64,
    /// At or above this probability a row is flagged.
    pub threshold: f64,
    /// Rows.
    pub n: usize,
    /// Threats among them.
    pub positives: usize,
    /// Counts at the threshold.
    pub confusion: Confusion,
}

/// Counts at a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Threats flagged.
    pub true_positives: usize,
    /// Others flagged.
    pub false_positives: usize,
    /// Threats missed.
    pub false_negatives: usize,
    /// Others passed.
    pub true_negatives: usize,
}

/// Figures by sentence and by comment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Each sentence is a row.
    pub sentence: Evaluation,
    /// Each comment is a row: a threat if any sentence is, as probable as its most probable sentence.
    pub comment: Evaluation,
}

impl Scores {
    /// Figures of rows and their probabilities. `ranking` orders them, `calibrated` measures the probabilities;
    /// they differ only in cross-validation, where a row must not be calibrated with its own help.
    #[must_use]
    pub fn of(rows: &[Row], ranking: &[f64], calibrated: &[f64], threshold: f64) -> Self {
        let sentences = |p: &[f64]| -> Vec<Judged> { p.iter().copied().zip(rows.iter().map(Row::is_threat)).collect() };
        let evaluate = |ranking: Vec<Judged>, calibrated: Vec<Judged>| {
            let (brier, ece) = (brier(&calibrated), ece(&calibrated));
            Evaluation { brier, ece, ..Evaluation::of(&ranking, threshold) }
        };
        Self {
            sentence: evaluate(sentences(ranking), sentences(calibrated)),
            comment: evaluate(comments(rows, ranking), comments(rows, calibrated)),
        }
    }
}

impl Evaluation {
    /// Figures at a threshold.
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
        }
    }
}

impl Confusion {
    /// Counts at a threshold.
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

    fn precision_recall_f1(self) -> (f64, f64, f64) {
        let tp = self.true_positives;
        let share = |of: usize| if of == 0 { 0.0 } else { tp as f64 / of as f64 };
        let wrong = self.false_positives + self.false_negatives;
        let f1 = if tp == 0 { 0.0 } else { 2.0 * tp as f64 / (2 * tp + wrong) as f64 };
        (share(tp + self.false_positives), share(tp + self.false_negatives), f1)
    }
}

/// Comments of rows that follow each other.
fn comments(rows: &[Row], probabilities: &[f64]) -> Vec<Judged> {
    let key = |row: &Row| (row.comment, row.commenter.clone());
    let mut by_comment: std::collections::BTreeMap<_, Judged> = std::collections::BTreeMap::new();
    for (row, &p) in rows.iter().zip(probabilities) {
        let comment = by_comment.entry(key(row)).or_insert((f64::NEG_INFINITY, false));
        *comment = (comment.0.max(p), comment.1 || row.is_threat());
    }
    by_comment.into_values().collect()
}

/// Highest probability first, rows of equal probability together: (probability, threats, others) of each group.
fn descending_groups(judged: &[Judged]) -> Vec<(f64, usize, usize)> {
    let mut sorted = judged.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let groups = sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq());
    let count = |group: &[Judged]| {
        let threats = group.iter().filter(|(_, threat)| *threat).count();
        (group[0].0, threats, group.len() - threats)
    };
    groups.map(count).collect()
}

/// Average precision: precision at each group of equal probability, weighted by the recall it adds.
fn pr_auc(judged: &[Judged]) -> f64 {
    let (mut hits, mut flagged, mut area) = (0, 0, 0.0);
    for (_, threats, others) in descending_groups(judged) {
        hits += threats;
        flagged += threats + others;
        area += threats as f64 * hits as f64 / flagged as f64;
    }
    if hits == 0 { 0.0 } else { area / hits as f64 }
}

/// Mann-Whitney: a tie counts half.
fn roc_auc(judged: &[Judged]) -> f64 {
    let (mut threats_above, mut others_total, mut area) = (0, 0, 0.0);
    for (_, threats, others) in descending_groups(judged) {
        area += others as f64 * (threats_above as f64 + threats as f64 / 2.0);
        threats_above += threats;
        others_total += others;
    }
    if threats_above == 0 || others_total == 0 { 0.5 } else { area / (threats_above as f64 * others_total as f64) }
}

fn recall_at_fpr(judged: &[Judged], fpr: f64) -> f64 {
    let mut others: Vec<f64> = judged.iter().filter(|(_, threat)| !threat).map(|&(p, _)| p).collect();
    others.sort_by(|a, b| b.total_cmp(a));
    let bound = others.get((fpr * others.len() as f64) as usize).copied().unwrap_or(f64::NEG_INFINITY);
    let threats: Vec<f64> = judged.iter().filter(|(_, threat)| *threat).map(|&(p, _)| p).collect();
    let caught = threats.iter().filter(|&&p| p > bound).count();
    if threats.is_empty() { 0.0 } else { caught as f64 / threats.len() as f64 }
}

fn brier(judged: &[Judged]) -> f64 {
    let errors = judged.iter().map(|&(p, threat)| (p - f64::from(u8::from(threat))).powi(2));
    errors.sum::<f64>() / judged.len().max(1) as f64
}

fn ece(judged: &[Judged]) -> f64 {
    const BINS: usize = 15;
    let mut bins = [(0.0, 0.0); BINS];
    for &(p, threat) in judged {
        let bin = &mut bins[((p * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += p;
        bin.1 += f64::from(u8::from(threat));
    }
    bins.iter().map(|(predicted, observed): &(f64, f64)| (predicted - observed).abs()).sum::<f64>()
        / judged.len().max(1) as f64
}

/// The threshold with the best F1, half-way between the last row flagged and the first that is not.
#[must_use]
pub fn best_f1_threshold(judged: &[Judged]) -> f64 {
    let total = judged.iter().filter(|(_, threat)| *threat).count();
    let groups = descending_groups(judged);
    let (mut hits, mut flagged) = (0, 0);
    let mut best = (f64::NEG_INFINITY, 0.5);
    for (at, &(p, threats, others)) in groups.iter().enumerate() {
        hits += threats;
        flagged += threats + others;
        let f1 = 2.0 * hits as f64 / (flagged + total).max(1) as f64;
        if f1 > best.0 {
            let next = groups.get(at + 1).map_or(0.0, |group| group.0);
            best = (f1, f64::midpoint(p, next));
        }
    }
    best.1
}

/// The lowest threshold that flags at most this share of the rows that are no threat.
#[must_use]
pub fn threshold_at_fpr(judged: &[Judged], fpr: f64) -> f64 {
    let others = judged.iter().filter(|(_, threat)| !threat).count();
    let budget = (fpr * others as f64) as usize;
    let mut flagged = 0;
    let mut threshold = 1.0;
    for (p, _, others) in descending_groups(judged) {
        flagged += others;
        if flagged > budget {
            break;
        }
        threshold = p;
    }
    threshold
}

/// The lowest threshold at which at least this share of what is flagged are threats; 1 where there is none.
#[must_use]
pub fn threshold_at_precision(judged: &[Judged], precision: f64) -> f64 {
    let (mut hits, mut flagged, mut threshold) = (0, 0, 1.0);
    for (p, threats, others) in descending_groups(judged) {
        hits += threats;
        flagged += threats + others;
        if hits as f64 >= precision * flagged as f64 {
            threshold = p;
        }
    }
    threshold
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
    fn a_threshold_for_a_false_positive_rate_keeps_it() {
        let judged: Vec<Judged> = (0..1000).map(|i| (f64::from(i) / 1000.0, i % 10 == 0)).collect();
        let threshold = threshold_at_fpr(&judged, 0.05);
        let c = Confusion::at(&judged, threshold);
        assert!(c.false_positives <= 45 && c.false_positives >= 40, "{c:?}");
    }
}
