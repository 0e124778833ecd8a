//! The one representation of a trained model: a table of weights by feature key, how they are summed, a calibration,
//! operating points.
//!
//! Whatever trained it, a model is scored, explained and stored by the code here.

mod columns;
mod scoring;

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use self::columns::commonest_first;
pub use self::scoring::{Score, SentenceVerdict, Verdict, apply_context};
pub(crate) use self::{
    columns::{Column, Stamps, Sum, term_frequency},
    scoring::clear_counts,
};
use crate::{
    calibration::Platt,
    features::{Analyser, FeatureSet, UnknownExtractor},
    operation::Band,
    table::{Index, Table},
};

/// Weights and scores are whole multiples of 1 / `UNITS`; sums of such numbers are exact, in any order.
pub const UNITS: f64 = (1_u64 << 40) as f64;

/// What a model is, apart from its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The trainer that made it.
    pub trainer: String,
    /// Which features are looked up.
    pub features: FeatureSet,
    /// Parts that are scored apart and then added, each with its columns of the table, in order.
    pub components: Vec<Component>,
    /// Added to the components' weighted scores.
    pub intercept: f64,
    /// What the sentences before and after say; none where a sentence is judged alone.
    pub context: Option<Context>,
    /// From score to probability.
    pub calibration: Platt,
    /// Thresholds with names; the first is the default.
    pub operating_points: Vec<OperatingPoint>,
}

/// A linear model of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// What fitted it.
    pub learner: String,
    /// The learner's parameters, as it was given them.
    pub parameters: serde_json::Value,
    /// Added to the sum of its weights.
    pub bias: f64,
    /// How a sentence's length counts.
    pub normalisation: Normalisation,
    /// Factor of its score in the model's.
    pub weight: f64,
}

/// How a sentence's length counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Normalisation {
    /// The summed weights are divided by (number of known features) to this power. One column: the weight.
    ///
    /// 0 is plain naive Bayes; above 0 undoes part of its over-counting in long sentences.
    Length {
        /// From 0 to 1.
        exponent: f64,
    },
    /// Features count 1 + ln(occurrences) times their inverse document frequency, scaled to length 1.
    /// Two columns: the weight times the frequency, and the frequency.
    TfIdf,
}

impl Normalisation {
    /// Columns of the table that a component of this kind has.
    #[must_use]
    pub fn columns(self) -> usize {
        match self {
            Self::Length { .. } => 1,
            Self::TfIdf => 2,
        }
    }
}

/// A second, linear stage over the scores of a comment's neighbouring sentences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Factor of the sentence's own score.
    pub own: f64,
    /// Factor of the score of the sentence before, less `centre`.
    pub previous: f64,
    /// Factor of the score of the sentence after, less `centre`.
    pub next: f64,
    /// Added where there is a sentence before.
    pub has_previous: f64,
    /// Added where there is a sentence after.
    pub has_next: f64,
    /// Added always.
    pub intercept: f64,
    /// The mean score of training.
    pub centre: f64,
}

impl Context {
    /// The score of a sentence whose own score is `own`, between neighbours.
    #[must_use]
    pub fn combine(&self, own: f64, previous: Option<f64>, next: Option<f64>) -> f64 {
        let near = |score: Option<f64>, factor: f64, has: f64| score.map_or(0.0, |s| factor * (s - self.centre) + has);
        self.own * own
            + near(previous, self.previous, self.has_previous)
            + near(next, self.next, self.has_next)
            + self.intercept
    }

    fn is_sane(&self) -> bool {
        [self.own, self.previous, self.next, self.has_previous, self.has_next, self.intercept, self.centre]
            .iter()
            .all(|&x| is_sane(x))
    }
}

/// Whether sums and products of such numbers stay finite.
fn is_sane(x: f64) -> bool {
    x.abs() <= 1e100
}

/// A threshold and what it stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatingPoint {
    /// One of the names in [`crate::operation`].
    pub name: String,
    /// A sentence at or above this probability is called a threat.
    pub threshold: f64,
}

/// The next model's number.
static MODELS: AtomicU64 = AtomicU64::new(1);

