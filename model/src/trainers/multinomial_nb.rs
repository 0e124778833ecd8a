//! Multinomial naive Bayes, fitted by smartcore on two rows of class sums.
//!
//! A multinomial likelihood depends on the rows only through the totals of each feature by class. Fitting the two-row
//! matrix of sums therefore gives the same `feature_log_prob` as fitting all rows, in a fraction of the memory.
//!
//! The default preset replaces the uniform prior by a background prior: `mu` pseudo-words, distributed over the
//! features as in the whole corpus. With a uniform prior, a word that occurs once, in the larger class, votes for the
//! smaller one.

use serde::Serialize;
use smartcore::{
    linalg::basic::{arrays::Array2, matrix::DenseMatrix},
    naive_bayes::multinomial::{MultinomialNB, MultinomialNBParameters},
};

use super::{AdditiveLearner, Error, Fitted, Learner, Preset, Trainer};
use crate::{
    Row,
    counts::{Counts, FeatureCount},
    features::FeatureSet,
    linear::{Component, Normalisation, table::Table},
    text::WordRule,
};

pub(super) struct MultinomialNb;

/// All parameters of the fit; they are stored with the model.
#[derive(Clone, Debug, Serialize)]
struct Parameters {
    features: FeatureSet,
    /// Features of fewer sentences are left out.
    min_sentences: u32,
    prior: Prior,
    /// See [`Normalisation::Length`].
    length_exponent: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Prior {
    /// `alpha` pseudo-occurrences of every feature (Laplace, Lidstone).
    Uniform { alpha: f64 },
    /// `mu` pseudo-occurrences in total, distributed as in the whole corpus.
    ///
    /// This is Dirichlet smoothing: Zhai and Lafferty, "A study of smoothing methods for language models", ACM TOIS 22,
    /// 2004.
    Background { mu: f64 },
}

impl Parameters {
    fn of(preset: Preset) -> Self {
        match preset {
            Preset::Default => Self {
                features: FeatureSet::new(WordRule::Word, &["unigrams", "bigrams", "edges"]),
                min_sentences: 3,
                prior: Prior::Background { mu: 80_000.0 },
                length_exponent: 0.25,
            },
            Preset::Sklearn => Self {
                features: FeatureSet::new(WordRule::TwoOrMore, &["unigrams"]),
                min_sentences: 1,
                prior: Prior::Uniform { alpha: 1.0 },
                length_exponent: 0.0,
            },
        }
    }
}

impl Trainer for MultinomialNb {
    fn name(&self) -> &'static str {
        "multinomial_nb"
    }

    fn summary(&self) -> &'static str {
        "multinomial naive Bayes on words, word pairs and sentence edges"
    }

    fn learners(&self) -> &'static [&'static dyn Learner] {
        &[&NaiveBayes]
    }
}

/// The learner.
pub(super) struct NaiveBayes;

impl Learner for NaiveBayes {
    fn fit(&self, rows: &[&Row], preset: Preset) -> Result<Fitted, Error> {
        self.fit_counted(rows, preset)
    }

    fn as_additive(&self) -> Option<&dyn AdditiveLearner> {
        Some(self)
    }
}

impl AdditiveLearner for NaiveBayes {
    fn features(&self, preset: Preset) -> FeatureSet {
        Parameters::of(preset).features
    }

    fn fit_counts(&self, counts: &Counts, preset: Preset) -> Result<Fitted, Error> {
        fit_counts(counts, Parameters::of(preset))
    }
}

fn fit_counts(counts: &Counts, parameters: Parameters) -> Result<Fitted, Error> {
    let [others, threats] = counts.sentences;
    if others == 0 || threats == 0 {
        return Err(Error::Empty("threats and other sentences are both needed"));
    }
    let features = counts.frequent(parameters.min_sentences);
    if features.is_empty() {
        return Err(Error::Empty("no word occurs in enough sentences"));
    }
    let weights = log_odds(&features, parameters.prior)?.into_iter().map(Table::quantise).collect();
    let table = Table::new(features.iter().map(|&(key, _)| key).collect(), 1, weights)?;
    let component = Component {
        learner: "multinomial_nb".to_owned(),
        parameters: serde_json::to_value(&parameters).expect("parameters are plain data"),
        bias: (threats as f64 / others as f64).ln(),
        normalisation: Normalisation::Length { exponent: parameters.length_exponent },
        weight: 1.0,
    };
    Ok(Fitted { component, features: parameters.features, table })
}

/// Each feature's log-odds of a threat.
fn log_odds(features: &[(u64, FeatureCount)], prior: Prior) -> Result<Vec<f64>, Error> {
    let occurrences = |class: usize| features.iter().map(move |(_, count)| u64::from(count.occurrences[class]));
    let (sums, alpha): ([Vec<u64>; 2], f64) = match prior {
        Prior::Uniform { alpha } => ([0, 1].map(|class| occurrences(class).collect()), alpha),
        // smartcore has one prior for all features. Pseudo-occurrences that differ by feature are therefore added to
        // the counts, in units of 2^-20 so that they are whole numbers, and alpha is 0.
        Prior::Background { mu } => {
            const SCALE: f64 = (1_u64 << 20) as f64;
            let total: u64 = features.iter().map(|(_, count)| count.total()).sum();
            let pooled = |count: &FeatureCount| count.total() as f64 / total as f64;
            let with_prior = |class: usize| {
                let smoothed = |count: &FeatureCount| f64::from(count.occurrences[class]) + mu * pooled(count);
                features.iter().map(|(_, count)| (smoothed(count) * SCALE).round() as u64).collect()
            };
            ([0, 1].map(with_prior), 0.0)
        }
    };
    let [others, threats] = feature_log_prob(&sums, alpha)?;
    Ok(threats.iter().zip(&others).map(|(threat, other)| threat - other).collect())
}

