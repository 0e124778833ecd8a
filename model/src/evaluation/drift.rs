//! Drift: whether the comments in production still resemble those of the evaluation.
//!
//! Only measures of comments are used, never their text. A [`Reference`] is made once, from comments by commenters that
//! the model never saw. Later comments are counted in its bins. The population stability index measures how far the
//! shares moved; a chi-squared test tells whether that may be chance. By convention, an index below 0.1 is no change,
//! and an index above [`DRIFTED`] needs attention (Siddiqi, "Credit Risk Scorecards", 2006).

use serde::{Deserialize, Serialize};

/// With at least this index a measure has drifted, if the test agrees.
pub const DRIFTED: f64 = 0.25;
/// A difference with a smaller p-value is not chance.
pub const CHANCE: f64 = 0.001;
/// The fewest comments for a reference, and for a comparison with it.
pub const FEWEST: u64 = 50;
/// The number of bins of a measure, with about equally many reference comments each.
const BINS: usize = 10;
/// The fewest reference comments of a bin; few comments make fewer bins.
const OF_A_BIN: usize = 10;

/// A measure of a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The probability that it is a threat.
    Probability,
    /// The share of its features that are unknown to the model.
    UnknownShare,
    /// Its length in characters.
    Length,
}

impl Measure {
    /// All measures, in the order of [`Reference`].
    pub const ALL: [Self; 3] = [Self::Probability, Self::UnknownShare, Self::Length];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Probability => "probability",
            Self::UnknownShare => "unknown_share",
            Self::Length => "length",
        }
    }
}

/// Bins and the number of comments in each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Histogram {
    /// The boundaries between bins, ascending; a value on an edge belongs to the bin above.
    edges: Vec<f64>,
    /// The number of comments in each bin.
    counts: Vec<u64>,
}

/// A histogram as it is stored.
#[derive(Deserialize)]
struct Unchecked {
    edges: Vec<f64>,
    counts: Vec<u64>,
}

impl TryFrom<Unchecked> for Histogram {
    type Error = &'static str;

    fn try_from(Unchecked { edges, counts }: Unchecked) -> Result<Self, Self::Error> {
        if counts.len() != edges.len() + 1 {
            return Err("a histogram must have one bin more than edges");
        }
        // This condition also refuses NaN.
        if !edges.iter().all(|edge| edge.is_finite()) || !edges.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err("the edges of a histogram must be finite and ascending");
        }
        Ok(Self { edges, counts })
    }
}

impl Histogram {
    /// Makes bins with about equally many of these values.
    ///
    /// A frequent value makes a bin of its own, so there may be fewer bins.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let bins = (sorted.len() / OF_A_BIN).clamp(1, BINS);
        let mut edges: Vec<f64> = (1..bins).filter_map(|bin| sorted.get(bin * sorted.len() / bins).copied()).collect();
        edges.dedup();
        // No value is below the lowest one.
        edges.retain(|edge| sorted.first().is_some_and(|least| edge > least));
        let mut this = Self { counts: vec![0; edges.len() + 1], edges };
        for value in values {
            this.add(*value);
        }
        this
    }

    /// The same bins with zero counts.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { edges: self.edges.clone(), counts: vec![0; self.counts.len()] }
    }

    /// Counts a value.
    pub fn add(&mut self, value: f64) {
        self.counts[self.edges.partition_point(|edge| *edge <= value)] += 1;
    }

    /// Adds other counts; returns false and adds nothing if the bins differ.
    pub fn add_all(&mut self, other: &Self) -> bool {
        let are_same = self.edges == other.edges;
        if are_same {
            self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        }
        are_same
    }

    /// The boundaries between bins, ascending.
    #[must_use]
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// The number of values in each bin.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The total number of values.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The share of values in each bin, from 0 to 1.
    #[must_use]
    pub fn shares(&self) -> Vec<f64> {
        let total = self.total().max(1) as f64;
        self.counts.iter().map(|count| *count as f64 / total).collect()
    }

    /// How far `seen` differs from this histogram.
    ///
    /// `None` if either has fewer than [`FEWEST`] values, or if their bins differ.
    #[must_use]
    pub fn shift(&self, seen: &Self) -> Option<Shift> {
        if self.edges != seen.edges || self.total().min(seen.total()) < FEWEST {
            return None;
        }
        Some(Shift { psi: self.stability_index(seen), p_value: self.chance(seen) })
    }

    /// The population stability index.
    ///
    /// Half a comment is added to each bin, so that the logarithm of an empty bin exists.
    fn stability_index(&self, seen: &Self) -> f64 {
        let share = |histogram: &Self, bin: usize| {
            let total = histogram.total() as f64 + 0.5 * histogram.counts.len() as f64;
            (histogram.counts[bin] as f64 + 0.5) / total
        };
        let of_bin = |bin| {
            let (expected, actual) = (share(self, bin), share(seen, bin));
            (actual - expected) * (actual / expected).ln()
        };
        (0..self.counts.len()).map(of_bin).sum()
    }

    /// The p-value of the chi-squared test of homogeneity.
    fn chance(&self, seen: &Self) -> f64 {
        let (expected, actual) = (self.total() as f64, seen.total() as f64);
        let (mut statistic, mut filled) = (0.0, 0_u32);
        for (&a, &b) in self.counts.iter().zip(&seen.counts).filter(|(a, b)| **a + **b > 0) {
            let (a, b) = (a as f64, b as f64);
            let difference = a * (actual / expected).sqrt() - b * (expected / actual).sqrt();
            statistic += difference * difference / (a + b);
            filled += 1;
        }
        chi_squared_tail(statistic, filled.saturating_sub(1))
    }
}

