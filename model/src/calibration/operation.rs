//! The intended use of a model: the deciding threshold, and the band for human review.

use serde::{Deserialize, Serialize};

use crate::evaluation::{Judged, best_f1_threshold, threshold_at_fpr, threshold_at_precision};

/// The threshold with the best F1.
pub const BEST_F1: &str = "best_f1";
/// The threshold that flags 5% of the harmless sentences; nobody needs to look below it.
pub const FPR_5: &str = "fpr_5";
/// The lowest threshold at which 80% of the flags are threats; no review above it.
pub const PRECISION_80: &str = "precision_80";
/// The threshold that flags as many comments per day as people can review.
pub const DAILY_BUDGET: &str = "daily_budget";
/// A threshold of one half, used if no threshold was learned.
pub const EVEN_ODDS: &str = "even_odds";

const NAMES: [&str; 4] = [BEST_F1, DAILY_BUDGET, FPR_5, PRECISION_80];

/// A threshold with a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// One of the names in this module.
    pub name: String,
    /// A sentence at or above this probability is called a threat.
    pub threshold: f64,
}

/// The intended use of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Operation {
    /// The threshold that decides: `best_f1`, `fpr_5`, `precision_80` or `daily_budget`.
    pub point: String,
    /// Comments per day that the model will judge.
    pub comments_per_day: u32,
    /// Flags per day that people can review.
    ///
    /// `flags_per_day` and `comments_per_day` together determine the threshold `daily_budget`.
    pub flags_per_day: u32,
}

impl Default for Operation {
    fn default() -> Self {
        Self { point: BEST_F1.to_owned(), comments_per_day: 10_000, flags_per_day: 200 }
    }
}

impl Operation {
    /// Refuses values for which no threshold can be computed; the message names the field.
    pub fn check(&self) -> Result<(), String> {
        if !NAMES.contains(&self.point.as_str()) {
            return Err(format!("`point` must be one of {}", NAMES.join(", ")));
        }
        if self.comments_per_day == 0 || self.flags_per_day > self.comments_per_day {
            return Err("`flags_per_day` must not be more than `comments_per_day`".to_owned());
        }
        Ok(())
    }

    /// All thresholds, from judged sentences and the probabilities of judged comments.
    ///
    /// The deciding threshold comes first. The daily budget is kept only if daily comments resemble the judged ones.
    ///
    /// ```
    /// use model::calibration::{Band, Decision, Operation};
    ///
    /// let sentences = [(0.95, true), (0.7, false), (0.6, true), (0.1, false), (0.05, false)];
    /// let operation = Operation { point: "precision_80".into(), comments_per_day: 100, flags_per_day: 20 };
    /// let points = operation.points(&sentences, &[0.95, 0.7, 0.6, 0.1, 0.05]);
    /// assert_eq!((points[0].name.as_str(), points[0].threshold), ("precision_80", 0.95));
    /// assert_eq!(Band::of(&points).decide(0.99), Decision::Flag);
    /// ```
    #[must_use]
    pub fn points(&self, sentences: &[Judged], comments: &[f64]) -> Vec<OperatingPoint> {
        let budget = f64::from(self.flags_per_day) / f64::from(self.comments_per_day.max(1));
        let mut points = [
            (BEST_F1, best_f1_threshold(sentences)),
            (DAILY_BUDGET, threshold_at_share(comments, budget)),
            (FPR_5, threshold_at_fpr(sentences, 0.05)),
            (PRECISION_80, threshold_at_precision(sentences, 0.8)),
        ]
        .map(|(name, threshold)| OperatingPoint { name: name.to_owned(), threshold })
        .to_vec();
        points.sort_by_key(|point| point.name != self.point);
        points
    }
}

/// The lowest threshold that is reached by at most this share of the probabilities.
fn threshold_at_share(probabilities: &[f64], share: f64) -> f64 {
    let mut sorted = probabilities.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let allowed = (share * sorted.len() as f64) as usize;
    match sorted.get(allowed) {
        // Everything up to the first probability beyond the share must stay below the threshold.
        Some(&below) => sorted[..allowed].iter().rev().find(|&&p| p > below).copied().unwrap_or(1.0),
        None => 0.0,
    }
}