/// smartcore's fit on one row per class.
fn feature_log_prob(sums: &[Vec<u64>; 2], alpha: f64) -> Result<[Vec<f64>; 2], Error> {
    let width = sums[0].len();
    let x = DenseMatrix::from_iterator(sums.iter().flatten().copied(), 2, width, 0);
    let y: Vec<u32> = vec![0, 1];
    // The bias of the model contains the class priors. From two rows, the library would set them to one half each.
    let settings = MultinomialNBParameters::default().with_alpha(alpha).with_priors(vec![0.5, 0.5]);
    let fitted: MultinomialNB<u64, u32, DenseMatrix<u64>, Vec<u32>> =
        MultinomialNB::fit(&x, &y, settings).map_err(Error::Fit)?;
    let mut by_class = fitted.feature_log_prob().iter().cloned();
    match (by_class.next(), by_class.next()) {
        (Some(others), Some(threats)) => Ok([others, threats]),
        _ => Err(Error::Empty("the fit has no two classes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{corpus, counts::Counter, features::Scratch, linear, text, trainers};

    /// The reference: smartcore fitted on every row of a dense matrix, with words as text.
    #[test]
    fn class_sums_fit_as_the_whole_matrix_does() {
        let rows: Vec<Row> = corpus::sample().rows.into_iter().take(200).collect();
        let words = |row: &Row| -> Vec<String> {
            let mut found = Vec::new();
            text::words(&row.text, WordRule::TwoOrMore, &mut found);
            found.iter().map(|w| row.text[w.start as usize..w.end as usize].to_lowercase()).collect()
        };
        let vocabulary: std::collections::BTreeSet<String> = rows.iter().flat_map(words).collect();
        let vocabulary: Vec<String> = vocabulary.into_iter().collect();
        let matrix: Vec<Vec<u64>> = rows
            .iter()
            .map(|row| {
                let mut counts = vec![0; vocabulary.len()];
                for word in words(row) {
                    counts[vocabulary.binary_search(&word).unwrap()] += 1;
                }
                counts
            })
            .collect();
        let x = DenseMatrix::from_2d_vec(&matrix).unwrap();
        let y: Vec<u32> = rows.iter().map(|row| u32::from(row.is_threat())).collect();
        let full = MultinomialNB::fit(&x, &y, MultinomialNBParameters::default()).unwrap();

        let model = trainers::fit(&MultinomialNb, &rows, Preset::Sklearn).unwrap();
        let mut scratch = linear::Scratch::default();
        for (row, counts) in rows.iter().zip(&matrix) {
            let prob = full.feature_log_prob();
            let log_odds: f64 = counts.iter().enumerate().map(|(w, &n)| n as f64 * (prob[1][w] - prob[0][w])).sum();
            let score = model.score(&row.text, &mut scratch).logit - model.spec().components[0].bias;
            assert!((score - log_odds).abs() < 1e-9, "{score} {log_odds}");
        }
    }

    #[test]
    fn a_word_seen_once_votes_for_neither_class_under_the_background_prior() {
        let row = |label, text: &str| Row { comment: 0, commenter: "a".into(), label, text: text.into() };
        let mut rows: Vec<Row> = (0..50).map(|_| row(0, "nice day today")).collect();
        rows.extend((0..5).map(|_| row(1, "i kill you")));
        rows.push(row(0, "rareword"));
        let vote = |prior| {
            let parameters =
                Parameters { min_sentences: 1, prior, length_exponent: 0.0, ..Parameters::of(Preset::Sklearn) };
            let (mut counter, mut scratch) = (Counter::default(), Scratch::default());
            let analyser = parameters.features.analyser().unwrap();
            for row in &rows {
                counter.add(&analyser, &row.text, row.is_threat(), &mut scratch);
            }
            let model =
                trainers::assemble("test", vec![fit_counts(&counter.finish(), parameters).unwrap()], &[1.0], 0.0)
                    .unwrap();
            model.score("rareword", &mut linear::Scratch::default()).logit - model.spec().components[0].bias
        };
        assert!(vote(Prior::Uniform { alpha: 1.0 }) > 0.5);
        assert!(vote(Prior::Background { mu: 1000.0 }).abs() < 0.2);
    }

    #[test]
    fn one_class_alone_is_refused() {
        let rows = vec![Row { comment: 0, commenter: "a".into(), label: 0, text: "nice day".into() }];
        assert!(matches!(trainers::fit(&MultinomialNb, &rows, Preset::Sklearn), Err(Error::Empty(_))));
    }
}
