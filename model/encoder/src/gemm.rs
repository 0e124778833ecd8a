//! Matrix products in 32-bit floats, on the threads of the current pool.
//!
//! Each element is one chain of fused multiply-adds along `k`, in blocks of [`DEPTH`] that are added in order. Its bits
//! do not depend on threads or on the width of the machine's vectors.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Rows that a kernel holds in registers.
const ROWS: usize = 6;
/// Columns that a kernel holds in registers.
const COLUMNS: usize = 16;
/// Steps along `k` for which a panel of `b` stays in the first-level cache.
const DEPTH: usize = 256;
/// Rows of the product per unit of work.
const PIECE: usize = 8 * ROWS;

/// A matrix that lies in memory row by row, or the transpose of one.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// A matrix with `columns` columns.
    pub(crate) fn of(data: &'a [f32], columns: usize) -> Self {
        let rows = data.len() / columns;
        Self { data: &data[..rows * columns], rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transpose.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// The start value of a product.
#[derive(Clone, Copy)]
pub(crate) enum Onto<'a> {
    /// Zero: overwrite the output.
    Zero,
    /// The same row for every row of the output.
    Bias(&'a [f32]),
    /// The present values of the output.
    Present,
}

/// `c = onto + a * b`; `c` is stored row by row.
pub(crate) fn multiply(c: &mut [f32], a: View<'_>, b: View<'_>, onto: Onto<'_>) {
    let (n, k) = (b.columns, a.columns);
    assert_eq!(b.rows, k, "the inner sides differ");
    assert_eq!(c.len(), a.rows * n, "the product has another size");
    let panels = Panels::of(b);
    let arch = Arch::new();
    c.par_chunks_mut(PIECE * n).enumerate().for_each_init(Vec::new, |packed: &mut Vec<[f32; ROWS]>, (piece, c)| {
        let first_row = piece * PIECE;
        for start in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - start);
            pack_rows(a, first_row..first_row + c.len() / n, start..start + depth, packed);
            let onto = if start == 0 { onto } else { Onto::Present };
            arch.dispatch(Piece { a: packed, b: panels.block(start), depth, c, n, onto });
        }
    });
}

/// `b` in panels of [`COLUMNS`] columns, block by block; missing columns are zero.
struct Panels {
    data: Vec<[f32; COLUMNS]>,
    k: usize,
    panels: usize,
}

impl Panels {
    fn of(b: View<'_>) -> Self {
        let panels = b.columns.div_ceil(COLUMNS);
        let mut data = vec![[0.0; COLUMNS]; panels * b.rows];
        let mut rest = data.as_mut_slice();
        let mut jobs = Vec::new();
        for start in (0..b.rows).step_by(DEPTH) {
            let depth = DEPTH.min(b.rows - start);
            for panel in 0..panels {
                let (mine, others) = rest.split_at_mut(depth);
                rest = others;
                jobs.push((start, panel * COLUMNS, mine));
            }
        }
        jobs.into_par_iter().with_min_len(8).for_each(|(start, column, out)| {
            let width = COLUMNS.min(b.columns - column);
            if b.column_stride == 1 {
                for (p, line) in out.iter_mut().enumerate() {
                    let at = (start + p) * b.row_stride + column;
                    line[..width].copy_from_slice(&b.data[at..at + width]);
                }
            } else {
                for j in 0..width {
                    let column = &b.data[(column + j) * b.column_stride + start..][..out.len()];
                    for (line, x) in out.iter_mut().zip(column) {
                        line[j] = *x;
                    }
                }
            }
        });
        Self { data, k: b.rows, panels }
    }

    /// The panels of the block that starts at `start`.
    fn block(&self, start: usize) -> &[[f32; COLUMNS]] {
        let depth = DEPTH.min(self.k - start);
        &self.data[start * self.panels..][..depth * self.panels]
    }
}

/// Rows of `a` in groups of [`ROWS`], column by column; missing rows are zero.
fn pack_rows(a: View<'_>, rows: std::ops::Range<usize>, depth: std::ops::Range<usize>, out: &mut Vec<[f32; ROWS]>) {
    out.clear();
    out.resize(rows.len().div_ceil(ROWS) * depth.len(), [0.0; ROWS]);
    for (group, out) in out.chunks_exact_mut(depth.len()).enumerate() {
        let first = rows.start + group * ROWS;
        let height = ROWS.min(rows.end - first);
        if a.column_stride == 1 {
            for r in 0..height {
                let row = &a.data[(first + r) * a.row_stride + depth.start..][..depth.len()];
                for (line, x) in out.iter_mut().zip(row) {
                    line[r] = *x;
                }
            }
        } else {
            for (p, line) in out.iter_mut().enumerate() {
                let at = (depth.start + p) * a.column_stride + first;
                line[..height].copy_from_slice(&a.data[at..at + height]);
            }
        }
    }
}

