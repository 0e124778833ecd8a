//! Scores sentences and judges comments.

use super::{
    Cascade, Component, Context, JudgedBy, Model, Normalisation, Scratch, UNITS, scratch::with_room, with_scratch,
};
use crate::{calibration::Band, text};

/// The score of one sentence, judged alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Log-odds before context and calibration, in whole units.
    pub logit: f64,
    /// The number of features of the sentence.
    pub features: u32,
    /// The number of features that the model knows.
    pub known: u32,
}

/// The model's verdict on a comment.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The probability that the comment contains a threat: the highest of its sentences.
    pub probability: f64,
    /// Whether the probability reaches the threshold.
    pub is_threat: bool,
    /// The threshold of the deciding operating point.
    pub threshold: f64,
    /// The band for human review.
    pub band: Band,
    /// The verdict on each sentence, in order.
    pub sentences: Vec<SentenceVerdict>,
    /// The share of the comment's features that are unknown, from 0 to 1.
    pub unknown_share: f64,
    /// [`JudgedBy::Encoder`] if the encoder judged any of its sentences.
    pub judged_by: JudgedBy,
}

/// The fast part's reading of a comment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The bytes of each sentence, in order.
    pub places: Vec<std::ops::Range<usize>>,
    /// The score of each sentence alone.
    pub scores: Vec<Score>,
    /// The probability of each sentence in context.
    pub fast: Vec<f64>,
    /// The indices of the sentences for the encoder.
    pub passed: Vec<usize>,
}

/// The model's verdict on a sentence of a comment.
#[derive(Clone, Debug, PartialEq)]
pub struct SentenceVerdict {
    /// Its bytes in the comment.
    pub bytes: std::ops::Range<usize>,
    /// Probability that it is a threat.
    pub probability: f64,
    /// The part of the model that judged it.
    pub judged_by: JudgedBy,
}

impl Reading {
    /// Limits the sentences for the encoder to those with the highest fast probabilities.
    pub fn keep_most_suspicious(&mut self, most: usize) {
        if self.passed.len() > most {
            let fast = &self.fast;
            self.passed.sort_by(|&a, &b| fast[b].total_cmp(&fast[a]));
            self.passed.truncate(most);
            self.passed.sort_unstable();
        }
    }
}

impl Model {
    /// Scores one sentence.
    #[must_use]
    pub fn score(&self, sentence: &str, scratch: &mut Scratch) -> Score {
        // A single naive Bayes needs no counts of features and no cache: it has only words.
        if let [Component { normalisation: Normalisation::Length { .. }, .. }] = self.spec.components[..] {
            return self.score_at_once(sentence, scratch);
        }
        self.score_by_run(sentence, &mut scratch.analysed.words, &mut scratch.by_run)
    }

    /// The score from all features of the sentence.
    fn score_at_once(&self, sentence: &str, Scratch { analysed, look_up, places, .. }: &mut Scratch) -> Score {
        analysed.words.clear();
        self.analyser.add_words(sentence, 0..sentence.len(), &mut analysed.words);
        look_up.keys.clear();
        for are_of_runs in [true, false] {
            self.analyser.add_keys(are_of_runs, sentence, &analysed.words, &mut look_up.keys);
        }
        self.places.find_all(look_up, places);
        let parts = self.columns.iter().zip(&self.spec.components).map(|(column, component)| {
            component.weight * (column.sum(places).part(component.normalisation).score + component.bias)
        });
        let logit = quantised(parts.fold(self.spec.intercept, |sum, part| sum + part));
        Score { logit, features: look_up.keys.len() as u32, known: places.len() as u32 }
    }

    /// Looks up the analysed features: the sentence's rows and their counts.
    pub(crate) fn count_rows(&self, scratch: &mut Scratch) {
        scratch.counts.resize(self.table.len(), 0);
        for feature in &scratch.analysed.features {
            if let Some(row) = self.place(feature.key) {
                let count = &mut scratch.counts[row];
                if *count == 0 {
                    scratch.rows.push(row as u32);
                }
                *count = count.saturating_add(1);
            }
        }
    }

    /// The calibrated probability that one sentence is a threat, judged alone.
    #[must_use]
    pub fn probability(&self, sentence: &str, scratch: &mut Scratch) -> f64 {
        let own = self.score(sentence, scratch).logit;
        self.spec.calibration.probability(self.spec.context.map_or(own, |context| context.combine(own, None, None)))
    }

    /// The scores of a comment's sentences in context, from their own scores.
    #[must_use]
    pub fn in_context(&self, own: &[f64]) -> Vec<f64> {
        match self.spec.context {
            None => own.to_vec(),
            Some(context) => apply_context(&context, own),
        }
    }

    /// Judges a comment on the calling thread, with the encoder if there is one.
    ///
    /// The most threatening sentence decides: one threat among ten friendly sentences makes the comment a threat. An
    /// evaluation combines the labels of a comment's sentences in the same way.
    ///
    /// ```
    /// use model::{corpus, experiment, trainers};
    ///
    /// let trainer = trainers::find("multinomial_nb")?;
    /// let model = experiment::train(trainer, &corpus::sample().rows, &Default::default(), &|_, _| {})?.model;
    /// let verdict = model.judge("Nice song. I will kill you.");
    /// assert!(verdict.is_threat);
    /// assert_eq!(verdict.probability, verdict.sentences[1].probability);
    /// assert!(verdict.sentences[0].probability < verdict.sentences[1].probability);
    /// # Ok::<(), trainers::Error>(())
    /// ```
    #[must_use]
    pub fn judge(&self, comment: &str) -> Verdict {
        let reading = self.read(comment);
        let by_encoder = self.cascade().map(|(_, encoder)| {
            let texts = reading.passed.iter().map(|&i| &comment[reading.places[i].clone()]);
            with_room(|room| encoder.score_texts(texts, room))
        });
        self.conclude(reading, by_encoder.as_deref())
    }

