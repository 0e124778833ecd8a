//! Thresholds from judged rows.

use super::ranking::{Judged, descending_groups};

/// The threshold with the best F1, half-way between the neighbouring probabilities.
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

/// The lowest threshold that flags at most this share of the harmless rows.
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

/// The lowest threshold with at least this precision; 1 if there is none.
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
