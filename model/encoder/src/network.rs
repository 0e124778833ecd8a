//! The forward and backward pass of the encoder, without padding: sentences lie one after another.

use rayon::prelude::*;

use crate::{
    attention::{self, Sentences},
    config::{Affine, Config, Dense, Layer, Layout},
    gemm::{Onto, View, multiply},
    math::{add_scaled, dot, gelu, gelu_slope, standardise, standardise_backward},
    simd::vectorised,
};

/// Rows per unit of work if a row costs little.
const PIECE: usize = 16;

/// The values of a forward pass that the backward pass needs; its memory is reused.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    sentences: Sentences,
    ids: Vec<u32>,
    embedded: Standard,
    layers: Vec<LayerTape>,
    /// The mean of each sentence's tokens.
    pub(crate) means: Vec<f32>,
}

#[derive(Debug, Default)]
struct LayerTape {
    parts: Vec<f32>,
    probabilities: Vec<f32>,
    mixed: Vec<f32>,
    first: Standard,
    wide: Vec<f32>,
    bent: Vec<f32>,
    second: Standard,
}

/// Standardised rows (mean 0, variance 1), and the result of scale and shift.
#[derive(Debug, Default)]
struct Standard {
    rows: Vec<f32>,
    inverses: Vec<f32>,
    out: Vec<f32>,
}

/// Makes room for `length` numbers with undefined values.
fn sized(row: &mut Vec<f32>, length: usize) -> &mut [f32] {
    row.resize(length, 0.0);
    row
}

impl Standard {
    /// Standardises `rows`, then applies scale and shift to each number.
    fn apply(&mut self, numbers: &[f32], at: &Affine, epsilon: f32) {
        let (scale, shift) = (&numbers[at.scale.clone()], &numbers[at.shift.clone()]);
        let width = scale.len();
        let tokens = self.rows.len() / width;
        let (inverses, out) = (sized(&mut self.inverses, tokens), sized(&mut self.out, tokens * width));
        let pieces = self.rows.par_chunks_mut(PIECE * width).zip(out.par_chunks_mut(PIECE * width));
        pieces.zip(inverses.par_chunks_mut(PIECE)).for_each(|((rows, out), inverses)| {
            vectorised(move || {
                let rows = rows.chunks_exact_mut(width).zip(out.chunks_exact_mut(width));
                for ((row, out), inverse) in rows.zip(inverses) {
                    *inverse = standardise(row, epsilon);
                    for (((out, x), scale), shift) in out.iter_mut().zip(row).zip(scale).zip(shift) {
                        *out = *x * scale + shift;
                    }
                }
            });
        });
    }

    /// Turns the gradient of the output into that of the input, in place.
    ///
    /// Adds to the gradients of scale and shift.
    fn backward(&self, gradient: &mut [f32], numbers: &[f32], at: &Affine, gradients: &mut [f32]) {
        let scale = &numbers[at.scale.clone()];
        let width = scale.len();
        add_column_sums(&mut gradients[at.shift.clone()], gradient, None);
        add_column_sums(&mut gradients[at.scale.clone()], gradient, Some(&self.rows));
        let pieces = gradient.par_chunks_mut(PIECE * width).zip(self.rows.par_chunks(PIECE * width));
        pieces.zip(self.inverses.par_chunks(PIECE)).for_each(|((gradient, rows), inverses)| {
            vectorised(move || {
                let rows = gradient.chunks_exact_mut(width).zip(rows.chunks_exact(width));
                for ((gradient, row), inverse) in rows.zip(inverses) {
                    standardise_backward(gradient, row, scale, *inverse);
                }
            });
        });
    }
}

/// Adds the column sums of a matrix, multiplied element by element with `factors` if given.
fn add_column_sums(sums: &mut [f32], matrix: &[f32], factors: Option<&[f32]>) {
    const STRIPE: usize = 64;
    let width = sums.len();
    sums.par_chunks_mut(STRIPE).enumerate().for_each(|(stripe, sums)| {
        vectorised(move || {
            let columns = stripe * STRIPE..stripe * STRIPE + sums.len();
            let mut total = [0.0_f32; STRIPE];
            match factors {
                None => {
                    for row in matrix.chunks_exact(width) {
                        for (sum, x) in total.iter_mut().zip(&row[columns.clone()]) {
                            *sum += x;
                        }
                    }
                }
                Some(factors) => {
                    for (row, factors) in matrix.chunks_exact(width).zip(factors.chunks_exact(width)) {
                        let row = row[columns.clone()].iter().zip(&factors[columns.clone()]);
                        for (sum, (x, factor)) in total.iter_mut().zip(row) {
                            *sum += x * factor;
                        }
                    }
                }
            }
            for (sum, total) in sums.iter_mut().zip(total) {
                *sum += total;
            }
        });
    });
}

