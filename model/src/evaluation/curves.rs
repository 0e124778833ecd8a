//! Details behind the figures: curves, histograms and the worst mistakes.

use serde::Serialize;

use super::ranking::{Judged, bins, descending_groups};

/// Precision and recall at descending thresholds.
///
/// There are at most `points` points, evenly distributed over the flagged rows.
///
/// ```
/// use model::evaluation::pr_curve;
///
/// let curve = pr_curve(&[(0.9, true), (0.8, false), (0.7, true)], 100);
/// assert_eq!((curve[1].threshold, curve[1].precision, curve[1].recall), (0.8, 0.5, 0.5));
/// ```
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
    /// Rows with at least this probability are flagged.
    pub threshold: f64,
    /// The share of threats among the flagged rows.
    pub precision: f64,
    /// The share of the threats that are flagged.
    pub recall: f64,
}

/// For each share of all rows: the threshold that flags it, its precision and recall.
///
/// Useful if you know how many comments people can review, or which share another service flagged.
#[must_use]
pub fn flagged_shares(judged: &[Judged]) -> Vec<FlaggedShare> {
    const SHARES: [f64; 7] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2];
    let threats = judged.iter().filter(|(_, threat)| *threat).count().max(1);
    let mut sorted = judged.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let flag = |share: f64| {
        let flagged = sorted.get(..(share * sorted.len() as f64).ceil() as usize)?;
        let hits = flagged.iter().filter(|(_, threat)| *threat).count();
        let threshold = flagged.last()?.0;
        let (precision, recall) = (hits as f64 / flagged.len() as f64, hits as f64 / threats as f64);
        Some(FlaggedShare { share, threshold, precision, recall })
    };
    SHARES.into_iter().filter_map(flag).collect()
}

/// The result of flagging a share of all rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FlaggedShare {
    /// The flagged share of all rows.
    pub share: f64,
    /// The threshold that flags this share.
    pub threshold: f64,
    /// The share of threats among the flagged rows.
    pub precision: f64,
    /// The share of the threats that are flagged.
    pub recall: f64,
}

/// Predicted and observed shares in fifteen bins of equal width, without empty bins.
#[must_use]
pub fn calibration_curve(judged: &[Judged]) -> Vec<CalibrationBin> {
    let filled = bins(judged).into_iter().filter(|(_, _, n)| *n > 0);
    let bin = |(said, seen, n): (f64, f64, usize)| CalibrationBin { said: said / n as f64, seen: seen / n as f64, n };
    filled.map(bin).collect()
}

/// A bin of the calibration curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// The mean probability.
    pub said: f64,
    /// The observed share of threats.
    pub seen: f64,
    /// The number of rows.
    pub n: usize,
}

/// Histograms of the probabilities of threats and of harmless rows, with twenty bins each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ByLabel {
    /// The number of threats in each bin, from probability 0 up.
    pub threats: Vec<u64>,
    /// The number of harmless rows in each bin.
    pub harmless: Vec<u64>,
}

impl ByLabel {
    /// The number of bins of equal width.
    pub const BINS: usize = 20;

    /// Makes the histograms of judged rows.
    #[must_use]
    pub fn of(judged: &[Judged]) -> Self {
        let mut this = Self { threats: vec![0; Self::BINS], harmless: vec![0; Self::BINS] };
        for &(p, is_threat) in judged {
            let bins = if is_threat { &mut this.threats } else { &mut this.harmless };
            bins[((p * Self::BINS as f64) as usize).min(Self::BINS - 1)] += 1;
        }
        this
    }

    /// The boundaries between bins.
    #[must_use]
    pub fn edges() -> Vec<f64> {
        (1..Self::BINS).map(|edge| edge as f64 / Self::BINS as f64).collect()
    }
}

/// The rows with the worst probabilities, worst first: numbers only, never their text.
#[must_use]
pub fn worst_mistakes(judged: &[Judged], most: usize) -> Vec<Mistake> {
    let error = |&(p, threat): &Judged| if threat { 1.0 - p } else { p };
    let mut rows: Vec<usize> = (0..judged.len()).collect();
    rows.sort_by(|&a, &b| error(&judged[b]).total_cmp(&error(&judged[a])).then(a.cmp(&b)));
    let mistake = |row: usize| Mistake { row, probability: judged[row].0, is_threat: judged[row].1 };
    rows.into_iter().take(most).map(mistake).collect()
}

/// A row whose probability is far from its label.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mistake {
    /// Its number among the usable rows of the corpus, from 0.
    pub row: usize,
    /// The model's probability.
    pub probability: f64,
    /// The label.
    pub is_threat: bool,
}
