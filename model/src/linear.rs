//! The one representation of a trained model: a table of weights by feature key, how they are summed, a calibration,
//! operating points.
//!
//! Whatever trained it, a model is scored, explained and stored by the code here.

use std::{
    cell::RefCell,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use crate::{
    calibration::Platt,
    features::{Analyser, Extractor, Feature, FeatureSet, Scratch, UnknownExtractor},
    operation::Band,
    runs::{Found, Passing},
    table::{ABSENT, Index, Table},
    text,
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

/// A component's cells by row.
#[derive(Debug)]
pub(crate) enum Column {
    /// In units; [`ABSENT`], or past the end, where the component has no such feature.
    Weights(Vec<i64>),
    /// Weight times frequency, and frequency; zeros where the component has no such feature.
    TfIdf(Vec<[f32; 2]>),
}

impl Column {
    fn of(table: &Table, order: &[u32], normalisation: Normalisation, at: usize) -> Self {
        let rows = order.iter().map(|&row| table.cells(row as usize));
        let real = |cell: i64| if cell == ABSENT { 0.0 } else { (cell as f64 / UNITS) as f32 };
        match normalisation {
            Normalisation::Length { .. } => {
                let mut weights: Vec<i64> = rows.map(|cells| cells[at]).collect();
                let known = weights.iter().rposition(|&weight| weight != ABSENT).map_or(0, |last| last + 1);
                weights.truncate(known);
                Self::Weights(weights)
            }
            Normalisation::TfIdf => Self::TfIdf(rows.map(|cells| [real(cells[at]), real(cells[at + 1])]).collect()),
        }
    }

    /// What one occurrence of a row's feature weighs, in log-odds before normalisation.
    pub(crate) fn weight(&self, row: usize) -> Option<f64> {
        match self {
            Self::Weights(weights) => weights.get(row).filter(|&&w| w != ABSENT).map(|&w| w as f64 / UNITS),
            Self::TfIdf(cells) => Some(f64::from(cells[row][0])).filter(|_| cells[row][1] != 0.0),
        }
    }
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

/// The score of one sentence, judged alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Log-odds before context and calibration, in whole units.
    pub logit: f64,
    /// Features of the sentence.
    pub features: u32,
    /// Features that the model knows.
    pub known: u32,
}

/// What the model says of a comment.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Probability that the comment has a threat: that of its most threatening sentence.
    pub probability: f64,
    /// Whether it reaches the threshold.
    pub is_threat: bool,
    /// The deciding operating point's threshold.
    pub threshold: f64,
    /// What is left to people.
    pub band: Band,
    /// Each sentence, in order.
    pub sentences: Vec<SentenceVerdict>,
    /// Share of the comment's features that the model does not know, from 0 to 1.
    pub unknown_share: f64,
}

/// What the model says of a sentence of a comment.
#[derive(Clone, Debug, PartialEq)]
pub struct SentenceVerdict {
    /// Its bytes in the comment.
    pub bytes: std::ops::Range<usize>,
    /// Probability that it is a threat.
    pub probability: f64,
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
        static MODELS: AtomicU64 = AtomicU64::new(1);
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

    /// Scores one sentence.
    #[must_use]
    pub fn score(&self, sentence: &str, scratch: &mut Scratch) -> Score {
        // One naive Bayes needs no counts of single features: its weights are added as they come.
        if let ([component], [Column::Weights(weights)]) = (&self.spec.components[..], &self.columns[..])
            && let Normalisation::Length { exponent } = component.normalisation
        {
            self.analyser.analyse(sentence, scratch);
            let features = scratch.features.len() as u32;
            let (mut sum, mut known) = (0_i64, 0_u32);
            for feature in &scratch.features {
                if let Some(row) = self.place(feature.key) {
                    sum = sum.wrapping_add(weights[row]);
                    known += 1;
                }
            }
            let own = length_normalised(sum, known, exponent) + component.bias;
            return Score { logit: quantised(component.weight * own + self.spec.intercept), features, known };
        }
        self.score_by_run(sentence, scratch)
    }

    /// The score from sums over runs of non-space, which are remembered, and over what else the sentence has. A feature
    /// that stands twice counts less than double: that is put right where it is met again.
    fn score_by_run(&self, sentence: &str, scratch: &mut Scratch) -> Score {
        self.analyser.find_words(sentence, scratch);
        let Scratch { words, features: buffer, slots, runs, stamps, totals, passing, .. } = scratch;
        runs.begin(self.id, self.columns.len());
        stamps.begin(self.table.len());
        totals.clear();
        totals.extend(self.columns.iter().map(Column::nothing));
        let mut look_up = |extractor: &dyn Extractor, text: &str, passing: &mut Passing| {
            buffer.clear();
            extractor.extract(text, words, buffer);
            passing.rows.clear();
            self.rows_of(buffer, slots, &mut passing.rows);
            passing.sums.clear();
            passing.sums.extend(self.columns.iter().map(|column| column.sum(&passing.rows)));
            buffer.len()
        };
        let (mut features, mut known) = (0, 0);
        let mut add = |found: Found<'_>| {
            features += found.features;
            known += found.rows.len() as u32;
            for (total, sum) in totals.iter_mut().zip(found.sums) {
                total.add(sum);
            }
            for &row in found.rows {
                let count = stamps.count(row as usize);
                if count > 1 {
                    let columns = self.columns.iter();
                    columns.zip(totals.iter_mut()).for_each(|(column, total)| column.repeat(row, count, total));
                }
            }
        };
        for &extractor in self.analyser.extractors() {
            if extractor.is_of_runs() {
                for run in text::runs(sentence) {
                    add(runs.find(run, |passing| look_up(extractor, run, passing)));
                }
            } else {
                let features = look_up(extractor, sentence, passing) as u32;
                add(Found { rows: &passing.rows, sums: &passing.sums, features });
            }
        }
        let parts =
            self.spec.components.iter().zip(totals).map(|(component, total)| {
                component.weight * (total.part(component.normalisation).score + component.bias)
            });
        Score { logit: quantised(parts.fold(self.spec.intercept, |sum, part| sum + part)), features, known }
    }

    /// Appends the places of those features that the model knows. All searches begin before any goes on, so that they
    /// wait for memory together.
    fn rows_of(&self, features: &[Feature], slots: &mut Vec<u64>, found: &mut Vec<u32>) {
        slots.clear();
        slots.extend(features.iter().map(|feature| self.index.probe(feature.key)));
        let resolve = |(feature, &slot): (&Feature, &u64)| self.index.resolve(feature.key, slot);
        found.extend(features.iter().zip(slots.iter()).filter_map(resolve).map(|row| row as u32));
    }

    /// Looks the analysed features up: which rows the sentence has, and how often.
    pub(crate) fn count_rows(&self, scratch: &mut Scratch) {
        scratch.counts.resize(self.table.len(), 0);
        for feature in &scratch.features {
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

    /// Scores after context of the sentences of one comment, from their own scores.
    #[must_use]
    pub fn in_context(&self, own: &[f64]) -> Vec<f64> {
        match self.spec.context {
            None => own.to_vec(),
            Some(context) => apply_context(&context, own),
        }
    }

    /// Judges a comment.
    ///
    /// A comment is as threatening as its most threatening sentence: one threat among ten friendly sentences is a
    /// threat, and the labels of a comment's sentences are combined in the same way when a model is evaluated.
    #[must_use]
    pub fn judge(&self, comment: &str) -> Verdict {
        thread_local! {
            static SCRATCH: RefCell<Scratch> = RefCell::default();
        }
        SCRATCH.with_borrow_mut(|scratch| self.judge_with(comment, scratch))
    }

    fn judge_with(&self, comment: &str, scratch: &mut Scratch) -> Verdict {
        let mut places = text::sentences(comment);
        if places.is_empty() {
            places.push(0..0);
        }
        let scores: Vec<Score> = places.iter().map(|place| self.score(&comment[place.clone()], scratch)).collect();
        let own: Vec<f64> = scores.iter().map(|score| score.logit).collect();
        let probabilities = self.in_context(&own).into_iter().map(|s| self.spec.calibration.probability(s));
        let sentences: Vec<SentenceVerdict> = places
            .into_iter()
            .zip(probabilities)
            .map(|(bytes, probability)| SentenceVerdict { bytes, probability })
            .collect();
        let probability = sentences.iter().map(|s| s.probability).fold(0.0, f64::max);
        let (features, known) = scores.iter().fold((0, 0), |(f, k), score| (f + score.features, k + score.known));
        let unknown_share = if features == 0 { 0.0 } else { 1.0 - f64::from(known) / f64::from(features) };
        let threshold = self.threshold();
        let band = self.band();
        Verdict { probability, is_threat: probability >= threshold, threshold, band, sentences, unknown_share }
    }
}

/// A component's score, and what a feature's weight is multiplied with to be a part of it.
pub(crate) struct Part {
    pub(crate) score: f64,
    pub(crate) scale: f64,
}

/// What rows add up to in one component.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sum {
    /// There is no component.
    Nothing,
    /// Weights, and how many there are.
    Units { sum: i64, known: u32 },
    /// Weights by term frequency, and the squares of frequencies.
    TfIdf { sum: f64, squares: f64 },
}

impl Sum {
    #[inline]
    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Units { sum, known }, Self::Units { sum: more, known: others }) => {
                *sum = sum.wrapping_add(*more);
                *known += others;
            }
            (Self::TfIdf { sum, squares }, Self::TfIdf { sum: more, squares: others }) => {
                *sum += more;
                *squares += others;
            }
            _ => {}
        }
    }

    fn part(self, normalisation: Normalisation) -> Part {
        match (self, normalisation) {
            (Self::Units { sum, known }, Normalisation::Length { exponent }) => {
                Part { score: length_normalised(sum, known, exponent), scale: 1.0 / length(known, exponent) }
            }
            (Self::TfIdf { sum, squares }, _) if squares > 0.0 => {
                let scale = 1.0 / squares.sqrt();
                Part { score: sum * scale, scale }
            }
            _ => Part { score: 0.0, scale: 0.0 },
        }
    }
}

