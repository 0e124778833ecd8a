//! The table of trainers; each trainer combines one or more learners.
//!
//! - **In**: rows, or counts of them, and a [`Preset`].
//! - **Out**: a [`Fitted`] component for each learner; [`assemble`] makes one model of them.
//! - **Callers**: experiment, which decides what each learner may see. The gate and the service do not use trainers.

mod encoder;
mod linear_svc;
mod multinomial_nb;
mod stacked;
mod stacked_encoder;

use serde::{Deserialize, Serialize};

use crate::{
    Row,
    calibration::{OperatingPoint, Platt, operation::EVEN_ODDS},
    counts::{Counter, Counts},
    features::{FeatureSet, Scratch, UnknownExtractor},
    linear::{self, Component, Model, Spec, table::Table},
    plugins::{Plugins, Refused},
};

/// A recipe for a model.
///
/// A trainer names its learners. The module `experiment` selects the rows, weighs the learners' scores, calibrates and
/// evaluates. A trainer may have at most two learners, and all must split words by the same rule.
///
/// ```
/// use model::{corpus, experiment, trainers::{self, Learner, Trainer}};
///
/// /// The learners of the trainer `linear_svc` under another name.
/// struct Mine;
///
/// impl Trainer for Mine {
///     fn name(&self) -> &'static str {
///         "mine"
///     }
///
///     fn summary(&self) -> &'static str {
///         "a linear support vector machine"
///     }
///
///     fn learners(&self) -> &'static [&'static dyn Learner] {
///         trainers::find("linear_svc").map_or(&[], |svc| svc.learners())
///     }
/// }
///
/// let model = trainers::fit(&Mine, &corpus::sample().rows, trainers::Preset::Default)?;
/// assert_eq!(model.spec().trainer, "mine");
/// # Ok::<(), trainers::Error>(())
/// ```
pub trait Trainer: Send + Sync {
    /// Its name in workflow inputs, manifests and metrics; never changed once released.
    fn name(&self) -> &'static str;
    /// A description in one line.
    fn summary(&self) -> &'static str;
    /// The learners of its fast part; all must split words by the same rule.
    fn learners(&self) -> &'static [&'static dyn Learner];
    /// How a fine-tuned encoder takes part; `None` without an encoder.
    fn encoder(&self) -> Option<Voice> {
        None
    }
}

/// How an encoder's score is combined with that of the fast part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// The encoder decides alone.
    ///
    /// The fast part selects the sentences for it, and decides if the encoder is not available.
    Alone,
    /// Both scores are weighed and added.
    Beside,
}

/// Learns one component of a model from rows.
pub trait Learner: Send + Sync {
    /// Fits a component.
    ///
    /// The same rows and preset give the same component; the order of the rows does not matter.
    fn fit(&self, rows: &[&Row], preset: Preset) -> Result<Fitted, Error>;
    /// The same learner, if it needs only sums of feature counts.
    fn as_additive(&self) -> Option<&dyn AdditiveLearner> {
        None
    }
}

/// A learner that can use counts instead of rows, for corpora larger than memory.
pub trait AdditiveLearner: Send + Sync {
    /// The features to count.
    fn features(&self, preset: Preset) -> FeatureSet;
    /// Fits a component. The result equals that of [`Learner::fit`] on the counted rows.
    fn fit_counts(&self, counts: &Counts, preset: Preset) -> Result<Fitted, Error>;
    /// Counts rows and fits the counts. This is a complete implementation of [`Learner::fit`].
    fn fit_counted(&self, rows: &[&Row], preset: Preset) -> Result<Fitted, Error> {
        let analyser = self.features(preset).analyser()?;
        let (mut counter, mut scratch) = (Counter::default(), Scratch::default());
        for row in rows {
            counter.add(&analyser, &row.text, row.is_threat(), &mut scratch);
        }
        self.fit_counts(&counter.finish(), preset)
    }
}

/// Every trainer of this crate, by name.
pub const TRAINERS: &[&dyn Trainer] = &[
    &encoder::Encoder,
    &linear_svc::LinearSvc,
    &multinomial_nb::MultinomialNb,
    &stacked::Stacked,
    &stacked_encoder::StackedEncoder,
];

/// [`TRAINERS`] and those that the program adds.
static TABLE: Plugins<dyn Trainer> = Plugins::new("trainer", Trainer::name, TRAINERS);

/// Adds trainers, once per process and before the first lookup.
///
/// Every program that checks a training request or runs a workflow must add them: workers, the API, commands.
pub fn extend(trainers: &[&'static dyn Trainer]) -> Result<(), Refused> {
    TABLE.add(trainers)
}

/// A component and its table.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// The component; its weight is 1.
    pub component: Component,
    /// The features in its table.
    pub features: FeatureSet,
    /// The columns of the component.
    pub table: Table,
}

/// A named set of a trainer's parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The best known parameters, calibrated, with tuned operating points.
    #[default]
    Default,
    /// Like scikit-learn's `CountVectorizer` and `MultinomialNB` with their defaults; uncalibrated, threshold 0.5.
    Sklearn,
}

impl Preset {
    /// Whether context, calibration and operating points are learned from unseen rows.
    #[must_use]
    pub fn is_calibrated(self) -> bool {
        self == Self::Default
    }
}