/// The difference between two samples of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Shift {
    /// The population stability index; 0 if the shares are equal.
    pub psi: f64,
    /// The probability of at least such a difference by chance.
    pub p_value: f64,
}

impl Shift {
    /// Whether the measure has drifted and needs attention.
    #[must_use]
    pub fn is_drift(self) -> bool {
        self.psi >= DRIFTED && self.p_value < CHANCE
    }
}

/// Histograms of all measures of some comments.
///
/// ```
/// use model::evaluation::drift::{Measure, Reference};
///
/// let comment = |i: u32| [f64::from(i % 100) / 1000.0, 0.1, f64::from(20 + i % 50)];
/// let reference = Reference::of(&(0..1000).map(comment).collect::<Vec<_>>()).unwrap();
/// let mut seen = reference.emptied();
/// (0..1000).for_each(|i| seen.add([0.9, 0.1, f64::from(20 + i % 50)]));
/// let shift = |measure| reference.histogram(measure).shift(seen.histogram(measure)).unwrap();
/// assert!(shift(Measure::Probability).is_drift() && !shift(Measure::Length).is_drift());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// See [`Measure::Probability`].
    pub probability: Histogram,
    /// See [`Measure::UnknownShare`].
    pub unknown_share: Histogram,
    /// See [`Measure::Length`].
    pub length: Histogram,
}

impl Reference {
    /// Makes a reference from comments' measures, in the order of [`Measure::ALL`].
    ///
    /// `None` for fewer than [`FEWEST`] comments.
    #[must_use]
    pub fn of(comments: &[[f64; 3]]) -> Option<Self> {
        let histogram = |at: usize| Histogram::of(&comments.iter().map(|comment| comment[at]).collect::<Vec<_>>());
        let [probability, unknown_share, length] = [histogram(0), histogram(1), histogram(2)];
        (comments.len() as u64 >= FEWEST).then_some(Self { probability, unknown_share, length })
    }

    /// The same bins with zero counts.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let [probability, unknown_share, length] = Measure::ALL.map(|measure| self.histogram(measure).emptied());
        Self { probability, unknown_share, length }
    }

    /// Counts a comment's measures, in the order of [`Measure::ALL`].
    pub fn add(&mut self, comment: [f64; 3]) {
        for (histogram, value) in self.histograms().into_iter().zip(comment) {
            histogram.add(value);
        }
    }

    /// Adds other counts; returns false and adds nothing if the bins differ.
    pub fn add_all(&mut self, other: &Self) -> bool {
        let are_same = Measure::ALL.iter().all(|&m| self.histogram(m).edges == other.histogram(m).edges);
        are_same && {
            for (histogram, measure) in self.histograms().into_iter().zip(Measure::ALL) {
                histogram.add_all(other.histogram(measure));
            }
            true
        }
    }

    /// The number of comments.
    #[must_use]
    pub fn comments(&self) -> u64 {
        self.probability.total()
    }

    /// The histogram of a measure.
    #[must_use]
    pub fn histogram(&self, measure: Measure) -> &Histogram {
        match measure {
            Measure::Probability => &self.probability,
            Measure::UnknownShare => &self.unknown_share,
            Measure::Length => &self.length,
        }
    }

    fn histograms(&mut self) -> [&mut Histogram; 3] {
        [&mut self.probability, &mut self.unknown_share, &mut self.length]
    }
}

/// The probability that a chi-squared variable is at least `x`.
///
/// In closed form for every number of degrees of freedom, by the recurrence
/// Q(k + 2) = Q(k) + (x/2)^(k/2) e^(-x/2) / Γ(k/2 + 1).
fn chi_squared_tail(x: f64, degrees: u32) -> f64 {
    if degrees == 0 || x <= 0.0 {
        return 1.0;
    }
    let half = x / 2.0;
    // The first tail, and the first term to add to it.
    let (mut tail, mut term, mut k) = if degrees.is_multiple_of(2) {
        ((-half).exp(), half * (-half).exp(), 2)
    } else {
        (erfc(half.sqrt()), 2.0 * (half / std::f64::consts::PI).sqrt() * (-half).exp(), 1)
    };
    while k < degrees {
        tail += term;
        k += 2;
        term *= half / (f64::from(k) / 2.0);
    }
    tail.clamp(0.0, 1.0)
}