impl Column {
    fn nothing(&self) -> Sum {
        match self {
            Self::Weights(_) => Sum::Units { sum: 0, known: 0 },
            Self::TfIdf(_) => Sum::TfIdf { sum: 0.0, squares: 0.0 },
        }
    }

    /// What rows add up to, each as often as it is there, as if each time were the first.
    fn sum(&self, rows: &[u32]) -> Sum {
        match self {
            Self::Weights(weights) => {
                let (mut sum, mut known) = (0_i64, 0);
                for &weight in rows.iter().filter_map(|&row| weights.get(row as usize)) {
                    if weight != ABSENT {
                        sum = sum.wrapping_add(weight);
                        known += 1;
                    }
                }
                Sum::Units { sum, known }
            }
            Self::TfIdf(cells) => {
                let (mut sum, mut squares) = (0.0, 0.0);
                for &row in rows {
                    let [weight, idf] = cells[row as usize].map(f64::from);
                    sum += weight;
                    squares += idf * idf;
                }
                Sum::TfIdf { sum, squares }
            }
        }
    }

    /// Puts right what [`Self::sum`] took for the first time that a row is there, and is the `count`th.
    #[inline]
    fn repeat(&self, row: u32, count: u16, total: &mut Sum) {
        if let (Self::TfIdf(cells), Sum::TfIdf { sum, squares }) = (self, total) {
            let [weight, idf] = cells[row as usize].map(f64::from);
            let (before, now) = (term_frequency(count - 1), term_frequency(count));
            *sum += (now - before - 1.0) * weight;
            *squares += (now * now - before * before - 1.0) * (idf * idf);
        }
    }

