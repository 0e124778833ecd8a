//! Checks that the model finds threats at all.

use super::{Answer, Bound, Check, Evidence};

/// The PR-AUC on the held-out rows must be at least twice the share of threats.
///
/// The share of threats is the PR-AUC of guessing.
pub(super) struct FindsThreats;

impl Check for FindsThreats {
    fn name(&self) -> &'static str {
        "finds_threats"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let held_out = &evidence.candidate.scores.sentence;
        let base_rate = held_out.positives as f64 / held_out.n.max(1) as f64;
        Answer {
            value: held_out.pr_auc,
            // Without a held-out threat nothing is proved, so the bound cannot be reached.
            bound: Bound::AtLeast(if held_out.positives == 0 { 1.0 } else { (2.0 * base_rate).min(0.9) }),
            meaning: format!(
                "The model ranks {} unseen sentences with an average precision of {:.2}; guessing gives {:.2}.",
                held_out.n, held_out.pr_auc, base_rate
            ),
        }
    }
}