/// A dense layer: `x * weight' + bias`.
fn dense(x: &[f32], numbers: &[f32], at: &Dense, out: &mut Vec<f32>) {
    let (weight, bias) = (&numbers[at.weight.clone()], &numbers[at.bias.clone()]);
    let width = weight.len() / bias.len();
    let out = sized(out, x.len() / width * bias.len());
    multiply(out, View::of(x, width), View::of(weight, width).transposed(), Onto::Bias(bias));
}

/// The backward pass of [`dense`].
///
/// Adds the gradient of `x` to `into`, and the gradients of weight and bias to `gradients`.
fn dense_backward(
    gradient: &[f32],
    x: &[f32],
    numbers: &[f32],
    at: &Dense,
    gradients: &mut [f32],
    into: (&mut Vec<f32>, Onto<'_>),
) {
    let weight = &numbers[at.weight.clone()];
    let (outputs, width) = (at.bias.len(), weight.len() / at.bias.len());
    add_column_sums(&mut gradients[at.bias.clone()], gradient, None);
    let of_weight = &mut gradients[at.weight.clone()];
    multiply(of_weight, View::of(gradient, outputs).transposed(), View::of(x, width), Onto::Present);
    let (into, onto) = into;
    multiply(sized(into, x.len()), View::of(gradient, outputs), View::of(weight, width), onto);
}

/// `out = f(out, x)`, number by number.
fn each(out: &mut [f32], x: &[f32], f: impl Fn(f32, f32) -> f32 + Copy + Send + Sync) {
    const LENGTH: usize = 1 << 13;
    out.par_chunks_mut(LENGTH).zip(x.par_chunks(LENGTH)).for_each(|(out, x)| {
        vectorised(move || {
            for (out, x) in out.iter_mut().zip(x) {
                *out = f(*out, *x);
            }
        });
    });
}

/// Reads sentences; the tape then contains the mean of each.
pub(crate) fn forward(config: &Config, layout: &Layout, numbers: &[f32], sentences: &[&[u32]], tape: &mut Tape) {
    let (h, epsilon) = (config.hidden_size, config.layer_norm_eps);
    let Tape { sentences: places, ids, embedded, layers, means } = tape;
    *places = Sentences::of(sentences.iter().map(|sentence| sentence.len()));
    ids.clear();
    ids.extend(sentences.iter().flat_map(|sentence| *sentence));
    layers.resize_with(layout.layers.len(), LayerTape::default);

    let (words, positions) = (&numbers[layout.words.clone()], &numbers[layout.positions.clone()]);
    let kind = &numbers[layout.kind.clone()];
    let rows = sized(&mut embedded.rows, places.tokens() * h);
    for (rows, ids) in places.split_mut(rows, h).into_iter().zip(sentences) {
        for ((row, id), position) in rows.chunks_exact_mut(h).zip(*ids).zip(positions.chunks_exact(h)) {
            let word = &words[*id as usize * h..][..h];
            for (((out, word), position), kind) in row.iter_mut().zip(word).zip(position).zip(kind) {
                *out = word + position + kind;
            }
        }
    }
    embedded.apply(numbers, &layout.norm, epsilon);

    let mut x = &embedded.out;
    for (at, tape) in layout.layers.iter().zip(layers.iter_mut()) {
        forward_layer(config, at, numbers, places, x, tape);
        x = &tape.second.out;
    }
    let means = sized(means, sentences.len() * h);
    for (mean, rows) in means.chunks_exact_mut(h).zip(places.split(x, h)) {
        mean.fill(0.0);
        let share = 1.0 / (rows.len() / h) as f32;
        for row in rows.chunks_exact(h) {
            add_scaled(mean, share, row);
        }
    }
}

fn forward_layer(config: &Config, at: &Layer, numbers: &[f32], places: &Sentences, x: &[f32], tape: &mut LayerTape) {
    let (h, heads, epsilon) = (config.hidden_size, config.num_attention_heads, config.layer_norm_eps);
    dense(x, numbers, &at.attention, &mut tape.parts);
    let probabilities = sized(&mut tape.probabilities, places.squares(heads));
    attention::forward(places, heads, h, &tape.parts, probabilities, sized(&mut tape.mixed, x.len()));
    dense(&tape.mixed, numbers, &at.mixed, &mut tape.first.rows);
    each(&mut tape.first.rows, x, |out, x| out + x);
    tape.first.apply(numbers, &at.mixed_norm, epsilon);
    dense(&tape.first.out, numbers, &at.widened, &mut tape.wide);
    each(sized(&mut tape.bent, tape.wide.len()), &tape.wide, |_, x| gelu(x));
    dense(&tape.bent, numbers, &at.narrowed, &mut tape.second.rows);
    each(&mut tape.second.rows, &tape.first.out, |out, x| out + x);
    tape.second.apply(numbers, &at.narrowed_norm, epsilon);
}

/// Reusable memory for a backward pass.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    rows: Vec<f32>,
    wide: Vec<f32>,
    mixed: Vec<f32>,
    parts: Vec<f32>,
}