/// The complementary error function to 1.2e-7 of its value (Press et al., "Numerical Recipes", 6.2).
fn erfc(x: f64) -> f64 {
    const TERMS: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let series = TERMS.iter().rev().fold(0.0, |sum, term| sum * t + term);
    let value = t * (-x * x + series).exp();
    if x >= 0.0 { value } else { 2.0 - value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix;

    /// Values that scipy 1.16 gives for `chi2.sf`.
    #[test]
    fn the_tail_is_scipys() {
        for (x, degrees, expected) in [
            (3.841_458_820_694_124, 1, 0.05),
            (27.877_164_871_256_568, 9, 0.001),
            (10.0, 4, 0.040_427_681_994_512_79),
            (16.918_977_604_620_45, 9, 0.05),
            (50.0, 3, 7.989_179_244_951e-11),
            (0.5, 7, 0.999_446_481_390),
        ] {
            let found = chi_squared_tail(x, degrees);
            assert!((found - expected).abs() < 1e-6 * expected.max(1e-3), "{x} {degrees}: {found} and not {expected}");
        }
        assert_eq!(chi_squared_tail(5.0, 0), 1.0);
        assert_eq!(chi_squared_tail(0.0, 3), 1.0);
    }

    fn values(n: usize, seed: u64, stretch: f64) -> Vec<f64> {
        let mut random = SplitMix(seed);
        (0..n).map(|_| (random.below(1_000_000) as f64 / 1e6).powf(stretch)).collect()
    }

    fn shift(reference: &Histogram, values: &[f64]) -> Option<Shift> {
        let mut seen = reference.emptied();
        for value in values {
            seen.add(*value);
        }
        reference.shift(&seen)
    }

    #[test]
    fn more_of_the_same_is_no_drift_and_something_else_is() {
        let reference = Histogram::of(&values(2000, 1, 1.0));
        let alarms = (2..202).filter(|&seed| shift(&reference, &values(500, seed, 1.0)).unwrap().is_drift()).count();
        assert_eq!(alarms, 0, "of 200 samples of the same");
        let large = Histogram::of(&values(50_000, 1, 1.0));
        let slightly = shift(&large, &values(50_000, 3, 1.1)).unwrap();
        assert!(slightly.p_value < CHANCE && !slightly.is_drift(), "certain and harmless: {slightly:?}");
        let other = shift(&reference, &values(500, 3, 3.0)).unwrap();
        assert!(other.is_drift(), "{other:?}");
        assert_eq!(shift(&reference, &values(FEWEST as usize - 1, 3, 3.0)), None, "too few to tell");
        assert_eq!(reference.shift(&Histogram::of(&values(2000, 9, 1.0))), None, "other bins");
    }

    #[test]
    fn a_value_that_many_share_has_a_bin_of_its_own() {
        let mut many = vec![0.0; 700];
        many.extend(values(300, 5, 1.0));
        let histogram = Histogram::of(&many);
        assert!(histogram.edges().iter().all(|edge| *edge > 0.0), "{histogram:?}");
        assert!((700..=702).contains(&histogram.counts()[0]), "{histogram:?}");
        assert_eq!(histogram.total(), 1000);
        assert!(shift(&histogram, &vec![0.0; 200]).unwrap().psi > DRIFTED);
        // All values are equal: there is one bin, and nothing can drift.
        let alike = Histogram::of(&vec![2.0; 200]);
        assert_eq!((alike.counts(), alike.edges()), (&[200_u64][..], &[][..]));
        assert_eq!(shift(&alike, &vec![7.0; 200]).map(|shift| shift.p_value), Some(1.0));
    }

    #[test]
    fn what_is_stored_is_read_back_and_nonsense_is_refused() {
        let reference = Reference::of(&vec![[0.1, 0.2, 30.0]; 100]).unwrap();
        let text = serde_json::to_string(&reference).unwrap();
        assert_eq!(serde_json::from_str::<Reference>(&text).unwrap(), reference);
        for wrong in [r#"{"edges":[1],"counts":[1]}"#, r#"{"edges":[2,1],"counts":[1,1,1]}"#] {
            assert!(serde_json::from_str::<Histogram>(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Reference::of(&vec![[0.0; 3]; 49]), None);
        let mut both = reference.emptied();
        assert!(both.add_all(&reference) && both.add_all(&reference));
        assert_eq!(both.comments(), 200);
    }
}
