//! What a figure hides: curves, and the rows that are furthest off.

use serde::Serialize;

use super::ranking::{Judged, bins, descending_groups};

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

/// The threshold that flags each of some shares of all rows, and what that finds: for whoever knows how much they can look
/// at, or which share another service flagged.
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

/// What is found by flagging a share of all rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FlaggedShare {
    /// Of all rows.
    pub share: f64,
    /// Rows at or above it are that share.
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

/// How the probabilities of threats and of the others are spread, in twenty bins of equal width.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ByLabel {
    /// Threats by bin, from 0 up.
    pub threats: Vec<u64>,
    /// Others by bin.
    pub harmless: Vec<u64>,
}

impl ByLabel {
    /// Bins.
    pub const BINS: usize = 20;

    /// Of judged rows.
    #[must_use]
    pub fn of(judged: &[Judged]) -> Self {
        let mut this = Self { threats: vec![0; Self::BINS], harmless: vec![0; Self::BINS] };
        for &(p, is_threat) in judged {
            let bins = if is_threat { &mut this.threats } else { &mut this.harmless };
            bins[((p * Self::BINS as f64) as usize).min(Self::BINS - 1)] += 1;
        }
        this
    }

    /// Where one bin ends and the next begins.
    #[must_use]
    pub fn edges() -> Vec<f64> {
        (1..Self::BINS).map(|edge| edge as f64 / Self::BINS as f64).collect()
    }
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
