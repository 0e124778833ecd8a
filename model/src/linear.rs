//! The one representation of a trained model: a table of weights by feature key, a calibration, operating points.
//!
//! Whatever trained it, a model is scored, explained and stored by the code here.

use serde::{Deserialize, Serialize};

use crate::{
    calibration::Platt,
    features::{Analyser, FeatureSet, Scratch, UnknownExtractor},
    text,
};

/// Weights are whole multiples of 1 / `UNITS`: integer sums are exact and do not depend on the order of the words.
pub const UNITS: f64 = (1_u64 << 40) as f64;

/// What a model is, apart from its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The trainer that made it.
    pub trainer: String,
    /// The trainer's parameters, as it was given them.
    pub parameters: serde_json::Value,
    /// Which features are looked up.
    pub features: FeatureSet,
    /// Added to every sentence's score: the log-odds of a threat before a word is read.
    pub bias: f64,
    /// The summed weights are divided by (number of known features) to this power.
    ///
    /// 0 is plain naive Bayes; above 0 undoes part of its over-counting in long sentences.
    pub length_exponent: f64,
    /// From score to probability.
    pub calibration: Platt,
    /// Thresholds with names; the first is the default.
    pub operating_points: Vec<OperatingPoint>,
}

/// A threshold and what it stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// `best_f1`, `fpr_5`, `even_odds`.
    pub name: String,
    /// A sentence at or above this probability is called a threat.
    pub threshold: f64,
}

/// A trained model.
#[derive(Debug)]
pub struct Model {
    spec: Spec,
    analyser: Analyser,
    table: Table,
}

/// A model that could not score sensibly.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It needs a feature that this program does not have.
    #[error(transparent)]
    Extractor(#[from] UnknownExtractor),
    /// Keys must ascend, so that a lookup finds each.
    #[error("the table's keys are not in ascending order")]
    Unsorted,
    /// The named number is missing, infinite or outside its range.
    #[error("`{0}` is out of range")]
    OutOfRange(&'static str),
}

/// The score of one sentence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Log-odds before calibration.
    pub logit: f64,
    /// Features of the sentence.
    pub features: u32,
    /// Features that the model knows.
    pub known: u32,
}

/// What the model says of a comment.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Probability that the comment has a threat: that of its most threatening sentence.
    pub probability: f64,
    /// Whether it reaches the threshold.
    pub is_threat: bool,
    /// The default operating point's threshold.
    pub threshold: f64,
    /// Each sentence, in order.
    pub sentences: Vec<SentenceVerdict>,
    /// Share of the comment's features that the model does not know, from 0 to 1.
    pub unknown_share: f64,
}

/// What the model says of a sentence of a comment.
#[derive(Clone, Debug, PartialEq)]
pub struct SentenceVerdict {
    /// Its bytes in the comment.
    pub bytes: std::ops::Range<usize>,
    /// Probability that it is a threat.
    pub probability: f64,
}

impl Model {
    /// Puts a model together; refuses one that could not score.
    pub fn new(spec: Spec, table: Table) -> Result<Self, Invalid> {
        let analyser = spec.features.analyser()?;
        let finite = [
            ("bias", spec.bias),
            ("calibration.slope", spec.calibration.slope),
            ("calibration.offset", spec.calibration.offset),
        ];
        for (name, value) in finite {
            if !value.is_finite() {
                return Err(Invalid::OutOfRange(name));
            }
        }
        if !(0.0..=1.0).contains(&spec.length_exponent) {
            return Err(Invalid::OutOfRange("length_exponent"));
        }
        if spec.operating_points.is_empty() || spec.operating_points.iter().any(|p| !(0.0..=1.0).contains(&p.threshold))
        {
            return Err(Invalid::OutOfRange("operating_points"));
        }
        Ok(Self { spec, analyser, table })
    }

    /// What it is, apart from its weights.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The weights.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The default operating point's threshold.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        self.spec.operating_points[0].threshold
    }

    /// The same model with another calibration and operating points.
    pub fn calibrated(self, calibration: Platt, operating_points: Vec<OperatingPoint>) -> Result<Self, Invalid> {
        Self::new(Spec { calibration, operating_points, ..self.spec }, self.table)
    }

    /// Scores one sentence.
    #[must_use]
    pub fn score(&self, sentence: &str, scratch: &mut Scratch) -> Score {
        self.analyser.analyse(sentence, scratch);
        let mut sum = 0_i64;
        let mut known = 0_u32;
        for feature in &scratch.features {
            if let Some(weight) = self.table.get(feature.key) {
                sum = sum.wrapping_add(weight);
                known += 1;
            }
        }
        let mut logit = sum as f64 / UNITS;
        if self.spec.length_exponent > 0.0 {
            logit /= f64::from(known.max(1)).powf(self.spec.length_exponent);
        }
        Score { logit: logit + self.spec.bias, features: scratch.features.len() as u32, known }
    }

    /// The calibrated probability that one sentence is a threat.
    #[must_use]
    pub fn probability(&self, sentence: &str, scratch: &mut Scratch) -> f64 {
        self.spec.calibration.probability(self.score(sentence, scratch).logit)
    }

    /// Judges a comment.
    ///
    /// A comment is as threatening as its most threatening sentence: one threat among ten friendly sentences is a
    /// threat, and the labels of a comment's sentences are combined in the same way when a model is evaluated.
    #[must_use]
    pub fn judge(&self, comment: &str) -> Verdict {
        let mut scratch = Scratch::default();
        let (mut features, mut known) = (0, 0);
        let mut judge = |bytes: std::ops::Range<usize>| {
            let score = self.score(&comment[bytes.clone()], &mut scratch);
            features += score.features;
            known += score.known;
            SentenceVerdict { bytes, probability: self.spec.calibration.probability(score.logit) }
        };
        let sentences: Vec<SentenceVerdict> = text::sentences(comment).into_iter().map(&mut judge).collect();
        let most = sentences.iter().map(|s| s.probability).reduce(f64::max);
        let probability = most.unwrap_or_else(|| judge(0..0).probability);
        let unknown_share = if features == 0 { 0.0 } else { 1.0 - f64::from(known) / f64::from(features) };
        let threshold = self.threshold();
        Verdict { probability, is_threat: probability >= threshold, threshold, sentences, unknown_share }
    }
}

