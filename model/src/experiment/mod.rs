//! Trains, calibrates and evaluates on rows in memory: the pipeline without a server.
//!
//! Some parameters are learned from scores: the learners' weights, the context of neighbouring sentences, calibration
//! and thresholds. They are learned only from scores of rows that the learners had not seen. The cross-validated
//! probability of a row uses no parameter that was learned with the row's own fold. The threshold is the exception: it
//! is chosen on all rows, as it is for the model.
//!
//! - **In**: rows, optionally counts by fold, a trainer and a [`Config`].
//! - **Out**: [`Trained`]: a finished model and its cross-validated figures; [`evaluate`] judges held-out rows.
//! - **Callers**: activities, the command `experiment`, benchmarks; the gate, for probabilities of rows.

mod cascade;
mod encoder;
mod logistic;
pub(crate) mod parallel;
mod second_stage;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use self::encoder::{EncoderFits, encoder_scores, encoder_training, fit_encoder};
use self::{
    cascade::{Both, Learned},
    second_stage::{SecondStage, Unseen},
};
use crate::{
    Row,
    calibration::Operation,
    corpus::split,
    counts::CountsByFold,
    evaluation::{Scores, drift::Reference},
    linear::{Model, Scratch},
    trainers::{self, Fitted, Learner, Preset, Trainer, Voice},
};

/// The settings of a training run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The trainer's parameters.
    pub preset: Preset,
    /// The seed that breaks ties between commenters when folds are made.
    pub seed: u64,
    /// The number of folds for cross-validation by commenter.
    pub folds: usize,
    /// The intended use, which determines the thresholds.
    pub operation: Operation,
    /// How many fits run in parallel; this never changes a result.
    pub threads: usize,
}

/// The default seed.
pub const DEFAULT_SEED: u64 = 42;

/// The default number of folds for cross-validation.
pub const FOLDS: usize = 5;

impl Default for Config {
    fn default() -> Self {
        Self {
            preset: Preset::Default,
            seed: DEFAULT_SEED,
            folds: FOLDS,
            operation: Operation::default(),
            threads: parallel::available(),
        }
    }
}

/// A trained model and its cross-validated figures.
#[derive(Debug)]
pub struct Trained {
    /// The model, trained on all rows.
    pub model: Model,
    /// The figures of all rows, judged by models that had not seen their commenters.
    pub cross_validation: Scores,
    /// The probabilities behind these figures, by row.
    pub unseen: Vec<f64>,
    /// For a model with an encoder: the figures if the encoder scored every sentence.
    pub everywhere: Option<Scores>,
}

