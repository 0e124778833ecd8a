//! The trainers: one table, each entry from rows to an uncalibrated model.

mod multinomial_nb;

use serde::{Deserialize, Serialize};

use crate::{Row, features::UnknownExtractor, linear};

/// A way of learning a model from rows.
pub trait Trainer: Send + Sync {
    /// Its name in workflow inputs, manifests and metrics; never changed once released.
    fn name(&self) -> &'static str;
    /// One line for people.
    fn summary(&self) -> &'static str;
    /// Fits a model. The same rows and preset give the same model, whatever the order of the rows.
    ///
    /// The model is not calibrated: its probability is the sigmoid of its score and its threshold one half.
    fn fit(&self, rows: &[Row], preset: Preset) -> Result<linear::Model, Error>;
}

/// Every trainer, by name.
pub const TRAINERS: &[&dyn Trainer] = &[&multinomial_nb::MultinomialNb];

/// A named set of a trainer's parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The best known parameters, calibrated, with tuned operating points.
    #[default]
    Default,
    /// What scikit-learn's `CountVectorizer` and `MultinomialNB` give with their defaults, uncalibrated, at 0.5.
    Sklearn,
}

impl Preset {
    /// Whether the model's probabilities are calibrated on rows that it has not seen.
    #[must_use]
    pub fn is_calibrated(self) -> bool {
        self == Self::Default
    }
}

/// A model that could not be trained.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such trainer.
    #[error("no trainer is named `{0}`: the trainers are {names}", names = names())]
    Unknown(String),
    /// One class has no rows, or no feature is frequent enough.
    #[error("nothing to learn from: {0}")]
    Empty(&'static str),
    /// The library that fits refused.
    #[error("fit naive Bayes")]
    Fit(#[source] smartcore::error::Failed),
    /// The features do not exist.
    #[error(transparent)]
    Features(#[from] UnknownExtractor),
    /// The fitted numbers are no model.
    #[error(transparent)]
    Invalid(#[from] linear::Invalid),
}

/// The trainer of that name.
pub fn find(name: &str) -> Result<&'static dyn Trainer, Error> {
    let found = TRAINERS.iter().find(|trainer| trainer.name() == name);
    found.copied().ok_or_else(|| Error::Unknown(name.to_owned()))
}

/// The names of all trainers, for messages.
#[must_use]
pub fn names() -> String {
    TRAINERS.iter().map(|trainer| trainer.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{artifact, corpus, experiment};

    #[test]
    fn the_table_is_sorted_and_complete() {
        let names: Vec<&str> = TRAINERS.iter().map(|t| t.name()).collect();
        assert!(names.is_sorted(), "{names:?}");
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/trainers")).unwrap();
        assert_eq!(files.count() - 1, names.len(), "each file in trainers/ but mod.rs is a trainer of the table");
        assert!(find("forest").err().unwrap().to_string().contains("multinomial_nb"));
    }

    #[test]
    fn every_trainer_ranks_threats_first_and_repeats_its_bytes() {
        let mut rows = corpus::sample().rows;
        for trainer in TRAINERS {
            let config = experiment::Config::default();
            let trained = experiment::train(*trainer, &rows, &config, &|_, _| {}).unwrap();
            let base_rate = rows.iter().filter(|r| r.is_threat()).count() as f64 / rows.len() as f64;
            let pr_auc = trained.cross_validation.sentence.pr_auc;
            assert!(pr_auc > 2.5 * base_rate, "{}: PR-AUC {pr_auc}", trainer.name());
            rows.reverse();
            let again = experiment::train(*trainer, &rows, &config, &|_, _| {}).unwrap();
            let digest = |model| crate::Digest::of(&artifact::encode(model));
            assert_eq!(digest(&trained.model), digest(&again.model), "{}", trainer.name());
        }
    }
}
