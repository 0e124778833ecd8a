//! Checks that the candidate is not worse than production on the same held-out rows.
//!
//! Both models are compared on the same resamples of the rows' commenters. A difference counts as chance unless most
//! resamples agree on it.

use super::{Answer, Bound, Check, Evidence};
use crate::evaluation::bootstrap;

/// The most by which the recall at 5% false positives may fall.
const RECALL_MARGIN: f64 = 0.05;
/// The least share of resamples in which it must not fall by more.
const CONFIDENCE: f64 = 0.8;

pub(super) struct PrAucNotWorse;

impl Check for PrAucNotWorse {
    fn name(&self) -> &'static str {
        "pr_auc_not_worse"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let pr_auc = evidence.candidate.scores.sentence.pr_auc;
        let Some(production) = &evidence.production else {
            return nothing_to_compare(format!("the average precision of {pr_auc:.2}"));
        };
        let today = production.judged.scores.sentence.pr_auc;
        let [low, high] = bootstrap::interval(production.differences.pr_auc.clone());
        Answer {
            // The upper end of the interval: the largest difference that agrees with the data.
            value: high,
            bound: Bound::AtLeast(0.0),
            meaning: format!(
                "The average precision is {pr_auc:.2}; the model in production has {today:.2} on the same sentences. \
                 The difference lies between {low:+.3} and {high:+.3}."
            ),
        }
    }
}

pub(super) struct RecallNotWorse;

impl Check for RecallNotWorse {
    fn name(&self) -> &'static str {
        "recall_not_worse"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let recall = evidence.candidate.scores.sentence.recall_at_fpr_5;
        let Some(production) = &evidence.production else {
            return nothing_to_compare(format!("the recall of {recall:.2} at 5% false alarms"));
        };
        let today = production.judged.scores.sentence.recall_at_fpr_5;
        let differences = &production.differences.recall_at_fpr_5;
        let kept = differences.iter().filter(|&&difference| difference >= -RECALL_MARGIN).count();
        let value = kept as f64 / differences.len().max(1) as f64;
        Answer {
            value,
            bound: Bound::AtLeast(CONFIDENCE),
            meaning: format!(
                "At 5% false alarms {recall:.2} of the threats are found; the model in production finds {today:.2}. \
                The chance that the loss is at most {:.0} of 100 threats is {:.0}%.",
                100.0 * RECALL_MARGIN,
                100.0 * value
            ),
        }
    }
}

pub(super) fn nothing_to_compare(what: String) -> Answer {
    let meaning = format!("No model is in production yet, so {what} cannot be compared.");
    Answer { value: 1.0, bound: Bound::AtLeast(0.0), meaning }
}
