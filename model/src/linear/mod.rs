//! The representation of every trained model.
//!
//! A model has a table of weights by feature key, rules for their sum, a calibration and operating points. The code in
//! this module scores the models of all trainers.
//!
//! - **In**: a [`Spec`] and a [`Table`]; then comments and sentences.
//! - **Out**: a [`Model`]; scores in whole units of 1 / [`UNITS`]; [`Verdict`]s.
//! - **Callers**: trainers and the artifact build models; experiment, gate, explanation and the service use them.

mod by_run;
mod cascade;
mod columns;
mod invalid;
mod places;
mod runs;
mod scoring;
mod scratch;
mod spec;
pub mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use encoder::Encoder;

pub(crate) use self::columns::term_frequency;
pub use self::{
    cascade::{Cascade, JudgedBy, Line},
    invalid::Invalid,
    scoring::{Reading, Score, SentenceVerdict, Verdict, apply_context},
    scratch::{Scratch, with_scratch},
    spec::{Component, Context, Normalisation, Spec},
};
use self::{columns::Columns, places::Places, spec::is_sane, table::Table};
use crate::{
    calibration::{Band, OperatingPoint, Platt},
    features::Analyser,
};

/// Units per log-odds: weights and scores are whole multiples of 1 / `UNITS`.
///
/// Sums are therefore exact in any order.
pub const UNITS: f64 = (1_u64 << 40) as f64;

/// The number for the next model.
static MODELS: AtomicU64 = AtomicU64::new(1);

/// A trained model.
///
/// [`Model::judge`] judges a comment, [`Model::explain`] explains a sentence, and [`crate::artifact`] stores models.
#[derive(Debug)]
pub struct Model {
    /// Unique among the models of this process.
    id: u64,
    spec: Spec,
    analyser: Analyser,
    table: Table,
    /// From a feature's key to its place in the columns.
    places: Places,
    /// The table's cells by component.
    ///
    /// Cells are as small as scoring allows, and the most common features come first: a lookup mostly waits for memory,
    /// and frequent cells then lie together.
    columns: Columns,
    /// Present if and only if the specification has a cascade.
    encoder: Option<Arc<Encoder>>,
}

impl Model {
    /// Builds a model without an encoder; refuses an invalid one.
    pub fn new(spec: Spec, table: Table) -> Result<Self, Invalid> {
        Self::with_encoder(spec, table, None)
    }

    /// Builds a model, with an encoder if its specification has a cascade.
    ///
    /// Refuses an invalid model.
    pub fn with_encoder(spec: Spec, table: Table, encoder: Option<Arc<Encoder>>) -> Result<Self, Invalid> {
        if spec.cascade.is_some() != encoder.is_some() {
            return Err(Invalid::OutOfRange("encoder"));
        }
        spec.cascade.as_ref().map_or(Ok(()), Cascade::check)?;
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
        let (places, order) = Places::of(&spec, &table);
        let columns = Columns::of(&spec, &table, &order);
        let id = MODELS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, spec, analyser, table, places, columns, encoder })
    }

    /// The specification: everything but the weights.
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
        self.places.find(key)
    }

    pub(crate) fn analyser(&self) -> &Analyser {
        &self.analyser
    }

    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The encoder and its cascade, if the model has them.
    #[must_use]
    pub fn cascade(&self) -> Option<(&Cascade, &Arc<Encoder>)> {
        self.spec.cascade.as_ref().zip(self.encoder.as_ref())
    }

    /// Thresholds with names; the first is the default.
    #[must_use]
    pub fn operating_points(&self) -> &[OperatingPoint] {
        self.spec.cascade.as_ref().map_or(&self.spec.operating_points, |cascade| &cascade.operating_points)
    }

    /// The default operating point's threshold.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        self.operating_points()[0].threshold
    }

    /// The band for human review.
    #[must_use]
    pub fn band(&self) -> Band {
        Band::of(self.operating_points())
    }

    /// The same model with another context, calibration and operating points.
    pub fn finished(
        self,
        context: Option<Context>,
        calibration: Platt,
        operating_points: Vec<OperatingPoint>,
    ) -> Result<Self, Invalid> {
        let spec = Spec { context, calibration, operating_points, ..self.spec };
        Self::with_encoder(spec, self.table, self.encoder)
    }

    /// The same model with another least fast probability for the encoder.
    ///
    /// A model without an encoder stays unchanged.
    #[must_use]
    pub fn passing_from(mut self, pass_from: f64) -> Self {
        if let Some(cascade) = &mut self.spec.cascade {
            cascade.pass_from = pass_from;
        }
        self
    }

    /// The same model with an encoder.
    pub fn joined_by(self, encoder: Arc<Encoder>, cascade: Cascade) -> Result<Self, Invalid> {
        Self::with_encoder(Spec { cascade: Some(cascade), ..self.spec }, self.table, Some(encoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        features::{self, FeatureSet},
        text::WordRule,
    };

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
            cascade: None,
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
        let mut scratch = features::Scratch::default();
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