/// Some rows of the product, over one block along `k`.
struct Piece<'a> {
    a: &'a [[f32; ROWS]],
    b: &'a [[f32; COLUMNS]],
    depth: usize,
    c: &'a mut [f32],
    n: usize,
    onto: Onto<'a>,
}

impl WithSimd for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // The number of vectors in a panel's row.
        match S::F32_LANES {
            16 => self.run::<S, 1>(simd),
            8 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            _ => self.run::<S, COLUMNS>(simd),
        }
    }
}

impl Piece<'_> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let Self { a, b, depth, c, n, onto } = self;
        for (panel, b) in b.chunks_exact(depth).enumerate() {
            let column = panel * COLUMNS;
            let width = COLUMNS.min(n - column);
            let b = S::as_simd_f32s(b.as_flattened()).0.as_chunks::<VECTORS>().0;
            for (a, c) in a.chunks_exact(depth).zip(c.chunks_mut(ROWS * n)) {
                let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
                for (a, b) in a.iter().zip(b) {
                    for (sums, a) in sums.iter_mut().zip(a) {
                        let a = simd.splat_f32s(*a);
                        for (sum, b) in sums.iter_mut().zip(b) {
                            *sum = simd.mul_add_f32s(a, *b, *sum);
                        }
                    }
                }
                for (sums, row) in sums.iter().zip(c.chunks_exact_mut(n)) {
                    let mut line = [0.0_f32; COLUMNS];
                    for (out, sum) in S::as_mut_simd_f32s(&mut line).0.iter_mut().zip(sums) {
                        *out = *sum;
                    }
                    let row = &mut row[column..column + width];
                    match onto {
                        Onto::Zero => row.copy_from_slice(&line[..width]),
                        Onto::Bias(bias) => {
                            for ((c, sum), bias) in row.iter_mut().zip(line).zip(&bias[column..]) {
                                *c = bias + sum;
                            }
                        }
                        Onto::Present => {
                            for (c, sum) in row.iter_mut().zip(line) {
                                *c += sum;
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut random = crate::random::SplitMix(seed);
        (0..n).map(|_| (random.draw() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    #[test]
    fn a_product_is_that_of_the_schoolbook() {
        for (m, n, k) in [(1, 1, 1), (6, 16, 256), (50, 33, 300), (97, 5, 7), (13, 64, 600)] {
            let (a, b, start) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let transpose = |x: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..columns * rows).map(|i| x[i % rows * columns + i / rows]).collect()
            };
            let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
            let mut plain = start.clone();
            multiply(&mut plain, View::of(&a, k), View::of(&b, n), Onto::Present);
            for i in 0..m {
                for j in 0..n {
                    let exact: f64 = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j])).sum();
                    assert!((f64::from(plain[i * n + j] - start[i * n + j]) - exact).abs() < 1e-4, "{m} {n} {k}");
                }
            }
            let mut turned = start.clone();
            multiply(&mut turned, View::of(&at, m).transposed(), View::of(&bt, k).transposed(), Onto::Present);
            assert_eq!(plain, turned, "how the factors lie in memory does not matter");
            let mut over = start.clone();
            multiply(&mut over, View::of(&a, k), View::of(&b, n), Onto::Zero);
            let mut biased = start.clone();
            multiply(&mut biased, View::of(&a, k), View::of(&b, n), Onto::Bias(&b[..n]));
            assert!(over.iter().zip(&biased).enumerate().all(|(i, (x, y))| (x + b[i % n] - y).abs() < 1e-5));
        }
    }

    #[test]
    fn the_bits_depend_neither_on_threads_nor_on_vectors() {
        let (m, n, k) = (100, 40, 700);
        let (a, b) = (numbers(m * k, 4), numbers(k * n, 5));
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut c = vec![0.0; m * n];
            pool.install(|| multiply(&mut c, View::of(&a, k), View::of(&b, n), Onto::Zero));
            c
        };
        let one = on(1);
        assert_eq!(one, on(3));
        let panels = Panels::of(View::of(&b, n));
        let mut scalar = vec![0.0; m * n];
        let mut packed = Vec::new();
        for start in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - start);
            pack_rows(View::of(&a, k), 0..m, start..start + depth, &mut packed);
            let onto = if start == 0 { Onto::Zero } else { Onto::Present };
            Piece { a: &packed, b: panels.block(start), depth, c: &mut scalar, n, onto }.with_simd(pulp::Scalar::new());
        }
        assert_eq!(one, scalar);
    }
}