/// Adds the gradients of all parameters but the words; returns each token's word gradient.
///
/// `mean_gradients` are the gradients of the tape's means. The result has one row per token.
pub(crate) fn backward<'w>(
    config: &Config,
    layout: &Layout,
    numbers: &[f32],
    tape: &mut Tape,
    mean_gradients: &[f32],
    gradients: &mut [f32],
    workspace: &'w mut Workspace,
) -> &'w [f32] {
    let (h, heads) = (config.hidden_size, config.num_attention_heads);
    let Tape { sentences: places, embedded, layers, .. } = tape;
    let Workspace { rows: gradient, wide, mixed, parts } = workspace;
    let rows = sized(gradient, places.tokens() * h);
    for (rows, mean) in places.split_mut(rows, h).into_iter().zip(mean_gradients.chunks_exact(h)) {
        let share = 1.0 / (rows.len() / h) as f32;
        for row in rows.chunks_exact_mut(h) {
            for (out, mean) in row.iter_mut().zip(mean) {
                *out = mean * share;
            }
        }
    }
    for k in (0..layout.layers.len()).rev() {
        let at = &layout.layers[k];
        let (before, after) = layers.split_at_mut(k);
        let x = before.last().map_or(&embedded.out, |layer| &layer.second.out);
        let tape = &mut after[0];
        tape.second.backward(gradient, numbers, &at.narrowed_norm, gradients);
        dense_backward(gradient, &tape.bent, numbers, &at.narrowed, gradients, (wide, Onto::Zero));
        each(wide, &tape.wide, |gradient, x| gradient * gelu_slope(x));
        // The gradient of the residual connection is still in `gradient`.
        dense_backward(wide, &tape.first.out, numbers, &at.widened, gradients, (gradient, Onto::Present));
        tape.first.backward(gradient, numbers, &at.mixed_norm, gradients);
        dense_backward(gradient, &tape.mixed, numbers, &at.mixed, gradients, (mixed, Onto::Zero));
        let parts = sized(parts, tape.parts.len());
        attention::backward(places, heads, h, &tape.parts, &mut tape.probabilities, mixed, parts);
        dense_backward(parts, x, numbers, &at.attention, gradients, (gradient, Onto::Present));
    }
    embedded.backward(gradient, numbers, &layout.norm, gradients);
    add_column_sums(&mut gradients[layout.kind.clone()], gradient, None);
    let positions = &mut gradients[layout.positions.clone()];
    for rows in places.split(gradient, h) {
        for (sum, x) in positions.iter_mut().zip(rows) {
            *sum += x;
        }
    }
    gradient
}

/// The head's score of each mean.
pub(crate) fn head(layout: &Layout, numbers: &[f32], means: &[f32]) -> Vec<f32> {
    let (weight, bias) = (&numbers[layout.head.weight.clone()], numbers[layout.head.bias.start]);
    means.chunks_exact(weight.len()).map(|mean| dot(mean, weight) + bias).collect()
}

impl Tape {
    /// The word pieces of every token that was read.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }
}
