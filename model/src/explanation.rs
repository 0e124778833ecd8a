//! The contribution of each token to a sentence's score, exact to the last bit.
//!
//! Scores are whole units (see [`UNITS`]), so the contributions can add up exactly: each one is rounded down, and the
//! remaining units are distributed one by one, from the first token on.
//!
//! - **In**: a model and a sentence.
//! - **Out**: an [`Explanation`]: the bias, and the contribution of each token, in log-odds.
//! - **Callers**: the service, for `/predict` with `explain`.

use std::ops::Range;

use crate::{
    Model,
    features::Feature,
    linear::{Normalisation, Score, Scratch, UNITS, term_frequency},
};

/// A sentence's score and its parts.
///
/// `bias` and the contributions of the tokens add up to `score.logit` exactly, in any order.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The explained score.
    pub score: Score,
    /// The log-odds of an empty sentence.
    pub bias: f64,
    /// Each run of characters without white space, in order.
    pub tokens: Vec<Token>,
}

/// A run of characters without white space.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its bytes in the sentence.
    pub bytes: Range<usize>,
    /// Its contribution to the score in log-odds; a negative one speaks against a threat.
    pub contribution: f64,
}

impl Model {
    /// Explains the score of one sentence.
    ///
    /// ```
    /// use model::{corpus, experiment, linear::Scratch, trainers};
    ///
    /// let trainer = trainers::find("multinomial_nb")?;
    /// let model = experiment::train(trainer, &corpus::sample().rows, &Default::default(), &|_, _| {})?.model;
    /// let sentence = "Lovely weather, but I will kill you";
    /// let explained = model.explain(sentence, &mut Scratch::default());
    /// let sum = explained.tokens.iter().fold(explained.bias, |sum, token| sum + token.contribution);
    /// assert_eq!(sum, explained.score.logit);
    /// let kill = explained.tokens.iter().find(|token| &sentence[token.bytes.clone()] == "kill");
    /// assert!(kill.is_some_and(|token| token.contribution > 0.0));
    /// # Ok::<(), trainers::Error>(())
    /// ```
    #[must_use]
    pub fn explain(&self, sentence: &str, scratch: &mut Scratch) -> Explanation {
        let score = self.score(sentence, scratch);
        let places = tokens(sentence);
        self.analyser().analyse(sentence, &mut scratch.analysed);
        self.count_rows(scratch);
        let mut parts = vec![0.0; places.len()];
        let mut bias = self.spec().intercept;
        for (component, column) in self.spec().components.iter().zip(self.columns().iter()) {
            let part = column.part(component.normalisation, &scratch.rows, &scratch.counts);
            bias += component.weight * component.bias;
            for feature in &scratch.analysed.features {
                let Some(row) = self.place(feature.key) else { continue };
                let Some(weight) = column.weight(row) else { continue };
                let count = scratch.counts[row];
                // A feature that occurs twice counts less than double; each occurrence gets an equal share.
                let frequency = match component.normalisation {
                    Normalisation::Length { .. } => 1.0,
                    Normalisation::TfIdf => term_frequency(u32::from(count)) / f64::from(count),
                };
                let value = component.weight * frequency * weight * part.scale;
                share_out(value, feature, &places, &mut parts);
            }
        }
        scratch.clear_counts();
        let (bias, contributions) = exact(score.logit, bias, &parts);
        let tokens = places.into_iter().zip(contributions);
        Explanation { score, bias, tokens: tokens.map(|(bytes, contribution)| Token { bytes, contribution }).collect() }
    }
}

/// The byte ranges of the runs without white space.
///
/// Every feature lies in one run or spans several.
#[must_use]
pub fn tokens(sentence: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, c) in sentence.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        match found.last_mut() {
            Some(last) if last.end == at => last.end = at + c.len_utf8(),
            _ => found.push(at..at + c.len_utf8()),
        }
    }
    found
}

/// Distributes a feature's value equally over the tokens that it spans.
fn share_out(value: f64, feature: &Feature, places: &[Range<usize>], parts: &mut [f64]) {
    let (start, end) = (feature.start as usize, feature.end as usize);
    let first = places.partition_point(|place| place.end <= start);
    let beyond = places.partition_point(|place| place.start < end).max(first + 1).min(places.len());
    let Some(share) = parts.get_mut(first..beyond) else { return };
    let each = value / share.len().max(1) as f64;
    for part in share {
        *part += each;
    }
}

