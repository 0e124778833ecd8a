//! From a score to a probability: Platt's sigmoid with two parameters.

use serde::{Deserialize, Serialize};

/// `probability = 1 / (1 + exp(-(slope * score + offset)))`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platt {
    /// Factor of the score; positive if higher scores mean more likely threats.
    pub slope: f64,
    /// Added to the product.
    pub offset: f64,
}

impl Platt {
    /// Leaves log-odds unchanged.
    pub const IDENTITY: Self = Self { slope: 1.0, offset: 0.0 };

    /// Fits the sigmoid to a model's scores of rows that it had not seen.
    ///
    /// Newton's method with backtracking on the regularised likelihood of Lin, Lin and Weng, "A note on Platt's
    /// probabilistic outputs for support vector machines", Machine Learning 68 (2007), algorithm 1.
    ///
    /// ```
    /// use model::calibration::Platt;
    ///
    /// let scores = [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0];
    /// let platt = Platt::fit(&scores, &[false, false, true, false, true, true]);
    /// assert!(platt.slope > 0.0 && platt.probability(3.0) > 0.5 && platt.probability(-3.0) < 0.5);
    /// ```
    #[must_use]
    pub fn fit(scores: &[f64], is_threat: &[bool]) -> Self {
        // Sums of floats depend on their order. Sorting makes the result independent of the order of the rows.
        let mut pairs: Vec<(f64, bool)> = scores.iter().copied().zip(is_threat.iter().copied()).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (scores, is_threat): (Vec<f64>, Vec<bool>) = pairs.into_iter().unzip();
        let threats = is_threat.iter().filter(|&&t| t).count() as f64;
        let others = is_threat.len() as f64 - threats;
        let high = (threats + 1.0) / (threats + 2.0);
        let low = 1.0 / (others + 2.0);
        let targets: Vec<f64> = is_threat.iter().map(|&t| if t { high } else { low }).collect();
        let loss = |p: Self| -> f64 {
            let each = scores.iter().zip(&targets).map(|(&s, &t)| {
                let x = p.slope * s + p.offset;
                // -t ln p - (1-t) ln(1-p), without overflow on either side
                if x >= 0.0 { (1.0 - t) * x + (-x).exp().ln_1p() } else { -t * x + x.exp().ln_1p() }
            });
            each.sum()
        };

        let mut platt = Self { slope: 0.0, offset: ((threats + 1.0) / (others + 1.0)).ln() };
        let mut current = loss(platt);
        for _ in 0..100 {
            let (mut h11, mut h22, mut h21, mut g1, mut g2) = (1e-12, 1e-12, 0.0, 0.0, 0.0);
            for (&s, &t) in scores.iter().zip(&targets) {
                let p = platt.probability(s);
                let curvature = p * (1.0 - p);
                h11 += s * s * curvature;
                h22 += curvature;
                h21 += s * curvature;
                g1 += s * (p - t);
                g2 += p - t;
            }
            if g1.abs() < 1e-7 && g2.abs() < 1e-7 {
                break;
            }
            let determinant = h11 * h22 - h21 * h21;
            let d_slope = -(h22 * g1 - h21 * g2) / determinant;
            let d_offset = -(h11 * g2 - h21 * g1) / determinant;
            let descent = g1 * d_slope + g2 * d_offset;
            let mut step = 1.0;
            loop {
                let next = Self { slope: platt.slope + step * d_slope, offset: platt.offset + step * d_offset };
                let there = loss(next);
                if there < current + 1e-4 * step * descent {
                    platt = next;
                    current = there;
                    break;
                }
                step /= 2.0;
                if step < 1e-10 {
                    return platt;
                }
            }
        }
        platt
    }

    /// The probability of a threat: at least 0 and below 1.
    ///
    /// A threshold of 1 therefore flags nothing.
    #[must_use]
    pub fn probability(self, score: f64) -> f64 {
        let x = self.slope * score + self.offset;
        let probability = if x >= 0.0 {
            1.0 / (1.0 + (-x).exp())
        } else {
            let e = x.exp();
            e / (1.0 + e)
        };
        probability.min(1.0_f64.next_down())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_sigmoid_is_found_again() {
        let truth = Platt { slope: 0.7, offset: -1.5 };
        let (mut scores, mut labels) = (Vec::new(), Vec::new());
        for i in 0..400 {
            let score = f64::from(i) / 25.0 - 8.0;
            // 100 rows a score, labelled in the proportion that the sigmoid says
            let threats = (truth.probability(score) * 100.0).round() as usize;
            for k in 0..100 {
                scores.push(score);
                labels.push(k < threats);
            }
        }
        let found = Platt::fit(&scores, &labels);
        assert!((found.slope - truth.slope).abs() < 0.01 && (found.offset - truth.offset).abs() < 0.02, "{found:?}");
    }

    #[test]
    fn extreme_scores_and_single_classes_stay_finite() {
        let highest = Platt::IDENTITY.probability(1e6);
        assert!(highest < 1.0 && highest > 0.999_999);
        assert!(Platt::IDENTITY.probability(-1e6) >= 0.0);
        for labels in [[true; 4], [false; 4]] {
            let platt = Platt::fit(&[-1e3, 0.0, 1.0, 1e3], &labels);
            assert!(platt.slope.is_finite() && platt.offset.is_finite(), "{platt:?}");
        }
    }
}
