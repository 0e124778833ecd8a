//! Self-attention among the tokens of a sentence, forward and backward.

use rayon::prelude::*;

use crate::math::{add_scaled, dot, softmax};

/// A batch of sentences, stored one after another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sentences {
    /// `starts[s]..starts[s + 1]` are the tokens of sentence s.
    starts: Vec<usize>,
}

impl Sentences {
    pub(crate) fn of(lengths: impl Iterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        for length in lengths {
            starts.push(starts[starts.len() - 1] + length);
        }
        Self { starts }
    }

    pub(crate) fn tokens(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    pub(crate) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.starts.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// Splits a row with `width` numbers per token by sentence.
    pub(crate) fn split<'a>(&self, all: &'a [f32], width: usize) -> Vec<&'a [f32]> {
        self.starts.windows(2).map(|pair| &all[pair[0] * width..pair[1] * width]).collect()
    }

    /// The same, mutable.
    pub(crate) fn split_mut<'a>(&self, all: &'a mut [f32], width: usize) -> Vec<&'a mut [f32]> {
        self.split_by(all, |length| length * width)
    }

    /// Splits a row with `heads` squares per sentence.
    fn split_squares<'a>(&self, all: &'a mut [f32], heads: usize) -> Vec<&'a mut [f32]> {
        self.split_by(all, |length| length * length * heads)
    }

    fn split_by<'a>(&self, mut all: &'a mut [f32], size: impl Fn(usize) -> usize) -> Vec<&'a mut [f32]> {
        let piece = |length: usize| {
            let (mine, rest) = std::mem::take(&mut all).split_at_mut(size(length));
            all = rest;
            mine
        };
        self.lengths().map(piece).collect()
    }

    /// The length of a row of squares.
    pub(crate) fn squares(&self, heads: usize) -> usize {
        self.lengths().map(|length| length * length * heads).sum()
    }
}

/// The sizes of queries, keys and values.
#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    hidden: usize,
}

impl Shape {
    /// The head's part of a token's queries (0), keys (1) or values (2).
    #[inline(always)]
    fn part<'a>(&self, all: &'a [f32], token: usize, which: usize, head: usize) -> &'a [f32] {
        let size = self.hidden / self.heads;
        &all[token * 3 * self.hidden + which * self.hidden + head * size..][..size]
    }

    #[inline(always)]
    fn part_mut<'a>(&self, all: &'a mut [f32], token: usize, which: usize, head: usize) -> &'a mut [f32] {
        let size = self.hidden / self.heads;
        &mut all[token * 3 * self.hidden + which * self.hidden + head * size..][..size]
    }

    fn scale(&self) -> f32 {
        1.0 / ((self.hidden / self.heads) as f32).sqrt()
    }
}

/// Mixes the values of each sentence; writes the attention to `probabilities`, one square per head.
pub(crate) fn forward(
    sentences: &Sentences,
    heads: usize,
    hidden: usize,
    parts: &[f32],
    probabilities: &mut [f32],
    mixed: &mut [f32],
) {
    let shape = Shape { heads, hidden };
    let jobs: Vec<_> = sentences
        .split(parts, 3 * hidden)
        .into_iter()
        .zip(sentences.split_squares(probabilities, heads))
        .zip(sentences.split_mut(mixed, hidden))
        .collect();
    jobs.into_par_iter().for_each(|((parts, squares), mixed)| {
        pulp::Arch::new().dispatch(Forward { shape, parts, squares, mixed });
    });
}

struct Forward<'a> {
    shape: Shape,
    parts: &'a [f32],
    squares: &'a mut [f32],
    mixed: &'a mut [f32],
}

impl pulp::WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        if !self.mixed.is_empty() {
            one_sentence(self.shape, self.parts, self.squares, self.mixed);
        }
    }
}

/// The same for one sentence, on the calling thread.
pub(crate) fn forward_one(heads: usize, hidden: usize, parts: &[f32], squares: &mut [f32], mixed: &mut [f32]) {
    pulp::Arch::new().dispatch(Forward { shape: Shape { heads, hidden }, parts, squares, mixed });
}

/// One sentence of [`forward`].
#[inline(always)]
fn one_sentence(shape: Shape, parts: &[f32], squares: &mut [f32], mixed: &mut [f32]) {
    let Shape { heads, hidden } = shape;
    let (n, size, scale) = (mixed.len() / hidden, hidden / heads, shape.scale());
    mixed.fill(0.0);
    for (head, square) in squares.chunks_exact_mut(n * n).enumerate() {
        for (i, row) in square.chunks_exact_mut(n).enumerate() {
            let query = shape.part(parts, i, 0, head);
            for (j, cell) in row.iter_mut().enumerate() {
                *cell = dot(query, shape.part(parts, j, 1, head)) * scale;
            }
            softmax(row);
            let out = &mut mixed[i * hidden + head * size..][..size];
            for (j, p) in row.iter().enumerate() {
                add_scaled(out, *p, shape.part(parts, j, 2, head));
            }
        }
    }
}

/// The gradient of queries, keys and values, from that of the mixed values.
pub(crate) fn backward(
    sentences: &Sentences,
    heads: usize,
    hidden: usize,
    parts: &[f32],
    probabilities: &mut [f32],
    mixed_gradient: &[f32],
    parts_gradient: &mut [f32],
) {
    let shape = Shape { heads, hidden };
    let jobs: Vec<_> = sentences
        .split(parts, 3 * hidden)
        .into_iter()
        .zip(sentences.split_squares(probabilities, heads))
        .zip(sentences.split(mixed_gradient, hidden))
        .zip(sentences.split_mut(parts_gradient, 3 * hidden))
        .collect();
    jobs.into_par_iter().for_each(|(((parts, squares), mixed_gradient), parts_gradient)| {
        pulp::Arch::new().dispatch(Backward { shape, parts, squares, mixed_gradient, parts_gradient });
    });
}

struct Backward<'a> {
    shape: Shape,
    parts: &'a [f32],
    squares: &'a mut [f32],
    mixed_gradient: &'a [f32],
    parts_gradient: &'a mut [f32],
}

impl pulp::WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { shape, parts, squares, mixed_gradient, parts_gradient } = self;
        let Shape { heads, hidden } = shape;
        let (n, size, scale) = (mixed_gradient.len() / hidden, hidden / heads, shape.scale());
        if n == 0 {
            return;
        }
        parts_gradient.fill(0.0);
        let mut row_gradient = [0.0_f32; crate::config::MAX_TOKENS];
        let row_gradient = &mut row_gradient[..n];
        for (head, square) in squares.chunks_exact_mut(n * n).enumerate() {
            for (i, row) in square.chunks_exact_mut(n).enumerate() {
                let out = &mixed_gradient[i * hidden + head * size..][..size];
                for (j, (gradient, p)) in row_gradient.iter_mut().zip(row.iter()).enumerate() {
                    *gradient = dot(out, shape.part(parts, j, 2, head));
                    add_scaled(shape.part_mut(parts_gradient, j, 2, head), *p, out);
                }
                let along = dot(row_gradient, row);
                for (j, (gradient, p)) in row_gradient.iter().zip(row.iter()).enumerate() {
                    let gradient = p * (gradient - along) * scale;
                    add_scaled(shape.part_mut(parts_gradient, i, 0, head), gradient, shape.part(parts, j, 1, head));
                    add_scaled(shape.part_mut(parts_gradient, j, 1, head), gradient, shape.part(parts, i, 0, head));
                }
            }
        }
    }
}
