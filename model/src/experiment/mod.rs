//! Train, calibrate and evaluate on rows in memory: the pipeline without a server.
//!
//! Everything that is learned from scores (how learners are weighed, what neighbours say, calibration, thresholds) is
//! learned from scores of rows that the learners had not seen; and the cross-validated probability of a row uses no such
//! number that the row's own fold helped to learn. The threshold alone is chosen on all rows, as it is for the model.
//!
//! - **In**: rows, counts by fold if there are any, a trainer and a [`Config`].
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

/// What a training run is given, apart from its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The trainer's parameters.
    pub preset: Preset,
    /// Decides ties between commenters when folds are made.
    pub seed: u64,
    /// Folds by commenter.
    pub folds: usize,
    /// Which thresholds are made, and which decides.
    pub operation: Operation,
    /// Fits that run side by side; never changes a result.
    pub threads: usize,
}

/// The seed where none is given.
pub const DEFAULT_SEED: u64 = 42;

/// Folds of cross-validation where no number is given.
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

/// A model and what cross-validation says of its recipe.
#[derive(Debug)]
pub struct Trained {
    /// Trained on every row.
    pub model: Model,
    /// Figures of rows judged by models that had not seen their commenters.
    pub cross_validation: Scores,
    /// The probabilities behind these figures, by row.
    pub unseen: Vec<f64>,
    /// With an encoder: the figures if it were asked about every sentence, not only those that are passed to it.
    pub everywhere: Option<Scores>,
}

/// Trains on counts of a whole corpus and on a sample of its training rows.
///
/// Additive learners are given the counts, the others the sample; the second stage, calibration and operating points
/// come from cross-validation on the sample. `counts` must have `config.folds` folds of `config.seed`.
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

/// Trains on every row; the second stage, calibration and operating points come from cross-validation by commenter.
///
/// `progress` is told fits done and fits in all, from any thread. Blocks for as long as the fits take.
pub fn train(
    trainer: &dyn Trainer,
    rows: &[Row],
    config: &Config,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Trained, trainers::Error> {
    train_with_encoder(trainer, rows, None, config, progress)
}

/// The same, for a trainer that may need an encoder; its scores are by row, of the folds of [`folds_of_all`].
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

/// Figures of a model on rows; sentences of a comment follow each other.
#[must_use]
pub fn evaluate(model: &Model, rows: &[Row]) -> Scores {
    Scores::of(rows, &probabilities(model, rows), model.threshold())
}

/// Comments of a reference at most: enough to tell any difference that matters.
const REFERENCE_COMMENTS: usize = 20_000;

/// What later comments are held against: measures of these rows' comments, judged as comments are when the model serves. The
/// model must not have seen them. None of too few.
#[must_use]
pub fn reference(model: &Model, rows: &[Row]) -> Option<Reference> {
    let measure = |comment: Range<usize>| {
        // A line is a sentence of its own.
        let text = rows[comment].iter().map(|row| row.text.as_str()).collect::<Vec<_>>().join("\n");
        let verdict = model.judge(&text);
        [verdict.probability, verdict.unknown_share, text.chars().count() as f64]
    };
    Reference::of(&comments(rows).into_iter().take(REFERENCE_COMMENTS).map(measure).collect::<Vec<_>>())
}

/// The probability of every row; sentences of a comment follow each other.
#[must_use]
pub fn probabilities(model: &Model, rows: &[Row]) -> Vec<f64> {
    let mut scratch = Scratch::default();
    let own: Vec<f64> = rows.iter().map(|row| model.score(&row.text, &mut scratch).logit).collect();
    let comments = comments(rows);
    // Places among the rows, comment by comment.
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

/// A trainer, and what its learners are fitted on.
struct Fits<'a> {
    trainer: &'a dyn Trainer,
    rows: &'a [Row],
    /// The fold of each row.
    assigned: &'a [usize],
    folds: usize,
    /// Where a learner's features are counted here, it is fitted on the counts; they may be of more rows than `rows`.
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

    /// Each row's probability by a cascade that was learned on the other folds: as it is served, and with the encoder
    /// asked about every row.
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

    /// Fits each learner without each fold, and on everything: scores of unseen rows by learner, and the final parts.
    fn fit_all(
        &self,
        config: &Config,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<(Vec<Vec<f64>>, Vec<Fitted>), trainers::Error> {
        let learners = self.trainer.learners();
        // The whole fits are the longest: they go first. Fold `folds` is no row's fold.
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

    /// A learner on everything but a fold.
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

/// Each row's probability by a second stage that was fitted on the other folds.
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

/// Places of each comment's sentences, which follow each other.
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
