//! Checks that the candidate does not make more mistakes than production.
//!
//! Threats and other sentences have separate checks: only one in twenty sentences is a threat, so one test of all
//! sentences would not notice missed threats. The checks use McNemar's exact test: of the sentences that exactly one of
//! two equally good models decides correctly, each model is correct about half the time (McNemar, "Note on the sampling
//! error of the difference between correlated proportions or percentages", Psychometrika 12, 1947).

use super::{Answer, Bound, Check, Evidence, comparison::nothing_to_compare};

/// A difference with a smaller p-value is taken as a real difference.
const SIGNIFICANCE: f64 = 0.05;

pub(super) const THREATS: McNemar =
    McNemar { name: "threats_not_missed", of_threats: true, what: "threats", wrong: "missed" };
pub(super) const HARMLESS: McNemar =
    McNemar { name: "harmless_not_flagged", of_threats: false, what: "other sentences", wrong: "flagged" };

pub(super) struct McNemar {
    name: &'static str,
    of_threats: bool,
    what: &'static str,
    wrong: &'static str,
}

impl Check for McNemar {
    fn name(&self) -> &'static str {
        self.name
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Answer {
        let Some(production) = &evidence.production else {
            return nothing_to_compare(format!("the {} that are {}", self.what, self.wrong));
        };
        let (mut worse, mut better) = (0, 0);
        for (at, _) in evidence.rows.iter().enumerate().filter(|(_, row)| row.is_threat() == self.of_threats) {
            let is_right = |flags: bool| flags == self.of_threats;
            match (is_right(production.judged.flags(at)), is_right(evidence.candidate.flags(at))) {
                (true, false) => worse += 1,
                (false, true) => better += 1,
                _ => {}
            }
        }
        Answer {
            value: chance_of_as_many(worse, worse + better),
            bound: Bound::AtLeast(SIGNIFICANCE),
            meaning: format!(
                "{worse} {0} would be newly {1}, and {better} no longer {1}. Each model decides at its own threshold.",
                self.what, self.wrong
            ),
        }
    }
}

/// The probability of at least `k` heads in `n` tosses of a fair coin.
pub(crate) fn chance_of_as_many(k: u64, n: u64) -> f64 {
    if k == 0 {
        return 1.0;
    }
    // The terms C(n, i) / 2^n from the top, in logarithms.
    let mut ln_term = -(n as f64) * std::f64::consts::LN_2;
    let mut sum = ln_term.exp();
    for i in (k..n).rev() {
        ln_term += ((i + 1) as f64).ln() - ((n - i) as f64).ln();
        sum += ln_term.exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chances_are_those_of_the_binomial_distribution() {
        // scipy.stats.binomtest(k, n, 0.5, alternative="greater").pvalue
        for (k, n, expected) in
            [(0, 0, 1.0), (1, 1, 0.5), (9, 11, 0.032_714_843_75), (5, 10, 0.623_046_875), (60, 100, 0.028_443_966_82)]
        {
            let chance = chance_of_as_many(k, n);
            assert!((chance - expected).abs() < 1e-9, "{k} of {n}: {chance}");
        }
        assert!((chance_of_as_many(5200, 10_000) - 3.3e-5).abs() < 1e-6);
    }
}
