//! What a model is worth on rows it has not seen.

use serde::{Deserialize, Serialize};

use crate::{
    Row,
    bootstrap::{self, Intervals, Judgement},
};

/// Intervals of the same rows are always the same.
const BOOTSTRAP_SEED: u64 = 0x7472_7561;

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
    /// 95% intervals of the figures, by commenter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervals: Option<Intervals>,
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
    /// Figures of rows and their probabilities, with intervals.
    #[must_use]
    pub fn of(rows: &[Row], probabilities: &[f64], threshold: f64) -> Self {
        let sentences: Vec<Judgement<'_>> = rows
            .iter()
            .zip(probabilities)
            .map(|(row, &probability)| Judgement { commenter: &row.commenter, probability, is_threat: row.is_threat() })
            .collect();
        let evaluate = |judgements: &[Judgement<'_>]| {
            let judged: Vec<Judged> = judgements.iter().map(|j| (j.probability, j.is_threat)).collect();
            let intervals = Some(bootstrap::intervals(judgements, threshold, BOOTSTRAP_SEED));
            Evaluation { intervals, ..Evaluation::of(&judged, threshold) }
        };
        Self { comment: evaluate(&comments(rows, &sentences)), sentence: evaluate(&sentences) }
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
            intervals: None,
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

/// Each comment, as threatening as its most threatening sentence.
fn comments<'a>(rows: &[Row], sentences: &[Judgement<'a>]) -> Vec<Judgement<'a>> {
    let mut by_comment: std::collections::BTreeMap<(u32, &str), Judgement<'a>> = std::collections::BTreeMap::new();
    for (row, sentence) in rows.iter().zip(sentences) {
        let comment = by_comment.entry((row.comment, sentence.commenter)).or_insert(*sentence);
        comment.probability = comment.probability.max(sentence.probability);
        comment.is_threat |= sentence.is_threat;
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

/// Bins of equal width that calibration is measured in.
pub(crate) const CALIBRATION_BINS: usize = 15;

/// The bin of a probability.
pub(crate) fn calibration_bin(probability: f64) -> usize {
    ((probability * CALIBRATION_BINS as f64) as usize).min(CALIBRATION_BINS - 1)
}

fn ece(judged: &[Judged]) -> f64 {
    let gaps = bins(judged).into_iter().map(|(said, seen, _)| (said - seen).abs());
    gaps.sum::<f64>() / judged.len().max(1) as f64
}

/// Sum of probabilities, threats and rows of fifteen bins of equal width.
fn bins(judged: &[Judged]) -> [(f64, f64, usize); CALIBRATION_BINS] {
    let mut bins = [(0.0, 0.0, 0); CALIBRATION_BINS];
    for &(p, threat) in judged {
        let bin = &mut bins[calibration_bin(p)];
        bin.0 += p;
        bin.1 += f64::from(u8::from(threat));
        bin.2 += 1;
    }
    bins
}

/// Precision and recall at thresholds from the highest probability down: at most `points`, spread evenly over the rows
/// that are flagged.
#[must_use]
pub fn pr_curve(judged: &[Judged], points: usize) -> Vec<CurvePoint> {
    let total = judged.iter().filter(|(_, threat)| *threat).count().max(1);
    let groups = descending_groups(judged);
    let every = groups.len().div_ceil(points.max(1)).max(1);
    let (mut hits, mut flagged) = (0, 0);
    let mut curve = Vec::new();
    for (at, (threshold, threats, others)) in (1..).zip(&groups) {
        hits += threats;
        flagged += threats + others;
        if at % every == 0 || at == groups.len() {
            let (precision, recall) = (hits as f64 / flagged as f64, hits as f64 / total as f64);
            curve.push(CurvePoint { threshold: *threshold, precision, recall });
        }
    }
    curve
}

/// A point of the precision-recall curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Rows at or above it are flagged.
    pub threshold: f64,
    /// Threats among what is flagged.
    pub precision: f64,
    /// Flagged among the threats.
    pub recall: f64,
}

/// Said and seen, in fifteen bins of equal width; empty bins are left out.
#[must_use]
pub fn calibration_curve(judged: &[Judged]) -> Vec<CalibrationBin> {
    let filled = bins(judged).into_iter().filter(|(_, _, n)| *n > 0);
    let bin = |(said, seen, n): (f64, f64, usize)| CalibrationBin { said: said / n as f64, seen: seen / n as f64, n };
    filled.map(bin).collect()
}

/// A bin of the calibration curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// Mean probability.
    pub said: f64,
    /// Share of threats.
    pub seen: f64,
    /// Rows.
    pub n: usize,
}

/// The rows whose probability is furthest from the truth, worst first, by their number; never their text.
#[must_use]
pub fn worst_mistakes(judged: &[Judged], most: usize) -> Vec<Mistake> {
    let error = |&(p, threat): &Judged| if threat { 1.0 - p } else { p };
    let mut rows: Vec<usize> = (0..judged.len()).collect();
    rows.sort_by(|&a, &b| error(&judged[b]).total_cmp(&error(&judged[a])).then(a.cmp(&b)));
    let mistake = |row: usize| Mistake { row, probability: judged[row].0, is_threat: judged[row].1 };
    rows.into_iter().take(most).map(mistake).collect()
}

/// A row whose probability is far from the truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mistake {
    /// Its number among the usable rows of the corpus, from 0.
    pub row: usize,
    /// What the model said.
    pub probability: f64,
    /// What it is labelled.
    pub is_threat: bool,
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