/// Weights by key: one sorted array, found through an index of the keys' leading bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    keys: Vec<u64>,
    weights: Vec<i64>,
    /// `starts[b]..starts[b + 1]` are the keys whose leading bits are `b`.
    starts: Vec<u32>,
    shift: u32,
}

impl Table {
    /// A table of ascending keys and their weights, in 1 / [`UNITS`].
    pub fn new(keys: Vec<u64>, weights: Vec<i64>) -> Result<Self, Invalid> {
        if keys.len() != weights.len() || keys.len() >= u32::MAX as usize {
            return Err(Invalid::OutOfRange("table length"));
        }
        if !keys.is_sorted_by(|a, b| a < b) {
            return Err(Invalid::Unsorted);
        }
        // A weight past 2^20 is no log-odds; it also keeps the sum of any sentence far from overflow.
        if weights.iter().any(|w| w.unsigned_abs() > 1 << 60) {
            return Err(Invalid::OutOfRange("weight"));
        }
        // About one key in two buckets: most lookups read one cache line of keys.
        let bits = (usize::BITS - keys.len().leading_zeros() + 1).clamp(4, 26);
        let shift = 64 - bits;
        let mut starts = vec![0_u32; (1 << bits) + 1];
        for key in &keys {
            starts[(key >> shift) as usize + 1] += 1;
        }
        for b in 1..starts.len() {
            starts[b] += starts[b - 1];
        }
        Ok(Self { keys, weights, starts, shift })
    }

    /// From log-odds to whole units.
    #[must_use]
    pub fn quantise(weight: f64) -> i64 {
        (weight * UNITS).round() as i64
    }

    /// The weight of a key.
    #[inline]
    #[must_use]
    pub fn get(&self, key: u64) -> Option<i64> {
        let bucket = (key >> self.shift) as usize;
        let (from, to) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        let at = self.keys[from..to].iter().position(|&k| k == key)?;
        Some(self.weights[from + at])
    }

    /// Ascending keys.
    #[must_use]
    pub fn keys(&self) -> &[u64] {
        &self.keys
    }

    /// The keys' weights, in 1 / [`UNITS`].
    #[must_use]
    pub fn weights(&self) -> &[i64] {
        &self.weights
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::WordRule;

    fn spec() -> Spec {
        Spec {
            trainer: "multinomial_nb".into(),
            parameters: serde_json::Value::Null,
            features: FeatureSet::new(WordRule::Word, &["unigrams"]),
            bias: -1.0,
            length_exponent: 0.0,
            calibration: Platt::IDENTITY,
            operating_points: vec![OperatingPoint { name: "even_odds".into(), threshold: 0.5 }],
        }
    }

    #[test]
    fn a_model_that_could_not_score_is_refused() {
        let table = || Table::new(vec![1, 2], vec![0, 0]).unwrap();
        assert!(Model::new(spec(), table()).is_ok());
        assert!(matches!(Model::new(Spec { bias: f64::NAN, ..spec() }, table()), Err(Invalid::OutOfRange("bias"))));
        assert!(Model::new(Spec { operating_points: vec![], ..spec() }, table()).is_err());
        assert_eq!(Table::new(vec![2, 1], vec![0, 0]), Err(Invalid::Unsorted));
        assert_eq!(Table::new(vec![1, 1], vec![0, 0]), Err(Invalid::Unsorted));
        assert_eq!(Table::new(vec![1], vec![i64::MIN]), Err(Invalid::OutOfRange("weight")));
    }

    #[test]
    fn a_comment_is_as_threatening_as_its_worst_sentence() {
        let mut scratch = Scratch::default();
        let features = spec().features.analyser().unwrap();
        features.analyse("kill", &mut scratch);
        let table = Table::new(vec![scratch.features[0].key], vec![Table::quantise(4.0)]).unwrap();
        let model = Model::new(spec(), table).unwrap();
        let verdict = model.judge("What a nice day. I kill you. Bye.");
        assert_eq!(verdict.sentences.len(), 3);
        assert_eq!(verdict.probability, Platt::IDENTITY.probability(3.0));
        assert!(verdict.is_threat && verdict.unknown_share > 0.5);
        assert!(!model.judge("").is_threat);
    }

    proptest! {
        #[test]
        fn a_lookup_finds_what_is_there_and_nothing_else(
            pairs in proptest::collection::btree_map(any::<u64>(), -1000_i64..1000, 0..200),
            probe in any::<u64>(),
        ) {
            let table = Table::new(pairs.keys().copied().collect(), pairs.values().copied().collect()).unwrap();
            for (key, weight) in &pairs {
                prop_assert_eq!(table.get(*key), Some(*weight));
            }
            prop_assert_eq!(table.get(probe), pairs.get(&probe).copied());
        }
    }
}
