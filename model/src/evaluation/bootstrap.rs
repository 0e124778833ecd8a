//! Confidence intervals of figures: percentile intervals from resampled commenters.
//!
//! Commenters are drawn with replacement, not sentences, because all sentences of one person are one piece of evidence
//! (Field and Welsh, "Bootstrapping clustered data", JRSS B 69, 2007).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ranking::{CALIBRATION_BINS, calibration_bin};
use crate::random::SplitMix;

/// The number of resamples; enough for the second decimal of a 95% interval.
const RESAMPLES: usize = 1000;
/// The share of resamples below the interval, and above it.
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
    /// See [`crate::evaluation::Evaluation::ece`].
    #[serde(default)]
    pub ece: Interval,
}

/// A judged row and its commenter.
#[derive(Clone, Copy, Debug)]
pub struct Judgement<'a> {
    /// The commenter.
    pub commenter: &'a str,
    /// The probability of a threat.
    pub probability: f64,
    /// Whether it is a threat.
    pub is_threat: bool,
}

/// Intervals of the figures at a threshold; deterministic for the same rows and seed.
#[must_use]
pub fn intervals(judgements: &[Judgement<'_>], threshold: f64, seed: u64) -> Intervals {
    let numbers = number(judgements);
    let rows = Ranked::of(judgements, &numbers);
    let mut samples: [Vec<f64>; 8] = Default::default();
    resample(numbers.len(), seed, |weights| {
        for (sample, figure) in samples.iter_mut().zip(rows.figures(weights, threshold)) {
            sample.push(figure);
        }
    });
    let [precision, recall, f1, roc_auc, pr_auc, recall_at_fpr_5, brier, ece] = samples.map(interval);
    Intervals { precision, recall, f1, roc_auc, pr_auc, recall_at_fpr_5, brier, ece }
}

/// How much better one model is than another, for each resample of the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Differences {
    /// Differences of the PR-AUC.
    pub pr_auc: Vec<f64>,
    /// Differences of the recall at 5% false positives.
    pub recall_at_fpr_5: Vec<f64>,
}

impl Differences {
    /// Resamples the rows' commenters and compares both models on each resample.
    ///
    /// Both lists must have the same rows in the same order. The same rows and seed give the same differences.
    #[must_use]
    pub fn of(candidate: &[Judgement<'_>], incumbent: &[Judgement<'_>], seed: u64) -> Self {
        let numbers = number(candidate);
        let [candidate, incumbent] = [candidate, incumbent].map(|judgements| Ranked::of(judgements, &numbers));
        let mut differences = Self { pr_auc: Vec::new(), recall_at_fpr_5: Vec::new() };
        resample(numbers.len(), seed, |weights| {
            let [new, old] = [&candidate, &incumbent].map(|rows| rows.figures(weights, 1.0));
            differences.pr_auc.push(new[PR_AUC] - old[PR_AUC]);
            differences.recall_at_fpr_5.push(new[RECALL_AT_FPR_5] - old[RECALL_AT_FPR_5]);
        });
        differences
    }
}

/// Draws commenters a thousand times with replacement, and passes the summed counts to `each`.
///
/// `counted` has the counts of each commenter, in any order. The same counts and seed give the same sums.
pub fn resampled_sums<const N: usize>(mut counted: Vec<[u32; N]>, seed: u64, mut each: impl FnMut([u64; N])) {
    // Many commenters have equal counts, so the draws are counted for each distinct value.
    counted.sort_unstable();
    let mut kinds: Vec<[u32; N]> = Vec::new();
    let mut kind_of: Vec<u32> = Vec::with_capacity(counted.len());
    for counts in counted {
        if kinds.last() != Some(&counts) {
            kinds.push(counts);
        }
        kind_of.push(kinds.len() as u32 - 1);
    }
    let mut random = SplitMix(seed);
    let mut drawn = vec![0_u64; kinds.len()];
    for _ in 0..RESAMPLES {
        drawn.fill(0);
        for _ in 0..kind_of.len() {
            drawn[kind_of[random.below(kind_of.len())] as usize] += 1;
        }
        let mut sums = [0; N];
        for (counts, times) in kinds.iter().zip(&drawn) {
            sums.iter_mut().zip(counts).for_each(|(sum, &count)| *sum += times * u64::from(count));
        }
        each(sums);
    }
}

/// The upper limit of the 95% interval of a share if no case was found.
///
/// `found_in` is the number of examined cases (Clopper and Pearson, 1934).
#[must_use]
pub fn most_of_none(found_in: u64) -> f64 {
    if found_in == 0 { 1.0 } else { 1.0 - TAIL.powf(1.0 / found_in as f64) }
}

/// The 95% interval of a sample.
#[must_use]
pub fn interval(mut sample: Vec<f64>) -> Interval {
    sample.sort_by(f64::total_cmp);
    let at = |share: f64| sample.get((share * sample.len() as f64) as usize).copied().unwrap_or(0.0);
    [at(TAIL), at(1.0 - TAIL)]
}