    /// Judges a comment by the fast part, and selects the sentences for the encoder.
    #[must_use]
    pub fn read(&self, comment: &str) -> Reading {
        let mut places = text::sentences(comment);
        if places.is_empty() {
            places.push(0..0);
        }
        let of_each = |scratch: &mut Scratch| -> Vec<Score> {
            places.iter().map(|place| self.score(&comment[place.clone()], scratch)).collect()
        };
        let scores = with_scratch(of_each);
        let own: Vec<f64> = scores.iter().map(|score| score.logit).collect();
        let fast = self.fast_probabilities(&own);
        let passed = self.passed(&fast);
        Reading { places, scores, fast, passed }
    }

    /// The fast part's probabilities of a comment's sentences, from their own scores.
    #[must_use]
    pub fn fast_probabilities(&self, own: &[f64]) -> Vec<f64> {
        self.in_context(own).into_iter().map(|s| self.spec.calibration.probability(s)).collect()
    }

    /// The indices of the sentences for the encoder, from their fast probabilities.
    #[must_use]
    pub fn passed(&self, fast: &[f64]) -> Vec<usize> {
        let Some(cascade) = &self.spec.cascade else { return Vec::new() };
        (0..fast.len()).filter(|&i| fast[i] >= cascade.pass_from).collect()
    }

    /// The probabilities of a comment's sentences, from their own and the encoder's scores.
    #[must_use]
    pub fn probabilities(&self, own: &[f64], passed: &[usize], by_encoder: &[f32]) -> Vec<f64> {
        match &self.spec.cascade {
            Some(cascade) => cascade_probabilities(cascade, own, passed, by_encoder),
            None => self.fast_probabilities(own),
        }
    }

    /// The verdict on a comment; without the encoder's scores, that of the fast part.
    #[must_use]
    pub fn conclude(&self, reading: Reading, by_encoder: Option<&[f32]>) -> Verdict {
        let Reading { places, scores, fast, passed } = reading;
        let (probabilities, points, passed) = match (&self.spec.cascade, by_encoder) {
            (Some(cascade), Some(by_encoder)) => {
                let own: Vec<f64> = scores.iter().map(|score| score.logit).collect();
                let probabilities = cascade_probabilities(cascade, &own, &passed, by_encoder);
                (probabilities, &cascade.operating_points, passed)
            }
            _ => (fast, &self.spec.operating_points, Vec::new()),
        };
        let judged_by = |i: usize| if passed.contains(&i) { JudgedBy::Encoder } else { JudgedBy::Fast };
        let sentences: Vec<SentenceVerdict> = places
            .into_iter()
            .zip(probabilities)
            .enumerate()
            .map(|(i, (bytes, probability))| SentenceVerdict { bytes, probability, judged_by: judged_by(i) })
            .collect();
        let probability = sentences.iter().map(|s| s.probability).fold(0.0, f64::max);
        let (features, known) = scores.iter().fold((0, 0), |(f, k), score| (f + score.features, k + score.known));
        let (threshold, band) = (points[0].threshold, Band::of(points));
        let judged_by = if passed.is_empty() { JudgedBy::Fast } else { JudgedBy::Encoder };
        let is_threat = probability >= threshold;
        let unknown_share = unknown_share(features, known);
        Verdict { probability, is_threat, threshold, band, sentences, unknown_share, judged_by }
    }
}

/// The share of features that the model does not know, from 0 to 1.
fn unknown_share(features: u32, known: u32) -> f64 {
    if features == 0 { 0.0 } else { 1.0 - f64::from(known) / f64::from(features) }
}

/// The cascade's probabilities of a comment's sentences, from their own and the encoder's scores.
fn cascade_probabilities(cascade: &Cascade, own: &[f64], passed: &[usize], by_encoder: &[f32]) -> Vec<f64> {
    let mut encoder = vec![None; own.len()];
    for (&i, &score) in passed.iter().zip(by_encoder) {
        encoder[i] = Some(f64::from(score));
    }
    let combined: Vec<f64> = own.iter().zip(encoder).map(|(&own, encoder)| cascade.combine(own, encoder)).collect();
    let scores = apply_context(&cascade.context, &combined).into_iter();
    scores.map(|score| cascade.calibration.probability(score)).collect()
}

/// Combines each score with its neighbours in the slice.
#[must_use]
pub fn apply_context(context: &Context, own: &[f64]) -> Vec<f64> {
    let at = |i: usize| own.get(i).copied();
    (0..own.len()).map(|i| context.combine(own[i], i.checked_sub(1).and_then(at), at(i + 1))).collect()
}

/// Rounds to the nearest whole unit.
pub(crate) fn quantised(score: f64) -> f64 {
    (score * UNITS).round() / UNITS
}