/// Trains on counts of a whole corpus and on a sample of its training rows.
///
/// Additive learners use the counts; the others use the sample. The second stage, calibration and operating points come
/// from cross-validation on the sample. `counts` must have `config.folds` folds that were made with `config.seed`.
pub fn train_counted(
    trainer: &dyn Trainer,
    sample: &[Row],
    counts: &[CountsByFold],
    encoder: Option<EncoderFits>,
    config: &Config,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Trained, trainers::Error> {
    let folds = config.folds.max(2);
    let assigned = folds_of_sample(sample, config)?;
    if counts.iter().any(|counts| counts.folds() != folds) {
        return Err(trainers::Error::Empty("the counts have another number of folds"));
    }
    let is_counted = |features| counts.iter().any(|counts| counts.features == features);
    if !trainers::features_to_count(&[trainer], config.preset).into_iter().all(is_counted) {
        return Err(trainers::Error::Empty("the counts lack the features of a learner"));
    }
    let fits = Fits { trainer, rows: sample, assigned: &assigned, folds, counts };
    fits.finish(config, encoder, progress)
}

/// The fold of each row of a sample, by its commenter's name alone.
pub fn folds_of_sample(sample: &[Row], config: &Config) -> Result<Vec<usize>, trainers::Error> {
    let place = |row: &Row| split::place(config.seed, &row.commenter, config.folds.max(2));
    let assigned: Option<Vec<usize>> = sample.iter().map(place).collect();
    assigned.ok_or(trainers::Error::Empty("a held-out commenter is in the sample"))
}

/// The fold of each row of a whole corpus.
#[must_use]
pub fn folds_of_all(rows: &[Row], config: &Config) -> Vec<usize> {
    split::folds(config.seed, rows, config.folds.max(2))
}

/// Trains a model on rows in memory, and cross-validates it by commenter.
///
/// The learners are fitted on all rows. The second stage, calibration and operating points come from cross-validation.
/// `progress` is called from any thread with the numbers of finished and of all fits. Blocks until all are finished.
///
/// ```
/// use model::{corpus::{sample, split}, experiment, trainers};
///
/// let config = experiment::Config::default();
/// let (rows, held_out) = split::held_out(config.seed, sample().rows);
/// let trained = experiment::train(trainers::find("multinomial_nb")?, &rows, &config, &|_, _| {})?;
/// assert_eq!(trained.unseen.len(), rows.len());
/// assert!(trained.cross_validation.sentence.roc_auc > 0.8);
/// assert!(experiment::evaluate(&trained.model, &held_out).sentence.roc_auc > 0.8);
/// # Ok::<(), trainers::Error>(())
/// ```
pub fn train(
    trainer: &dyn Trainer,
    rows: &[Row],
    config: &Config,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Trained, trainers::Error> {
    train_with_encoder(trainer, rows, None, config, progress)
}

/// Like [`train`], for a trainer that may need a fine-tuned encoder.
///
/// The encoder's unseen scores are by row and must come from the folds of [`folds_of_all`].
pub fn train_with_encoder(
    trainer: &dyn Trainer,
    rows: &[Row],
    encoder: Option<EncoderFits>,
    config: &Config,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Trained, trainers::Error> {
    let (folds, assigned) = (config.folds.max(2), folds_of_all(rows, config));
    Fits { trainer, rows, assigned: &assigned, folds, counts: &[] }.finish(config, encoder, progress)
}

/// The figures of a model on rows.
///
/// The sentences of a comment must follow each other.
#[must_use]
pub fn evaluate(model: &Model, rows: &[Row]) -> Scores {
    Scores::of(rows, &probabilities(model, rows), model.threshold())
}

/// The most comments of a reference; they are enough to find every relevant difference.
const REFERENCE_COMMENTS: usize = 20_000;

/// Measures of the rows' comments, as a reference to compare later comments with.
///
/// The comments are judged in the same way as in production. The model must not have seen them. `None` if there are too
/// few.
#[must_use]
pub fn reference(model: &Model, rows: &[Row]) -> Option<Reference> {
    let measure = |comment: Range<usize>| {
        // Each line is one sentence.
        let text = rows[comment].iter().map(|row| row.text.as_str()).collect::<Vec<_>>().join("\n");
        let verdict = model.judge(&text);
        [verdict.probability, verdict.unknown_share, text.chars().count() as f64]
    };
    Reference::of(&comments(rows).into_iter().take(REFERENCE_COMMENTS).map(measure).collect::<Vec<_>>())
}

/// The probability of every row. The sentences of a comment must follow each other.
#[must_use]
pub fn probabilities(model: &Model, rows: &[Row]) -> Vec<f64> {
    let mut scratch = Scratch::default();
    let own: Vec<f64> = rows.iter().map(|row| model.score(&row.text, &mut scratch).logit).collect();
    let comments = comments(rows);
    // Indices of rows, comment by comment.
    let passed = |comment: &Range<usize>| model.passed(&model.fast_probabilities(&own[comment.clone()]));
    let passed: Vec<Vec<usize>> = comments.iter().map(passed).collect();
    let asked = comments.iter().zip(&passed).flat_map(|(comment, passed)| passed.iter().map(|i| comment.start + i));
    let texts: Vec<&str> = asked.map(|i| rows[i].text.as_str()).collect();
    let said = model.cascade().map_or_else(Vec::new, |(_, encoder)| encoder_scores(encoder, &texts));
    let mut said = &said[..];
    let mut probabilities = Vec::with_capacity(rows.len());
    for (comment, passed) in comments.into_iter().zip(passed) {
        let (of_comment, rest) = said.split_at(passed.len());
        said = rest;
        probabilities.extend(model.probabilities(&own[comment], &passed, of_comment));
    }
    probabilities
}

/// A trainer and the data for its learners.
struct Fits<'a> {
    trainer: &'a dyn Trainer,
    rows: &'a [Row],
    /// The fold of each row.
    assigned: &'a [usize],
    folds: usize,
    /// Counts that replace the rows for a learner of these features.
    ///
    /// They may cover more rows than `rows`.
    counts: &'a [CountsByFold],
}

impl Fits<'_> {
    fn finish(
        &self,
        config: &Config,
        encoder: Option<EncoderFits>,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Trained, trainers::Error> {
        let voice = self.trainer.encoder();
        let encoder = match voice {
            None => None,
            Some(_) => Some(encoder.ok_or(trainers::Error::NoEncoder(self.trainer.name()))?),
        };
        if encoder.as_ref().is_some_and(|encoder| encoder.unseen.len() != self.rows.len()) {
            return Err(trainers::Error::OtherRows);
        }
        if encoder.is_some() && !config.preset.is_calibrated() {
            return Err(trainers::Error::NoSuchPreset);
        }
        let (scores, parts) = self.fit_all(config, progress)?;
        let (name, rows) = (self.trainer.name(), self.rows);
        let unseen = Unseen { rows, assigned: self.assigned, scores: &scores };
        if !config.preset.is_calibrated() {
            let model = trainers::assemble(name, parts, &vec![1.0; scores.len()], 0.0)?;
            let own: Vec<f64> = (0..rows.len()).map(|i| scores.iter().map(|learner| learner[i]).sum()).collect();
            let probabilities: Vec<f64> = own.iter().map(|&s| model.spec().calibration.probability(s)).collect();
            let cross_validation = Scores::of(rows, &probabilities, model.threshold());
            return Ok(Trained { model, cross_validation, unseen: probabilities, everywhere: None });
        }

        let stage = SecondStage::fit(&unseen, |_| true);
        let all: Vec<usize> = (0..rows.len()).collect();
        let points = unseen.points(&config.operation, &stage.probabilities(&unseen), &all);
        let model = trainers::assemble(name, parts, &stage.weights, stage.intercept)?;
        let model = model.finished(Some(stage.context), stage.calibration, points)?;
        let (Some(voice), Some(EncoderFits { unseen: by_encoder, encoder })) = (voice, encoder) else {
            let crossed = cross_fitted(&unseen, self.folds);
            let cross_validation = Scores::of(rows, &crossed, model.threshold());
            return Ok(Trained { model, cross_validation, unseen: crossed, everywhere: None });
        };

        let by_encoder: Vec<f64> = by_encoder.into_iter().map(f64::from).collect();
        let both = Both::of(&unseen, &stage, &by_encoder);
        let learned = Learned::of(&both, voice, &config.operation, |_| true);
        let model = model.joined_by(encoder, learned.cascade(&both, &config.operation))?;
        let [served, everywhere] = self.cross_fitted_cascade(&unseen, &by_encoder, voice, config);
        let cross_validation = Scores::of(rows, &served, model.threshold());
        let threshold = unseen.points(&config.operation, &everywhere, &all)[0].threshold;
        let everywhere = Some(Scores::of(rows, &everywhere, threshold));
        Ok(Trained { model, cross_validation, unseen: served, everywhere })
    }

    /// Each row's probability from a cascade that was learned on the other folds.
    ///
    /// The first list is as in production; in the second the encoder scores every row.
    fn cross_fitted_cascade(
        &self,
        unseen: &Unseen<'_>,
        by_encoder: &[f64],
        voice: Voice,
        config: &Config,
    ) -> [Vec<f64>; 2] {
        let mut crossed = [(); 2].map(|()| vec![0.0; self.rows.len()]);
        for fold in 0..self.folds {
            let is_other = |i: usize| self.assigned[i] != fold;
            let both = Both::of(unseen, &SecondStage::fit(unseen, is_other), by_encoder);
            let learned = Learned::of(&both, voice, &config.operation, is_other);
            for (crossed, probabilities) in crossed.iter_mut().zip(learned.probabilities(&both)) {
                for (i, p) in probabilities.into_iter().enumerate().filter(|&(i, _)| !is_other(i)) {
                    crossed[i] = p;
                }
            }
        }
        crossed
    }

    /// Fits each learner without each fold, and on all rows.
    ///
    /// Returns each learner's scores of unseen rows, and the final parts.
    fn fit_all(
        &self,
        config: &Config,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(Vec<Vec<f64>>, Vec<Fitted>), trainers::Error> {
        let learners = self.trainer.learners();
        // The fits on all rows take longest, so they start first. No row has the fold number `folds`.
        let jobs: Vec<(usize, usize)> =
            (0..=self.folds).rev().flat_map(|fold| (0..learners.len()).map(move |learner| (fold, learner))).collect();
        let run = |&(fold, learner): &(usize, usize)| -> Result<(Option<Fitted>, Vec<f64>), trainers::Error> {
            let fitted = self.fit_without(fold, learners[learner], config.preset)?;
            if fold == self.folds {
                return Ok((Some(fitted), Vec::new()));
            }
            let model = trainers::assemble(self.trainer.name(), vec![fitted], &[1.0], 0.0)?;
            let mut scratch = Scratch::default();
            let unseen = self.rows.iter().zip(self.assigned).filter(|&(_, &f)| f == fold);
            Ok((None, unseen.map(|(row, _)| model.score(&row.text, &mut scratch).logit).collect()))
        };
        let results = parallel::map(&jobs, config.threads, run, progress);

        let mut scores = vec![vec![0.0; self.rows.len()]; learners.len()];
        let mut parts: Vec<(usize, Fitted)> = Vec::new();
        for (&(fold, learner), result) in jobs.iter().zip(results) {
            let (fitted, of_fold) = result?;
            parts.extend(fitted.map(|fitted| (learner, fitted)));
            let places = self.assigned.iter().enumerate().filter(|&(_, &f)| f == fold).map(|(i, _)| i);
            for (i, score) in places.zip(of_fold) {
                scores[learner][i] = score;
            }
        }
        parts.sort_by_key(|(learner, _)| *learner);
        Ok((scores, parts.into_iter().map(|(_, fitted)| fitted).collect()))
    }

    /// Fits a learner on all folds but one.
    fn fit_without(&self, fold: usize, learner: &dyn Learner, preset: Preset) -> Result<Fitted, trainers::Error> {
        if let Some(additive) = learner.as_additive() {
            let features = additive.features(preset);
            if let Some(counts) = self.counts.iter().find(|counts| counts.features == features) {
                let all = counts.all();
                let seen = if fold < self.folds { all.minus(counts.fold(fold)) } else { all };
                return additive.fit_counts(&seen, preset);
            }
        }
        let seen: Vec<&Row> =
            self.rows.iter().zip(self.assigned).filter(|&(_, &f)| f != fold).map(|(row, _)| row).collect();
        learner.fit(&seen, preset)
    }
}

/// Each row's probability from a second stage that was fitted on the other folds.
fn cross_fitted(unseen: &Unseen<'_>, folds: usize) -> Vec<f64> {
    let mut crossed = vec![0.0; unseen.rows.len()];
    for fold in 0..folds {
        let stage = SecondStage::fit(unseen, |i| unseen.assigned[i] != fold);
        let probabilities = stage.probabilities(unseen);
        for (i, p) in probabilities.into_iter().enumerate().filter(|&(i, _)| unseen.assigned[i] == fold) {
            crossed[i] = p;
        }
    }
    crossed
}

/// The row indices of each comment's sentences, which follow each other.
fn comments(rows: &[Row]) -> Vec<Range<usize>> {
    let mut start = 0;
    let of_one = rows.chunk_by(|a, b| a.comment == b.comment && a.commenter == b.commenter);
    let range = |sentences: &[Row]| {
        start += sentences.len();
        start - sentences.len()..start
    };
    of_one.map(range).collect()
}

#[cfg(test)]
pub(crate) use self::encoder::train_small;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{calibration::Platt, corpus, counts::FoldCounter, features::FeatureSet};

    #[test]
    fn a_trained_model_is_calibrated_and_its_threshold_was_not_seen() {
        let rows = corpus::sample().rows;
        let (train_rows, test_rows) = split::held_out(DEFAULT_SEED, rows);
        let trainer = trainers::find("multinomial_nb").unwrap();
        let steps = Mutex::new(Vec::new());
        let record = |done, of| steps.lock().unwrap().push((done, of));
        let trained = train(trainer, &train_rows, &Config::default(), &record).unwrap();
        assert_eq!(steps.lock().unwrap().iter().max(), Some(&(6, 6)));
        let held_out = evaluate(&trained.model, &test_rows);
        let base_rate = held_out.sentence.positives as f64 / held_out.sentence.n as f64;
        assert!(held_out.sentence.pr_auc > 2.0 * base_rate, "{held_out:?}");
        assert!(held_out.sentence.brier <= base_rate * (1.0 - base_rate) * 1.1, "{held_out:?}");
        assert!(held_out.comment.n < held_out.sentence.n);
        assert_eq!(held_out.sentence.threshold, trained.model.threshold());
    }

    #[test]
    fn counts_of_all_rows_and_all_rows_as_the_sample_train_the_same_parts() {
        let rows: Vec<Row> = corpus::sample().rows;
        let (sample, _) = split::held_out(DEFAULT_SEED, rows.clone());
        let trainer = trainers::find("multinomial_nb").unwrap();
        let config = Config::default();
        let features = trainers::features_to_count(&[trainer], config.preset);
        let count = |features: &FeatureSet| {
            let mut counter = FoldCounter::new(features.clone(), config.seed, config.folds).unwrap();
            for row in &rows {
                counter.add(row);
            }
            counter.finish()
        };
        let counts: Vec<CountsByFold> = features.iter().map(count).collect();
        let of_counts = train_counted(trainer, &sample, &counts, None, &config, &|_, _| {}).unwrap();
        let of_rows = train(trainer, &sample, &config, &|_, _| {}).unwrap();
        assert_eq!(of_counts.model.table(), of_rows.model.table());
        assert_eq!(of_counts.model.spec().components, of_rows.model.spec().components);
        assert!(
            train_counted(trainer, &sample, &[], None, &config, &|_, _| {}).is_err(),
            "the sample is no substitute"
        );
        let assigned: Vec<usize> =
            sample.iter().map(|row| split::place(config.seed, &row.commenter, FOLDS).unwrap()).collect();
        let plain = Fits { trainer, rows: &sample, assigned: &assigned, folds: FOLDS, counts: &[] };
        let of_sample = plain.finish(&config, None, &|_, _| {}).unwrap();
        assert_eq!(of_counts.unseen, of_sample.unseen, "a row's fold is in what it is judged by");
        assert!(
            train_counted(trainer, &rows, &counts, None, &config, &|_, _| {}).is_err(),
            "held-out rows must not train"
        );
    }

    #[test]
    fn the_sklearn_preset_is_neither_calibrated_nor_tuned() {
        let rows = corpus::sample().rows;
        let trainer = trainers::find("multinomial_nb").unwrap();
        let config = Config { preset: Preset::Sklearn, ..Config::default() };
        let trained = train(trainer, &rows, &config, &|_, _| {}).unwrap();
        assert_eq!(trained.model.spec().calibration, Platt::IDENTITY);
        assert_eq!(trained.model.spec().context, None);
        assert_eq!(trained.model.threshold(), 0.5);
    }
}