/// Commenters by name, so that the order of the rows does not matter.
fn number<'a>(judgements: &[Judgement<'a>]) -> BTreeMap<&'a str, u32> {
    let names: BTreeSet<&str> = judgements.iter().map(|judgement| judgement.commenter).collect();
    names.into_iter().zip(0..).collect()
}

/// Draws commenters with replacement, a thousand times, and passes how often each was drawn.
fn resample(commenters: usize, seed: u64, mut each: impl FnMut(&[u32])) {
    let mut random = SplitMix(seed);
    let mut weights = vec![0_u32; commenters];
    for _ in 0..RESAMPLES {
        weights.fill(0);
        for _ in 0..commenters {
            weights[random.below(commenters)] += 1;
        }
        each(&weights);
    }
}

/// Rows in descending order of probability: probability, label, commenter.
struct Ranked(Vec<(f64, bool, u32)>);

const RECALL_AT_FPR_5: usize = 5;
const PR_AUC: usize = 4;

impl Ranked {
    fn of(judgements: &[Judgement<'_>], numbers: &BTreeMap<&str, u32>) -> Self {
        let mut rows: Vec<(f64, bool, u32)> =
            judgements.iter().map(|j| (j.probability, j.is_threat, numbers[j.commenter])).collect();
        rows.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        Self(rows)
    }

    /// The figures of a resample, in the order of [`Intervals`].
    ///
    /// Each row counts as often as its commenter was drawn.
    fn figures(&self, weights: &[u32], threshold: f64) -> [f64; 8] {
        let rows = &self.0;
        let weight = |row: &(f64, bool, u32)| f64::from(weights[row.2 as usize]);
        let total: [f64; 2] = [false, true].map(|threat| rows.iter().filter(|r| r.1 == threat).map(weight).sum());
        let [others, threats] = total;
        let budget = (0.05 * others).floor();
        let (mut hits, mut alarms, mut area, mut ranked, mut squares) = (0.0, 0.0, 0.0, 0.0, 0.0);
        let (mut flagged_hits, mut flagged_alarms, mut hits_in_budget) = (0.0, 0.0, 0.0);
        // For each bin: the threats less the expected threats by the probabilities.
        let mut gaps = [0.0_f64; CALIBRATION_BINS];
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
            gaps[calibration_bin(p)] += more_hits - p * (more_hits + more_alarms);
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
            share(gaps.iter().map(|gap| gap.abs()).sum(), others + threats),
        ]
    }
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
        let weighted = Ranked(sorted).figures(&[1], 0.6);
        let judged: Vec<(f64, bool)> = rows.iter().map(|(_, p, t)| (*p, *t)).collect();
        let e = Evaluation::of(&judged, 0.6);
        let plain = [e.precision, e.recall, e.f1, e.roc_auc, e.pr_auc, e.recall_at_fpr_5, e.brier, e.ece];
        for (a, b) in weighted.iter().zip(plain) {
            assert!((a - b).abs() < 1e-9, "{weighted:?} {plain:?}");
        }
    }

    #[test]
    fn a_better_model_is_better_in_nearly_every_resample_and_the_same_one_in_none() {
        let rows = rows(3000);
        let old = judgements(&rows);
        let better = |j: &Judgement<'_>| if j.is_threat { j.probability + 0.1 } else { j.probability };
        let new: Vec<Judgement<'_>> = old.iter().map(|j| Judgement { probability: better(j), ..*j }).collect();
        let [low, high] = interval(Differences::of(&new, &old, 1).pr_auc);
        assert!(low > 0.0 && low < high, "{low} {high}");
        let [low, high] = interval(Differences::of(&old, &new, 1).recall_at_fpr_5);
        assert!(low < high && high <= 0.0, "{low} {high}");
        let same = Differences::of(&old, &old, 1);
        assert!(same.pr_auc.iter().chain(&same.recall_at_fpr_5).all(|&d| d == 0.0));
    }

    #[test]
    fn sums_of_resampled_counts_vary_as_those_of_the_binomial_distribution() {
        let counted: Vec<[u32; 2]> = (0..400).map(|i| [1, u32::from(i % 4 == 0)]).collect();
        let shares = |counted: Vec<[u32; 2]>| {
            let mut shares = Vec::new();
            resampled_sums(counted, 1, |[all, some]| {
                assert_eq!(all, 400);
                shares.push(some as f64 / all as f64);
            });
            shares
        };
        let found = shares(counted.clone());
        // 0.25 plus and minus 1.96 standard errors of 0.0217.
        let [low, high] = interval(found.clone());
        assert!((low - 0.2076).abs() < 0.01 && (high - 0.2924).abs() < 0.01, "{low} {high}");
        assert_eq!(found, shares(counted.into_iter().rev().collect()), "their order does not matter");
        resampled_sums(Vec::<[u32; 1]>::new(), 1, |sums| assert_eq!(sums, [0]));
        // The closed form of the upper limit if nothing was found: 1 - 0.025^(1/n).
        for (n, expected) in [(1, 0.975), (10, 0.308_497_1), (300, 0.012_221_2)] {
            assert!((most_of_none(n) - expected).abs() < 1e-6, "{n}: {}", most_of_none(n));
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