/// What to do with a comment or a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It is so likely a threat that no review is needed before acting.
    Flag,
    /// A person should look at it.
    Review,
    /// Nobody needs to look at it.
    Pass,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Self; 3] = [Self::Flag, Self::Review, Self::Pass];

    /// The name in answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Review => "review",
            Self::Pass => "pass",
        }
    }
}

/// The band of probabilities for human review.
///
/// ```
/// use model::calibration::{Band, Decision};
///
/// let band = Band { review_from: 0.2, flag_from: 0.8 };
/// let decisions = [0.1, 0.5, 0.9].map(|probability| band.decide(probability));
/// assert_eq!(decisions, [Decision::Pass, Decision::Review, Decision::Flag]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// From this probability on, a person should look.
    pub review_from: f64,
    /// From this probability on, a comment is flagged without review.
    pub flag_from: f64,
}

impl Band {
    /// The band around the deciding threshold, from `fpr_5` to `precision_80`.
    ///
    /// For a model without these thresholds the band is empty.
    #[must_use]
    pub fn of(points: &[OperatingPoint]) -> Self {
        let deciding = points.first().map_or(0.5, |point| point.threshold);
        let named = |name| points.iter().find(|point| point.name == name).map_or(deciding, |point| point.threshold);
        Self { review_from: named(FPR_5).min(deciding), flag_from: named(PRECISION_80).max(deciding) }
    }

    /// The decision for a probability.
    #[must_use]
    pub fn decide(self, probability: f64) -> Decision {
        if probability >= self.flag_from {
            Decision::Flag
        } else if probability >= self.review_from {
            Decision::Review
        } else {
            Decision::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_passed() {
        let comments: Vec<f64> = [0.9, 0.8, 0.8, 0.8, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0].to_vec();
        for (share, flagged) in [(0.0, 0), (0.1, 1), (0.2, 1), (0.35, 1), (0.4, 4), (0.5, 5), (1.0, 10)] {
            let threshold = threshold_at_share(&comments, share);
            assert_eq!(comments.iter().filter(|&&p| p >= threshold).count(), flagged, "{share}: {threshold}");
        }
    }

    #[test]
    fn the_point_that_decides_is_the_first() {
        let judged: Vec<Judged> = (0..100).map(|i| (f64::from(i) / 100.0, i % 10 == 9 || i > 80)).collect();
        let comments: Vec<f64> = judged.iter().map(|j| j.0).collect();
        for point in NAMES {
            let operation = Operation { point: point.to_owned(), ..Operation::default() };
            assert_eq!(operation.check(), Ok(()));
            let points = operation.points(&judged, &comments);
            assert_eq!((points[0].name.as_str(), points.len()), (point, 4));
            let band = Band::of(&points);
            assert!(band.review_from <= points[0].threshold && points[0].threshold <= band.flag_from, "{band:?}");
            assert_ne!(band.decide(points[0].threshold), Decision::Pass);
        }
        let budget = Operation { point: DAILY_BUDGET.to_owned(), comments_per_day: 100, flags_per_day: 7 };
        let threshold = budget.points(&judged, &comments)[0].threshold;
        assert_eq!(comments.iter().filter(|&&p| p >= threshold).count(), 7);
    }

    #[test]
    fn the_middle_is_left_to_people() {
        let point = |name: &str, threshold| OperatingPoint { name: name.to_owned(), threshold };
        let band = Band::of(&[point(BEST_F1, 0.4), point(FPR_5, 0.1), point(PRECISION_80, 0.7)]);
        let decided = [0.05, 0.1, 0.4, 0.69, 0.7].map(|p| band.decide(p).name());
        assert_eq!(decided, ["pass", "review", "review", "review", "flag"]);
        let band = Band::of(&[point(EVEN_ODDS, 0.5)]);
        assert_eq!([0.49, 0.5].map(|p| band.decide(p).name()), ["pass", "flag"]);
    }

    #[test]
    fn a_wrong_operation_is_refused_by_its_field() {
        for (point, comments_per_day, flags_per_day, named) in
            [("best", 10, 1, "`point`"), (BEST_F1, 0, 0, "comments_per_day"), (BEST_F1, 5, 6, "flags_per_day")]
        {
            let operation = Operation { point: point.to_owned(), comments_per_day, flags_per_day };
            assert!(operation.check().unwrap_err().contains(named));
        }
    }
}