    /// What counted rows add up to and how their weights are scaled: as scoring does it, without its haste.
    pub(crate) fn part(&self, normalisation: Normalisation, rows: &[u32], counts: &[u16]) -> Part {
        let mut total = self.nothing();
        for &row in rows {
            for count in 1..=counts[row as usize] {
                total.add(&self.sum(&[row]));
                if count > 1 {
                    self.repeat(row, count, &mut total);
                }
            }
        }
        total.part(normalisation)
    }
}

/// How often each row was met in the sentence at hand, without a pass over the rows to forget the sentence before.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    /// By row: the sentence's number in the upper bits, the count in the lower.
    of_rows: Vec<u32>,
    sentence: u32,
}

/// Bits of a count: a sentence with the same feature 255 times says no more with the next.
const COUNT_BITS: u32 = 8;
const MOST: u32 = (1 << COUNT_BITS) - 1;

impl Stamps {
    /// Begins a sentence.
    #[inline]
    fn begin(&mut self, rows: usize) {
        self.sentence = (self.sentence + 1) & (u32::MAX >> COUNT_BITS);
        if self.sentence == 0 {
            self.of_rows.fill(0);
            self.sentence = 1;
        }
        if self.of_rows.len() < rows {
            self.of_rows.resize(rows, 0);
        }
    }

