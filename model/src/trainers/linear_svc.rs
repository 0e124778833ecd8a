//! A linear support vector machine on tf-idf, by dual coordinate descent.
//!
//! It is our own implementation, because the library's needs dense rows.
//! Squared hinge loss with an L2 penalty: Hsieh, Chang, Lin, Keerthi, Sundararajan, "A dual coordinate descent method
//! for large-scale linear SVM", ICML 2008, algorithm 1 (liblinear's solver, what scikit-learn's `LinearSVC` runs).

use serde::Serialize;

use super::{Error, Fitted, Learner, Preset, Trainer};
use crate::{
    Row,
    counts::Counter,
    features::{FeatureSet, Scratch},
    linear::{Component, Normalisation, table::Table, term_frequency},
    random::SplitMix,
    text::WordRule,
};

pub(super) struct LinearSvc;

impl Trainer for LinearSvc {
    fn name(&self) -> &'static str {
        "linear_svc"
    }

    fn summary(&self) -> &'static str {
        "linear support vector machine on words, word pairs, sentence edges and character n-grams"
    }

    fn learners(&self) -> &'static [&'static dyn Learner] {
        &[&Hinge]
    }
}

/// All parameters of the fit; they are stored with the model.
#[derive(Clone, Debug, Serialize)]
struct Parameters {
    features: FeatureSet,
    /// Features of fewer sentences are left out.
    min_sentences: u32,
    /// The cost of an error relative to the size of the weights.
    c: f64,
    /// The descent stops when no row's projected gradient exceeds this.
    tolerance: f64,
    /// The most passes over the rows.
    max_passes: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            features: FeatureSet::new(
                WordRule::Word,
                &["bigrams", "char_3_and_4_grams", "edges", "stem_pairs", "unigrams"],
            ),
            min_sentences: 2,
            c: 0.5,
            tolerance: 1e-3,
            max_passes: 500,
        }
    }
}

/// The learner.
pub(super) struct Hinge;

impl Learner for Hinge {
    fn fit(&self, rows: &[&Row], preset: Preset) -> Result<Fitted, Error> {
        if preset == Preset::Sklearn {
            return Err(Error::NoSuchPreset);
        }
        let parameters = Parameters::default();
        // The descent visits rows in an order that depends on this one, so it must not depend on the caller's order.
        let mut rows = rows.to_vec();
        rows.sort_by(|a, b| a.text.cmp(&b.text).then(a.label.cmp(&b.label)));
        let matrix = Matrix::of(&rows, &parameters)?;
        let labels: Vec<f64> = rows.iter().map(|row| if row.is_threat() { 1.0 } else { -1.0 }).collect();
        if labels.iter().all(|&y| y > 0.0) || labels.iter().all(|&y| y < 0.0) {
            return Err(Error::Empty("threats and other sentences are both needed"));
        }
        let (weights, bias) = descend(&matrix, &labels, &parameters);
        let cells = weights.iter().zip(&matrix.idf).flat_map(|(w, idf)| [w * idf, *idf].map(Table::quantise));
        let table = Table::new(matrix.keys, 2, cells.collect())?;
        let component = Component {
            learner: "linear_svc".to_owned(),
            parameters: serde_json::to_value(&parameters).expect("parameters are plain data"),
            bias,
            normalisation: Normalisation::TfIdf,
            weight: 1.0,
        };
        Ok(Fitted { component, features: parameters.features, table })
    }
}

