//! Does the model find threats at all?

use super::{Answer, Bound, Check, Evidence};

/// PR-AUC on the held-out rows is at least twice what guessing gives (the share of threats).
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
            // No held-out threat means nothing was shown: the bound is then out of reach.
            bound: Bound::AtLeast(if held_out.positives == 0 { 1.0 } else { (2.0 * base_rate).min(0.9) }),
            meaning: format!(
                "Ranking {} unseen sentences, the model puts threats first with an average precision of {:.2}; guessing gives {:.2}.",
                held_out.n, held_out.pr_auc, base_rate
            ),
        }
    }
}
