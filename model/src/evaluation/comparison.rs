//! The figures of two evaluations side by side.

use super::{Evaluation, Scores, bootstrap::Interval};

/// One figure of two evaluations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// `sentence` or `comment`.
    pub unit: &'static str,
    /// Its name, as in JSON: `pr_auc`, `f1`, ...
    pub figure: &'static str,
    /// In the first evaluation.
    pub a: Figure,
    /// In the second evaluation.
    pub b: Figure,
}

/// A figure and its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The value.
    pub value: f64,
    /// Its 95% interval, if it was computed.
    pub interval: Option<Interval>,
}

impl Pair {
    /// Whether the intervals overlap, so the difference may be chance.
    ///
    /// `None` if an interval is missing.
    #[must_use]
    pub fn intervals_overlap(&self) -> Option<bool> {
        let ([low, high], [other_low, other_high]) = (self.a.interval?, self.b.interval?);
        Some(low <= other_high && other_low <= high)
    }
}

impl Scores {
    /// Every figure of these and of other scores: first by sentence, then by comment.
    #[must_use]
    pub fn beside(&self, other: &Self) -> Vec<Pair> {
        let units = [("sentence", &self.sentence, &other.sentence), ("comment", &self.comment, &other.comment)];
        let pairs = |(unit, a, b): (&'static str, &Evaluation, &Evaluation)| {
            let both = a.figures().into_iter().zip(b.figures());
            both.map(move |((figure, a), (_, b))| Pair { unit, figure, a, b })
        };
        units.into_iter().flat_map(pairs).collect()
    }
}

impl Evaluation {
    /// Each figure with its name, as in JSON.
    #[must_use]
    pub fn figures(&self) -> [(&'static str, Figure); 8] {
        let i = self.intervals.as_ref();
        [
            ("precision", self.precision, i.map(|i| i.precision)),
            ("recall", self.recall, i.map(|i| i.recall)),
            ("f1", self.f1, i.map(|i| i.f1)),
            ("roc_auc", self.roc_auc, i.map(|i| i.roc_auc)),
            ("pr_auc", self.pr_auc, i.map(|i| i.pr_auc)),
            ("recall_at_fpr_5", self.recall_at_fpr_5, i.map(|i| i.recall_at_fpr_5)),
            ("brier", self.brier, i.map(|i| i.brier)),
            ("ece", self.ece, i.map(|i| i.ece)),
        ]
        .map(|(name, value, interval)| (name, Figure { value, interval }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_that_touch_overlap_and_a_missing_one_says_nothing() {
        let figure = |interval| Figure { value: 0.5, interval };
        let overlap = |a, b| Pair { unit: "sentence", figure: "f1", a: figure(a), b: figure(b) }.intervals_overlap();
        assert_eq!(overlap(Some([0.1, 0.2]), Some([0.2, 0.3])), Some(true));
        assert_eq!(overlap(Some([0.3, 0.4]), Some([0.1, 0.2])), Some(false));
        assert_eq!(overlap(None, Some([0.1, 0.2])), None);
    }
}