/// Why a model cannot be trained.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such trainer.
    #[error("no trainer is named `{0}`: the trainers are {names}", names = names())]
    Unknown(String),
    /// The trainer does not have this preset.
    #[error("only multinomial_nb has the preset `sklearn`")]
    NoSuchPreset,
    /// One class has no rows, or no feature is frequent enough.
    #[error("nothing to learn from: {0}")]
    Empty(&'static str),
    /// The library could not fit the model.
    #[error("naive Bayes cannot be fitted")]
    Fit(#[source] smartcore::error::Failed),
    /// The trainer needs an encoder, but none was given.
    #[error("the trainer `{0}` needs a fine-tuned encoder")]
    NoEncoder(&'static str),
    /// The encoder's scores do not belong to these rows.
    #[error("the encoder's scores belong to other rows")]
    OtherRows,
    /// A feature extractor does not exist.
    #[error(transparent)]
    Features(#[from] UnknownExtractor),
    /// The fitted numbers do not make a valid model.
    #[error(transparent)]
    Invalid(#[from] linear::Invalid),
}

/// The trainer with this name.
///
/// ```
/// use model::trainers;
///
/// assert_eq!(trainers::find("stacked")?.name(), "stacked");
/// assert!(trainers::find("unknown").is_err());
/// # Ok::<(), trainers::Error>(())
/// ```
pub fn find(name: &str) -> Result<&'static dyn Trainer, Error> {
    TABLE.find(name).ok_or_else(|| Error::Unknown(name.to_owned()))
}

/// The feature sets to count for the additive learners of some trainers, without repetition.
#[must_use]
pub fn features_to_count(trainers: &[&dyn Trainer], preset: Preset) -> Vec<FeatureSet> {
    let learners = trainers.iter().flat_map(|trainer| trainer.learners());
    let mut found: Vec<FeatureSet> = Vec::new();
    for features in learners.filter_map(|learner| Some(learner.as_additive()?.features(preset))) {
        if !found.contains(&features) {
            found.push(features);
        }
    }
    found
}

/// The names of all trainers, for messages.
#[must_use]
pub fn names() -> String {
    TABLE.names()
}

/// Fits every learner on all rows and adds their scores.
///
/// The scores are not weighed or calibrated. The threshold is one half.
pub fn fit(trainer: &dyn Trainer, rows: &[Row], preset: Preset) -> Result<Model, Error> {
    let rows: Vec<&Row> = rows.iter().collect();
    let parts: Result<Vec<Fitted>, Error> =
        trainer.learners().iter().map(|learner| learner.fit(&rows, preset)).collect();
    let parts = parts?;
    let weights = vec![1.0; parts.len()];
    assemble(trainer.name(), parts, &weights, 0.0)
}

/// Makes one model from fitted components. The model is not yet calibrated.
pub fn assemble(trainer: &str, parts: Vec<Fitted>, weights: &[f64], intercept: f64) -> Result<Model, Error> {
    let mut features: Option<FeatureSet> = None;
    let mut components = Vec::new();
    let mut tables = Vec::new();
    for (part, &weight) in parts.into_iter().zip(weights) {
        let all = features.get_or_insert_with(|| FeatureSet { extractors: vec![], ..part.features.clone() });
        all.extractors.extend(part.features.extractors);
        components.push(Component { weight, ..part.component });
        tables.push(part.table);
    }
    let mut features = features.ok_or(Error::Empty("a trainer has no learner"))?;
    features.extractors.sort_unstable();
    features.extractors.dedup();
    let spec = Spec {
        trainer: trainer.to_owned(),
        features,
        components,
        intercept,
        context: None,
        calibration: Platt::IDENTITY,
        operating_points: vec![OperatingPoint { name: EVEN_ODDS.to_owned(), threshold: 0.5 }],
        cascade: None,
    };
    Ok(Model::new(spec, Table::beside(&tables)?)?)
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
        assert!(TRAINERS.iter().all(|t| !t.summary().is_empty() && !t.learners().is_empty()));
    }

    #[test]
    fn every_trainer_ranks_threats_first_and_repeats_its_bytes_on_any_number_of_threads() {
        let rows = corpus::sample().rows;
        for trainer in TRAINERS {
            let train = |threads| {
                let config = experiment::Config { threads, ..experiment::Config::default() };
                experiment::train_small(*trainer, &config)
            };
            let trained = train(1);
            let base_rate = rows.iter().filter(|r| r.is_threat()).count() as f64 / rows.len() as f64;
            let pr_auc = trained.cross_validation.sentence.pr_auc;
            assert!(pr_auc > 2.5 * base_rate, "{}: PR-AUC {pr_auc}", trainer.name());
            let digest = |model| crate::Digest::of(&artifact::encode(model));
            let expected = digest(&trained.model);
            assert_eq!(digest(&train(16).model), expected, "{}", trainer.name());
        }
    }

    #[test]
    fn the_order_of_comments_does_not_change_a_model() {
        let rows = corpus::sample().rows;
        let mut turned: Vec<Row> = Vec::new();
        for comment in rows.chunk_by(|a, b| a.comment == b.comment).rev() {
            turned.extend_from_slice(comment);
        }
        let digest = |rows: &[Row]| {
            let trainer = find("stacked").unwrap();
            let trained = experiment::train(trainer, rows, &experiment::Config::default(), &|_, _| {}).unwrap();
            crate::Digest::of(&artifact::encode(&trained.model))
        };
        assert_eq!(digest(&rows), digest(&turned));
    }
}
