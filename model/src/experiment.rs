//! Train, calibrate and evaluate on rows in memory: the pipeline without a server.

use serde::{Deserialize, Serialize};

use crate::{
    Row,
    calibration::Platt,
    evaluation::{Judged, Scores, best_f1_threshold, threshold_at_fpr},
    features::Scratch,
    linear::{self, Model, OperatingPoint},
    split,
    trainers::{self, Preset, Trainer},
};

/// What a training run is given, apart from its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The trainer's parameters.
    pub preset: Preset,
    /// Decides ties between commenters when folds are made.
    pub seed: u64,
    /// Folds by commenter for calibration, thresholds and the cross-validated figures.
    pub folds: usize,
}

/// The seed where none is given.
pub const DEFAULT_SEED: u64 = 42;

impl Default for Config {
    fn default() -> Self {
        Self { preset: Preset::Default, seed: DEFAULT_SEED, folds: 5 }
    }
}

/// A model and what cross-validation says of its recipe.
#[derive(Debug)]
pub struct Trained {
    /// Trained on every row.
    pub model: Model,
    /// Figures of rows judged by models that had not seen their commenters.
    pub cross_validation: Scores,
}

/// Trains on every row; calibration and operating points come from cross-validation by commenter.
///
/// `progress` is told fits done and fits in all. Blocks for as long as the fits take.
pub fn train(
    trainer: &dyn Trainer,
    rows: &[Row],
    config: &Config,
    progress: &dyn Fn(usize, usize),
) -> Result<Trained, trainers::Error> {
    let folds = config.folds.max(2);
    let assigned = split::folds(config.seed, rows, folds);
    let mut logits = vec![0.0; rows.len()];
    let mut scratch = Scratch::default();
    for fold in 0..folds {
        progress(fold, folds + 1);
        let train: Vec<Row> =
            rows.iter().zip(&assigned).filter(|&(_, &f)| f != fold).map(|(row, _)| row.clone()).collect();
        let model = trainer.fit(&train, config.preset)?;
        for (at, row) in rows.iter().enumerate().filter(|&(at, _)| assigned[at] == fold) {
            logits[at] = model.score(&row.text, &mut scratch).logit;
        }
    }
    progress(folds, folds + 1);
    let model = trainer.fit(rows, config.preset)?;
    let (model, calibrated) = if config.preset.is_calibrated() {
        let calibration = fit_platt(rows, &logits, |_| true);
        let held_out = cross_fitted(rows, &logits, &assigned, folds);
        (calibrate(model, rows, &logits, calibration)?, held_out)
    } else {
        let calibrated = logits.iter().map(|&s| Platt::IDENTITY.probability(s)).collect();
        (model, calibrated)
    };
    let ranking: Vec<f64> = logits.iter().map(|&s| model.spec().calibration.probability(s)).collect();
    let cross_validation = Scores::of(rows, &ranking, &calibrated, model.threshold());
    progress(folds + 1, folds + 1);
    Ok(Trained { model, cross_validation })
}

/// Figures of a model on rows.
#[must_use]
pub fn evaluate(model: &Model, rows: &[Row]) -> Scores {
    let mut scratch = Scratch::default();
    let probabilities: Vec<f64> = rows.iter().map(|row| model.probability(&row.text, &mut scratch)).collect();
    Scores::of(rows, &probabilities, &probabilities, model.threshold())
}

fn calibrate(model: Model, rows: &[Row], logits: &[f64], calibration: Platt) -> Result<Model, linear::Invalid> {
    let judged: Vec<Judged> =
        logits.iter().map(|&s| calibration.probability(s)).zip(rows.iter().map(Row::is_threat)).collect();
    let point = |name: &str, threshold| OperatingPoint { name: name.to_owned(), threshold };
    let points = vec![point("best_f1", best_f1_threshold(&judged)), point("fpr_5", threshold_at_fpr(&judged, 0.05))];
    model.calibrated(calibration, points)
}

/// Each row's probability by a calibration that was fitted on the other folds.
fn cross_fitted(rows: &[Row], logits: &[f64], assigned: &[usize], folds: usize) -> Vec<f64> {
    let by_fold: Vec<Platt> = (0..folds).map(|fold| fit_platt(rows, logits, |at| assigned[at] != fold)).collect();
    logits.iter().zip(assigned).map(|(&s, &fold)| by_fold[fold].probability(s)).collect()
}

fn fit_platt(rows: &[Row], logits: &[f64], is_used: impl Fn(usize) -> bool) -> Platt {
    let used = || (0..rows.len()).filter(|&at| is_used(at));
    let scores: Vec<f64> = used().map(|at| logits[at]).collect();
    let labels: Vec<bool> = used().map(|at| rows[at].is_threat()).collect();
    Platt::fit(&scores, &labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn a_trained_model_is_calibrated_and_its_threshold_was_not_seen() {
        let rows = corpus::sample().rows;
        let (train_rows, test_rows) = split::held_out(DEFAULT_SEED, rows);
        let trainer = trainers::find("multinomial_nb").unwrap();
        let steps = std::cell::RefCell::new(Vec::new());
        let trained =
            train(trainer, &train_rows, &Config::default(), &|done, of| steps.borrow_mut().push((done, of))).unwrap();
        assert_eq!(steps.borrow().last(), Some(&(6, 6)));
        let held_out = evaluate(&trained.model, &test_rows);
        let base_rate = held_out.sentence.positives as f64 / held_out.sentence.n as f64;
        assert!(held_out.sentence.pr_auc > 2.0 * base_rate, "{held_out:?}");
        assert!(held_out.sentence.brier <= base_rate * (1.0 - base_rate) * 1.1, "{held_out:?}");
        assert!(held_out.comment.n < held_out.sentence.n);
        assert_eq!(held_out.sentence.threshold, trained.model.threshold());
    }

    #[test]
    fn the_sklearn_preset_is_neither_calibrated_nor_tuned() {
        let rows = corpus::sample().rows;
        let trainer = trainers::find("multinomial_nb").unwrap();
        let config = Config { preset: Preset::Sklearn, ..Config::default() };
        let trained = train(trainer, &rows, &config, &|_, _| {}).unwrap();
        assert_eq!(trained.model.spec().calibration, Platt::IDENTITY);
        assert_eq!(trained.model.threshold(), 0.5);
    }
}