    /// Counts a row; answers how often the sentence has it so far, up to one more than is told apart.
    #[inline]
    fn count(&mut self, row: usize) -> u16 {
        let stamp = &mut self.of_rows[row];
        if *stamp >> COUNT_BITS != self.sentence {
            *stamp = self.sentence << COUNT_BITS | 1;
        } else if *stamp & MOST == MOST {
            return MOST as u16 + 1;
        } else {
            *stamp += 1;
        }
        (*stamp & MOST) as u16
    }
}

/// Each score between its neighbours in the slice.
#[must_use]
pub fn apply_context(context: &Context, own: &[f64]) -> Vec<f64> {
    let at = |i: usize| own.get(i).copied();
    (0..own.len()).map(|i| context.combine(own[i], i.checked_sub(1).and_then(at), at(i + 1))).collect()
}

/// The table's rows, those of the commonest features first where the model knows which these are.
fn commonest_first(spec: &Spec, table: &Table) -> Vec<u32> {
    let mut order: Vec<u32> = (0..table.len() as u32).collect();
    let mut at = 0;
    for component in &spec.components {
        if component.normalisation == Normalisation::TfIdf {
            // The inverse document frequency; features that this component does not have come last.
            let rarity = |row: u32| match table.cells(row as usize)[at + 1] {
                ABSENT => i64::MAX,
                idf => idf,
            };
            order.sort_by_key(|&row| rarity(row));
        }
        at += component.normalisation.columns();
    }
    // What a component of one column knows comes first of all: its column then ends where that does.
    let mut at = 0;
    for component in &spec.components {
        if component.normalisation != Normalisation::TfIdf {
            order.sort_by_key(|&row| table.cells(row as usize)[at] == ABSENT);
        }
        at += component.normalisation.columns();
    }
    order
}

/// Forgets the counted rows.
pub(crate) fn clear_counts(scratch: &mut Scratch) {
    for &row in &scratch.rows {
        scratch.counts[row as usize] = 0;
    }
    scratch.rows.clear();
}

/// 1 + ln(count): the tenth occurrence says less than the first.
#[inline]
pub(crate) fn term_frequency(count: u16) -> f64 {
    static FREQUENCIES: LazyLock<Vec<f64>> =
        LazyLock::new(|| (0..=MOST).map(|n| 1.0 + f64::from(n.max(1)).ln()).collect());
    FREQUENCIES[usize::from(count.min(MOST as u16))]
}

fn length(known: u32, exponent: f64) -> f64 {
    if exponent > 0.0 { f64::from(known.max(1)).powf(exponent) } else { 1.0 }
}

fn length_normalised(sum: i64, known: u32, exponent: f64) -> f64 {
    sum as f64 / UNITS / length(known, exponent)
}

/// To the nearest whole unit.
pub(crate) fn quantised(score: f64) -> f64 {
    (score * UNITS).round() / UNITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::WordRule;

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