/// A trained model.
#[derive(Debug)]
pub struct Model {
    /// Tells it from every other model of this process.
    id: u64,
    spec: Spec,
    analyser: Analyser,
    table: Table,
    /// From a feature's key to its place in the columns.
    index: Index,
    /// The table's cells by component, each as small as scoring allows and the commonest features first: memory is what
    /// a lookup waits for, and what is asked for often then lies together.
    columns: Vec<Column>,
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

impl Model {
    /// Puts a model together; refuses one that could not score.
    pub fn new(spec: Spec, table: Table) -> Result<Self, Invalid> {
        let analyser = spec.features.analyser()?;
        let mut extractors: Vec<&String> = spec.features.extractors.iter().collect();
        extractors.sort_unstable();
        if extractors.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Invalid::OutOfRange("extractors"));
        }
        let finite = [
            ("intercept", spec.intercept),
            ("calibration.slope", spec.calibration.slope),
            ("calibration.offset", spec.calibration.offset),
        ];
        let of_components = spec.components.iter().flat_map(|c| [("bias", c.bias), ("weight", c.weight)]);
        for (name, value) in finite.into_iter().chain(of_components) {
            if !is_sane(value) {
                return Err(Invalid::OutOfRange(name));
            }
        }
        for component in &spec.components {
            if let Normalisation::Length { exponent } = component.normalisation
                && !(0.0..=1.0).contains(&exponent)
            {
                return Err(Invalid::OutOfRange("exponent"));
            }
        }
        if spec.context.is_some_and(|context| !context.is_sane()) {
            return Err(Invalid::OutOfRange("context"));
        }
        let points = &spec.operating_points;
        if points.is_empty() || points.iter().any(|p| !(0.0..=1.0).contains(&p.threshold)) {
            return Err(Invalid::OutOfRange("operating_points"));
        }
        let columns: usize = spec.components.iter().map(|c| c.normalisation.columns()).sum();
        if columns == 0 || columns != table.columns() {
            return Err(Invalid::OutOfRange("columns"));
        }
        let order = commonest_first(&spec, &table);
        let mut at = 0;
        let mut column = |component: &Component| {
            at += component.normalisation.columns();
            Column::of(&table, &order, component.normalisation, at - component.normalisation.columns())
        };
        let columns = spec.components.iter().map(&mut column).collect();
        let index = Index::new(order.iter().map(|&row| table.keys()[row as usize]));
        let id = MODELS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, spec, analyser, table, index, columns })
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

    /// A feature's place in the columns.
    #[inline]
    pub(crate) fn place(&self, key: u64) -> Option<usize> {
        self.index.resolve(key, self.index.probe(key))
    }

    pub(crate) fn analyser(&self) -> &Analyser {
        &self.analyser
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The default operating point's threshold.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        self.spec.operating_points[0].threshold
    }

    /// What is left to people.
    #[must_use]
    pub fn band(&self) -> Band {
        Band::of(&self.spec.operating_points)
    }

    /// The same model with another context, calibration and operating points.
    pub fn finished(
        self,
        context: Option<Context>,
        calibration: Platt,
        operating_points: Vec<OperatingPoint>,
    ) -> Result<Self, Invalid> {
        Self::new(Spec { context, calibration, operating_points, ..self.spec }, self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{features::Scratch, text::WordRule};

    fn spec() -> Spec {
        Spec {
            trainer: "multinomial_nb".into(),
            features: FeatureSet::new(WordRule::Word, &["unigrams"]),
            components: vec![Component {
                learner: "multinomial_nb".into(),
                parameters: serde_json::Value::Null,
                bias: -1.0,
                normalisation: Normalisation::Length { exponent: 0.0 },
                weight: 1.0,
            }],
            intercept: 0.0,
            context: None,
            calibration: Platt::IDENTITY,
            operating_points: vec![OperatingPoint { name: "even_odds".into(), threshold: 0.5 }],
        }
    }

    #[test]
    fn a_model_that_could_not_score_is_refused() {
        let table = || Table::new(vec![1, 2], 1, vec![0, 0]).unwrap();
        assert!(Model::new(spec(), table()).is_ok());
        let refused = |spec: Spec, name: &'static str| {
            assert!(matches!(Model::new(spec, table()), Err(Invalid::OutOfRange(found)) if found == name), "{name}");
        };
        refused(Spec { intercept: f64::NAN, ..spec() }, "intercept");
        refused(Spec { operating_points: vec![], ..spec() }, "operating_points");
        refused(Spec { components: vec![], ..spec() }, "columns");
        let mut two_columns = spec();
        two_columns.components[0].normalisation = Normalisation::TfIdf;
        refused(two_columns, "columns");
    }

    #[test]
    fn a_comment_is_as_threatening_as_its_worst_sentence() {
        let mut scratch = Scratch::default();
        let features = spec().features.analyser().unwrap();
        features.analyse("kill", &mut scratch);
        let table = Table::new(vec![scratch.features[0].key], 1, vec![Table::quantise(4.0)]).unwrap();
        let model = Model::new(spec(), table).unwrap();
        let verdict = model.judge("What a nice day. I kill you. Bye.");
        assert_eq!(verdict.sentences.len(), 3);
        assert_eq!(verdict.probability, Platt::IDENTITY.probability(3.0));
        assert!(verdict.is_threat && verdict.unknown_share > 0.5);
        assert!(!model.judge("").is_threat);
    }

    #[test]
    fn neighbours_count_where_there_are_any() {
        let context = Context {
            own: 1.0,
            previous: 0.5,
            next: 0.25,
            has_previous: 10.0,
            has_next: 100.0,
            intercept: -1.0,
            centre: 2.0,
        };
        assert_eq!(apply_context(&context, &[3.0]), [2.0]);
        assert_eq!(apply_context(&context, &[3.0, 4.0]), [3.0 + 0.5 + 100.0 - 1.0, 4.0 + 0.5 + 10.0 - 1.0]);
    }
}