/// Makes whole units that add up to `total`.
///
/// The parts are rounded down; then the remaining units are distributed one by one.
fn exact(total: f64, bias: f64, parts: &[f64]) -> (f64, Vec<f64>) {
    // Wide enough for the sums of every model that can be decoded, even with absurd numbers.
    let units = |x: f64| (x * UNITS).floor() as i128;
    let real = |units: i128| units as f64 / UNITS;
    let total = units(total);
    if parts.is_empty() {
        return (real(total), Vec::new());
    }
    let bias = units(bias);
    let mut shares: Vec<i128> = parts.iter().map(|&part| units(part)).collect();
    let left = shares.iter().fold(total.saturating_sub(bias), |left, &share| left.saturating_sub(share));
    let n = shares.len() as i128;
    for (i, share) in (0..).zip(&mut shares) {
        *share = share.saturating_add(left.div_euclid(n) + i128::from(i < left.rem_euclid(n)));
    }
    (real(bias), shares.into_iter().map(real).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{corpus, experiment, trainers};

    fn models() -> &'static [Model] {
        static MODELS: std::sync::OnceLock<Vec<Model>> = std::sync::OnceLock::new();
        MODELS.get_or_init(|| {
            let train = |trainer: &&dyn trainers::Trainer| {
                experiment::train_small(*trainer, &experiment::Config::default()).model
            };
            trainers::TRAINERS.iter().map(train).collect()
        })
    }

    /// The score by its definition: looks up, counts and weighs every feature.
    fn plainly(model: &Model, text: &str, scratch: &mut Scratch) -> f64 {
        model.analyser().analyse(text, &mut scratch.analysed);
        model.count_rows(scratch);
        let parts = model.spec().components.iter().zip(model.columns().iter()).map(|(component, column)| {
            let part = column.part(component.normalisation, &scratch.rows, &scratch.counts);
            component.weight * (part.score + component.bias)
        });
        let score = model.spec().intercept + parts.sum::<f64>();
        scratch.clear_counts();
        score
    }

    #[test]
    fn a_word_said_a_thousand_times_counts_like_one_said_as_often_as_is_told_apart() {
        for times in [1, 2, 254, 255, 256, 1000] {
            check(&"kill you haha ".repeat(times)).unwrap();
        }
    }

    fn check(text: &str) -> Result<(), TestCaseError> {
        let mut scratch = Scratch::default();
        for model in models() {
            let explained = model.explain(text, &mut scratch);
            prop_assert_eq!(explained.score, model.score(text, &mut scratch));
            let plain = plainly(model, text, &mut scratch);
            prop_assert!((explained.score.logit - plain).abs() < 1e-8, "{} {}", explained.score.logit, plain);
            let sum = explained.tokens.iter().map(|t| t.contribution).fold(explained.bias, |a, b| a + b);
            prop_assert_eq!(sum.to_bits(), explained.score.logit.to_bits(), "{} {}", sum, explained.score.logit);
            let back = explained.tokens.iter().rev().map(|t| t.contribution).fold(0.0, |a, b| a + b) + explained.bias;
            prop_assert_eq!(back, explained.score.logit);
            let seen: String = explained.tokens.iter().map(|t| &text[t.bytes.clone()]).collect();
            let visible: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            prop_assert_eq!(seen, visible);
        }
        Ok(())
    }

    #[test]
    fn the_words_of_a_threat_are_what_speaks_for_it() {
        let mut scratch = Scratch::default();
        for model in models() {
            let text = "Lovely weather today, but I will kill you";
            let explained = model.explain(text, &mut scratch);
            let most = explained.tokens.iter().max_by(|a, b| a.contribution.total_cmp(&b.contribution)).unwrap();
            let word = &text[most.bytes.clone()];
            assert!(["kill", "will", "you", "I"].contains(&word), "{}: {word}", model.spec().trainer);
        }
    }

    #[test]
    fn every_sentence_of_the_sample_is_explained_exactly() {
        for row in corpus::sample().rows {
            check(&row.text).unwrap();
        }
    }

    proptest! {
        #[test]
        fn contributions_add_up_to_the_last_bit_for_any_text(text in any::<String>()) {
            check(&text)?;
        }

        #[test]
        fn and_for_texts_of_known_words(words in proptest::collection::vec("[a-z]{1,3}|kill|you|I|will|KILL!|\u{1F600}|\u{5d0}\u{5d1}", 0..60)) {
            check(&words.join(" "))?;
        }
    }
}