/// Sparse tf-idf rows of length 1.
///
/// A value is (1 + ln tf) * idf with idf = ln((1 + rows) / (1 + df)) + 1, as in scikit-learn's `TfidfTransformer` with
/// `sublinear_tf`.
struct Matrix {
    keys: Vec<u64>,
    idf: Vec<f64>,
    /// `starts[i]..starts[i + 1]` are the entries of row i.
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Matrix {
    fn of(rows: &[&Row], parameters: &Parameters) -> Result<Self, Error> {
        let analyser = parameters.features.analyser()?;
        let (mut counter, mut scratch) = (Counter::default(), Scratch::default());
        for row in rows {
            counter.add(&analyser, &row.text, row.is_threat(), &mut scratch);
        }
        let frequent = counter.finish().frequent(parameters.min_sentences);
        if frequent.is_empty() {
            return Err(Error::Empty("no word occurs in enough sentences"));
        }
        let idf = |df: u32| ((1.0 + rows.len() as f64) / (1.0 + f64::from(df))).ln() + 1.0;
        let (keys, idf): (Vec<u64>, Vec<f64>) =
            frequent.iter().map(|(key, count)| (*key, idf(count.sentences))).unzip();
        let index = Table::new(keys.clone(), 0, vec![])?;
        let mut matrix = Self { keys, idf, starts: vec![0], columns: Vec::new(), values: Vec::new() };
        let mut found = Vec::new();
        for row in rows {
            analyser.analyse(&row.text, &mut scratch);
            found.clear();
            found.extend(scratch.features.iter().filter_map(|feature| index.find(feature.key)));
            found.sort_unstable();
            matrix.push(&found);
        }
        Ok(matrix)
    }

    /// Appends a row. `found` has each column in ascending order, as often as it occurs.
    fn push(&mut self, found: &[usize]) {
        let start = self.values.len();
        let mut squares = 0.0;
        for same in found.chunk_by(|a, b| a == b) {
            let value = term_frequency(same.len() as u32) * self.idf[same[0]];
            squares += value * value;
            self.columns.push(same[0] as u32);
            self.values.push(value as f32);
        }
        let norm = squares.sqrt().max(f64::MIN_POSITIVE);
        for value in &mut self.values[start..] {
            *value = (f64::from(*value) / norm) as f32;
        }
        self.starts.push(self.values.len());
    }

    fn row(&self, i: usize) -> impl Iterator<Item = (usize, f64)> {
        let range = self.starts[i]..self.starts[i + 1];
        let columns = self.columns[range.clone()].iter().map(|&c| c as usize);
        columns.zip(self.values[range].iter().map(|&v| f64::from(v)))
    }
}

/// The weights and the bias, which is the weight of a constant feature of 1.
fn descend(matrix: &Matrix, labels: &[f64], parameters: &Parameters) -> (Vec<f64>, f64) {
    let diagonal = 0.5 / parameters.c;
    let n = labels.len();
    let squared: Vec<f64> = (0..n).map(|i| diagonal + 1.0 + matrix.row(i).map(|(_, v)| v * v).sum::<f64>()).collect();
    let mut weights = vec![0.0; matrix.keys.len()];
    let mut bias = 0.0;
    let mut alpha = vec![0.0_f64; n];
    let mut order: Vec<u32> = (0..n as u32).collect();
    let mut active = n;
    // A row at its bound is skipped until the end if its gradient exceeds this.
    let mut bound = f64::INFINITY;
    let mut random = SplitMix(0x5eed);
    for _ in 0..parameters.max_passes {
        for i in (1..active).rev() {
            order.swap(i, random.below(i + 1));
        }
        let (mut highest, mut lowest) = (f64::NEG_INFINITY, f64::INFINITY);
        let mut at = 0;
        while at < active {
            let i = order[at] as usize;
            let y = labels[i];
            let margin = bias + matrix.row(i).map(|(column, v)| weights[column] * v).sum::<f64>();
            let gradient = y * margin - 1.0 + alpha[i] * diagonal;
            if alpha[i] == 0.0 && gradient > bound {
                active -= 1;
                order.swap(at, active);
                continue;
            }
            let projected = if alpha[i] == 0.0 { gradient.min(0.0) } else { gradient };
            highest = highest.max(projected);
            lowest = lowest.min(projected);
            if projected.abs() > 1e-12 {
                let new = (alpha[i] - gradient / squared[i]).max(0.0);
                let change = (new - alpha[i]) * y;
                alpha[i] = new;
                bias += change;
                for (column, v) in matrix.row(i) {
                    weights[column] += change * v;
                }
            }
            at += 1;
        }
        if highest - lowest <= parameters.tolerance {
            if active == n {
                break;
            }
            // The last passes include the skipped rows again.
            active = n;
            bound = f64::INFINITY;
            continue;
        }
        bound = if highest > 0.0 { highest } else { f64::INFINITY };
    }
    (weights, bias)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus;

    #[test]
    fn no_row_could_lower_the_loss() {
        let sample = corpus::sample().rows;
        let rows: Vec<&Row> = sample.iter().take(300).collect();
        let parameters = Parameters { tolerance: 1e-6, max_passes: 5000, ..Parameters::default() };
        let matrix = Matrix::of(&rows, &parameters).unwrap();
        let labels: Vec<f64> = rows.iter().map(|row| if row.is_threat() { 1.0 } else { -1.0 }).collect();
        let (weights, bias) = descend(&matrix, &labels, &parameters);
        // The primal gradient at the optimum is zero: w = 2 C sum of y x max(0, 1 - y w x).
        let mut gradient = weights.clone();
        let mut bias_gradient = bias;
        for (i, y) in labels.iter().enumerate() {
            let margin = y * (bias + matrix.row(i).map(|(c, v)| weights[c] * v).sum::<f64>());
            let pull = 2.0 * parameters.c * (1.0 - margin).max(0.0) * y;
            bias_gradient -= pull;
            for (column, v) in matrix.row(i) {
                gradient[column] -= pull * v;
            }
        }
        let worst = gradient.iter().map(|g| g.abs()).fold(bias_gradient.abs(), f64::max);
        assert!(worst < 1e-5, "{worst}");
    }

    #[test]
    fn the_sklearn_preset_is_refused() {
        let sample = corpus::sample().rows;
        let rows: Vec<&Row> = sample.iter().collect();
        assert!(matches!(Hinge.fit(&rows, Preset::Sklearn), Err(Error::NoSuchPreset)));
    }
}
