//! How sure the figures are: percentile intervals from resampled commenters.
//!
//! Commenters are drawn with replacement, not sentences: what one person wrote is one piece of evidence
//! (Field and Welsh, "Bootstrapping clustered data", JRSS B 69, 2007).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::random::SplitMix;

/// Resamples: enough for the second decimal of a 95% interval.
const RESAMPLES: usize = 1000;
/// Share below and above the interval.
const TAIL: f64 = 0.025;

/// A 95% interval, lowest then highest.
pub type Interval = [f64; 2];

/// 95% intervals of an evaluation's figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// See [`crate::evaluation::Evaluation::precision`].
    pub precision: Interval,
    /// See [`crate::evaluation::Evaluation::recall`].
    pub recall: Interval,
    /// See [`crate::evaluation::Evaluation::f1`].
    pub f1: Interval,
    /// See [`crate::evaluation::Evaluation::roc_auc`].
    pub roc_auc: Interval,
    /// See [`crate::evaluation::Evaluation::pr_auc`].
    pub pr_auc: Interval,
    /// See [`crate::evaluation::Evaluation::recall_at_fpr_5`].
    pub recall_at_fpr_5: Interval,
    /// See [`crate::evaluation::Evaluation::brier`].
    pub brier: Interval,
}

/// A judged row and who wrote it.
#[derive(Clone, Copy, Debug)]
pub struct Judgement<'a> {
    /// The commenter.
    pub commenter: &'a str,
    /// The probability of a threat.
    pub probability: f64,
    /// Whether it is one.
    pub is_threat: bool,
}

/// Intervals of the figures of these rows at a threshold. The same rows and seed give the same intervals.
#[must_use]
pub fn intervals(judgements: &[Judgement<'_>], threshold: f64, seed: u64) -> Intervals {
    let mut names: BTreeMap<&str, u32> = BTreeMap::new();
    for judgement in judgements {
        let next = names.len() as u32;
        names.entry(judgement.commenter).or_insert(next);
    }
    // By name, so that the order of the rows does not matter.
    for (number, place) in (0..).zip(names.values_mut()) {
        *place = number;
    }
    let mut rows: Vec<(f64, bool, u32)> =
        judgements.iter().map(|j| (j.probability, j.is_threat, names[j.commenter])).collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));

    let mut random = SplitMix(seed);
    let mut samples: [Vec<f64>; 7] = Default::default();
    let mut weights = vec![0_u32; names.len()];
    for _ in 0..RESAMPLES {
        weights.fill(0);
        for _ in 0..weights.len() {
            weights[random.below(names.len())] += 1;
        }
        for (sample, figure) in samples.iter_mut().zip(figures(&rows, &weights, threshold)) {
            sample.push(figure);
        }
    }
    let [precision, recall, f1, roc_auc, pr_auc, recall_at_fpr_5, brier] = samples.map(interval);
    Intervals { precision, recall, f1, roc_auc, pr_auc, recall_at_fpr_5, brier }
}

/// The figures where each row counts as often as its commenter was drawn, in the order of [`Intervals`].
fn figures(rows: &[(f64, bool, u32)], weights: &[u32], threshold: f64) -> [f64; 7] {
    let weight = |row: &(f64, bool, u32)| f64::from(weights[row.2 as usize]);
    let total: [f64; 2] = [false, true].map(|threat| rows.iter().filter(|r| r.1 == threat).map(weight).sum());
    let [others, threats] = total;
    let budget = (0.05 * others).floor();
    let (mut hits, mut alarms, mut area, mut ranked, mut squares) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let (mut flagged_hits, mut flagged_alarms, mut hits_in_budget) = (0.0, 0.0, 0.0);
    for group in rows.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let p = group[0].0;
        let of = |threat: bool| -> f64 { group.iter().filter(|r| r.1 == threat).map(weight).sum() };
        let (more_hits, more_alarms) = (of(true), of(false));
        ranked += more_alarms * (hits + more_hits / 2.0);
        hits += more_hits;
        alarms += more_alarms;
        if hits + alarms > 0.0 {
            area += more_hits * hits / (hits + alarms);
        }
        if p >= threshold {
            (flagged_hits, flagged_alarms) = (hits, alarms);
        }
        if alarms <= budget {
            hits_in_budget = hits;
        }
        squares += more_hits * (1.0 - p) * (1.0 - p) + more_alarms * p * p;
    }
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let f1 = share(2.0 * flagged_hits, flagged_hits + flagged_alarms + threats);
    [
        share(flagged_hits, flagged_hits + flagged_alarms),
        share(flagged_hits, threats),
        f1,
        if others * threats > 0.0 { ranked / (others * threats) } else { 0.5 },
        share(area, threats),
        share(hits_in_budget, threats),
        share(squares, others + threats),
    ]
}

fn interval(mut sample: Vec<f64>) -> Interval {
    sample.sort_by(f64::total_cmp);
    let at = |share: f64| sample.get((share * sample.len() as f64) as usize).copied().unwrap_or(0.0);
    [at(TAIL), at(1.0 - TAIL)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::Evaluation;

    fn rows(n: u32) -> Vec<(String, f64, bool)> {
        let mut random = SplitMix(7);
        let row = |i: u32| {
            let is_threat = i.is_multiple_of(9);
            let p = (3.0 * random.below(1000) as f64 / 1000.0 + f64::from(u8::from(is_threat))) / 4.0;
            (format!("c{}", i / 3), p, is_threat)
        };
        (0..n).map(row).collect()
    }

    fn judgements(rows: &[(String, f64, bool)]) -> Vec<Judgement<'_>> {
        rows.iter()
            .map(|(commenter, probability, is_threat)| Judgement {
                commenter,
                probability: *probability,
                is_threat: *is_threat,
            })
            .collect()
    }

    #[test]
    fn with_every_commenter_once_the_figures_are_those_of_the_evaluation() {
        let rows = rows(900);
        let mut sorted: Vec<(f64, bool, u32)> = rows.iter().map(|(_, p, t)| (*p, *t, 0)).collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        let weighted = figures(&sorted, &[1], 0.6);
        let judged: Vec<(f64, bool)> = rows.iter().map(|(_, p, t)| (*p, *t)).collect();
        let e = Evaluation::of(&judged, 0.6);
        let plain = [e.precision, e.recall, e.f1, e.roc_auc, e.pr_auc, e.recall_at_fpr_5, e.brier];
        for (a, b) in weighted.iter().zip(plain) {
            assert!((a - b).abs() < 1e-9, "{weighted:?} {plain:?}");
        }
    }

    #[test]
    fn an_interval_holds_the_figure_narrows_with_data_and_repeats() {
        let (few, many) = (rows(300), rows(6000));
        let width = |rows: &[(String, f64, bool)]| {
            let judged: Vec<(f64, bool)> = rows.iter().map(|(_, p, t)| (*p, *t)).collect();
            let pr_auc = Evaluation::of(&judged, 0.6).pr_auc;
            let [low, high] = intervals(&judgements(rows), 0.6, 1).pr_auc;
            assert!(low < pr_auc && pr_auc < high, "{low} {pr_auc} {high}");
            high - low
        };
        assert!(width(&many) < width(&few) / 2.0);
        let mut turned = few.clone();
        turned.reverse();
        assert_eq!(intervals(&judgements(&few), 0.6, 1), intervals(&judgements(&turned), 0.6, 1));
    }
}
