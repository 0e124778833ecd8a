//! What a model is used for: which threshold decides, and what is left to people.

use serde::{Deserialize, Serialize};

use crate::evaluation::{Judged, best_f1_threshold, threshold_at_fpr, threshold_at_precision};

/// The threshold of the best F1.
pub const BEST_F1: &str = "best_f1";
/// The threshold that flags 5% of what is no threat; below it nobody needs to look.
pub const FPR_5: &str = "fpr_5";
/// The lowest threshold from which four of five flags are threats; above it a flag needs no second look.
pub const PRECISION_80: &str = "precision_80";
/// The threshold that flags as many comments a day as people can look at.
pub const DAILY_BUDGET: &str = "daily_budget";
/// One half: where nothing was learned about thresholds.
pub const EVEN_ODDS: &str = "even_odds";

const NAMES: [&str; 4] = [BEST_F1, DAILY_BUDGET, FPR_5, PRECISION_80];

/// A threshold and what it stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// One of the names here.
    pub name: String,
    /// A sentence at or above this probability is called a threat.
    pub threshold: f64,
}

/// How a model is going to be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Operation {
    /// The threshold that decides: `best_f1`, `fpr_5`, `precision_80` or `daily_budget`.
    pub point: String,
    /// Comments a day that the model will see.
    pub comments_per_day: u32,
    /// Flags a day that people can look at; with `comments_per_day` it makes the threshold `daily_budget`.
    pub flags_per_day: u32,
}

impl Default for Operation {
    fn default() -> Self {
        Self { point: BEST_F1.to_owned(), comments_per_day: 10_000, flags_per_day: 200 }
    }
}

impl Operation {
    /// Refuses what no threshold could be made for; the message names the field.
    pub fn check(&self) -> Result<(), String> {
        if !NAMES.contains(&self.point.as_str()) {
            return Err(format!("`point` is none of {}", NAMES.join(", ")));
        }
        if self.comments_per_day == 0 || self.flags_per_day > self.comments_per_day {
            return Err("`flags_per_day` is more than `comments_per_day`".to_owned());
        }
        Ok(())
    }

    /// Thresholds from judged sentences and from the probabilities of judged comments; the one that decides first.
    ///
    /// The budget holds where the comments a day are like the judged ones.
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

/// The lowest threshold that at most this share of probabilities reaches.
fn threshold_at_share(probabilities: &[f64], share: f64) -> f64 {
    let mut sorted = probabilities.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let allowed = (share * sorted.len() as f64) as usize;
    match sorted.get(allowed) {
        // The first that must stay below, and whatever is as high.
        Some(&below) => sorted[..allowed].iter().rev().find(|&&p| p > below).copied().unwrap_or(1.0),
        None => 0.0,
    }
}

/// What is to be done with a comment or a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It is so likely a threat that it can be acted on.
    Flag,
    /// A person should look.
    Review,
    /// Nobody needs to look.
    Pass,
}

impl Decision {
    /// Every decision.
    pub const ALL: [Self; 3] = [Self::Flag, Self::Review, Self::Pass];

    /// Its name in answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Review => "review",
            Self::Pass => "pass",
        }
    }
}

/// The band of probabilities that is left to people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// From here on a person should look.
    pub review_from: f64,
    /// From here on it can be acted on.
    pub flag_from: f64,
}

impl Band {
    /// The band around the deciding threshold, from the 5% false-positive rate to the precision of four in five.
    ///
    /// A model without these thresholds leaves nothing to people.
    #[must_use]
    pub fn of(points: &[OperatingPoint]) -> Self {
        let deciding = points.first().map_or(0.5, |point| point.threshold);
        let named = |name| points.iter().find(|point| point.name == name).map_or(deciding, |point| point.threshold);
        Self { review_from: named(FPR_5).min(deciding), flag_from: named(PRECISION_80).max(deciding) }
    }

    /// What is to be done at a probability.
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
