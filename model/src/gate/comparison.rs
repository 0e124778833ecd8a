//! Is the candidate worse than the model in production, on the same held-out rows?

use super::{Answer, Check, Evidence};

/// PR-AUC may fall by at most this much.
const PR_AUC_MARGIN: f64 = 0.02;
/// Recall at 5% false positives may fall by at most this much.
const RECALL_MARGIN: f64 = 0.05;

pub(super) struct PrAucNotWorse;

impl Check for PrAucNotWorse {
    fn name(&self) -> &'static str {
        "pr_auc_not_worse"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let value = evidence.scores.sentence.pr_auc;
        compare(evidence, value, |s| s.pr_auc, PR_AUC_MARGIN, "average precision")
    }
}

pub(super) struct RecallNotWorse;

impl Check for RecallNotWorse {
    fn name(&self) -> &'static str {
        "recall_not_worse"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let value = evidence.scores.sentence.recall_at_fpr_5;
        compare(evidence, value, |s| s.recall_at_fpr_5, RECALL_MARGIN, "share of threats found at 5% false alarms")
    }
}

fn compare(
    evidence: &Evidence<'_>,
    value: f64,
    figure: impl Fn(&crate::evaluation::Evaluation) -> f64,
    margin: f64,
    name: &str,
) -> Answer {
    match evidence.production {
        None => Answer {
            value,
            at_least: 0.0,
            meaning: format!("No model is in production yet to compare the {name} of {value:.2} with."),
        },
        Some(production) => {
            let today = figure(&production.sentence);
            Answer {
                value,
                at_least: today - margin,
                meaning: format!(
                    "The {name} is {value:.2}; the model in production has {today:.2} on the same sentences."
                ),
            }
        }
    }
}
