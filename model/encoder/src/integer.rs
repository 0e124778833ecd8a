//! Matrix products of 8-bit weights and up to 16-bit inputs.
//!
//! The inputs use as many bits as 32-bit sums can hold. Sums of whole numbers are exact, so every machine and every
//! order gives the same result.

/// Rows that a kernel holds in registers.
const ROWS: usize = 6;
/// Columns that a kernel holds in registers.
const COLUMNS: usize = 16;

/// Weights by output; each output has its own scale.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weights {
    /// By [`COLUMNS`] outputs, then by pairs of inputs.
    ///
    /// The pairs of the first eight outputs come first, then those of the others.
    panels: Vec<[[i16; 16]; 2]>,
    scales: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

impl Weights {
    /// From `scales.len()` rows of weights; the number of inputs must be even.
    pub(crate) fn new(rows: &[i8], scales: Vec<f32>, bias: Vec<f32>) -> Self {
        let (outputs, inputs) = (scales.len(), rows.len() / scales.len());
        let mut panels = vec![[[0_i16; 16]; 2]; outputs.div_ceil(COLUMNS) * inputs / 2];
        for (output, row) in rows.chunks_exact(inputs).enumerate() {
            let panel = &mut panels[output / COLUMNS * inputs / 2..][..inputs / 2];
            let (half, place) = (output % COLUMNS / 8, output % 8);
            for (line, [first, second]) in panel.iter_mut().zip(row.as_chunks::<2>().0) {
                line[half][2 * place] = i16::from(*first);
                line[half][2 * place + 1] = i16::from(*second);
            }
        }
        Self { panels, scales, bias, inputs }
    }

    /// The original rows.
    pub(crate) fn rows(&self) -> Vec<i8> {
        let (half, outputs) = (self.inputs / 2, self.scales.len());
        let row = |output: usize| {
            let panel = &self.panels[output / COLUMNS * half..][..half];
            let (side, place) = (output % COLUMNS / 8, output % 8);
            panel.iter().flat_map(move |line| [line[side][2 * place] as i8, line[side][2 * place + 1] as i8])
        };
        (0..outputs).flat_map(row).collect()
    }

    pub(crate) fn scales(&self) -> &[f32] {
        &self.scales
    }

    pub(crate) fn bias(&self) -> &[f32] {
        &self.bias
    }

    /// The size in memory in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.panels[..]) + size_of_val(&self.scales[..]) + size_of_val(&self.bias[..])
    }

    /// `out = x * weights' + bias`; `x` and `out` are stored row by row.
    pub(crate) fn apply(&self, x: &[f32], quantised: &mut Quantised, out: &mut Vec<f32>) {
        let outputs = self.scales.len();
        quantised.read(x, self.inputs);
        out.resize(x.len() / self.inputs * outputs, 0.0);
        self.multiply(quantised, out);
    }

    #[cfg(target_arch = "x86_64")]
    fn multiply(&self, quantised: &Quantised, out: &mut [f32]) {
        if let Some(simd) = pulp::x86::V3::try_new() {
            simd.vectorize(wide::Multiply { simd, weights: self, quantised, out });
        } else {
            self.multiply_with(quantised, out, plain);
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn multiply(&self, quantised: &Quantised, out: &mut [f32]) {
        self.multiply_with(quantised, out, plain);
    }

    /// The product, by a kernel for a group of rows and a panel of outputs.
    #[inline(always)]
    fn multiply_with(
        &self,
        quantised: &Quantised,
        out: &mut [f32],
        kernel: impl Fn(&[[[i16; 2]; ROWS]], &[[[i16; 16]; 2]]) -> [[i32; COLUMNS]; ROWS],
    ) {
        let (outputs, half) = (self.scales.len(), self.inputs / 2);
        for (panel, weights) in self.panels.chunks_exact(half).enumerate() {
            let first = panel * COLUMNS;
            let width = COLUMNS.min(outputs - first);
            let (scales, bias) = (&self.scales[first..][..width], &self.bias[first..][..width]);
            let groups = quantised.pairs.chunks_exact(half).zip(quantised.steps.chunks(ROWS));
            for ((rows, steps), out) in groups.zip(out.chunks_mut(ROWS * outputs)) {
                let sums = kernel(rows, weights);
                for ((sums, step), out) in sums.iter().zip(steps).zip(out.chunks_exact_mut(outputs)) {
                    let line = out[first..first + width].iter_mut().zip(sums).zip(scales).zip(bias);
                    for (((out, sum), scale), bias) in line {
                        *out = *sum as f32 * (scale * step) + bias;
                    }
                }
            }
        }
    }
}

/// Rows of whole numbers; each row has its own step.
#[derive(Debug, Default)]
pub(crate) struct Quantised {
    /// By [`ROWS`] rows, then by pairs of columns; missing rows are zero.
    pairs: Vec<[[i16; 2]; ROWS]>,
    steps: Vec<f32>,
}

impl Quantised {
    /// Quantises rows of `width` numbers.
    fn read(&mut self, x: &[f32], width: usize) {
        // The largest whole number for which no sum of `width` products exceeds 32 bits.
        let most = (i32::MAX / (127 * width as i32)).min(32_767) as f32;
        let half = width / 2;
        let Self { pairs, steps } = self;
        pairs.clear();
        pairs.resize((x.len() / width).div_ceil(ROWS) * half, [[0; 2]; ROWS]);
        steps.clear();
        crate::simd::vectorised(|| {
            for (group, rows) in pairs.chunks_exact_mut(half).zip(x.chunks(ROWS * width)) {
                for (at, row) in rows.chunks_exact(width).enumerate() {
                    let mut largest = 1e-20_f32;
                    for x in row {
                        let size = x.abs();
                        largest = if size > largest { size } else { largest };
                    }
                    steps.push(largest / most);
                    let scale = most / largest;
                    for (line, [first, second]) in group.iter_mut().zip(row.as_chunks::<2>().0) {
                        line[at] = [nearest(first * scale), nearest(second * scale)];
                    }
                }
            }
        });
    }
}

/// The nearest whole number to a number between -32,767 and 32,767.
#[inline(always)]
fn nearest(x: f32) -> i16 {
    /// 1.5 * 2^23: adding it leaves the nearest whole number in the lowest bits.
    const WHOLE: f32 = 12_582_912.0;
    (x + WHOLE).to_bits() as i16
}

/// The kernel for any machine.
fn plain(rows: &[[[i16; 2]; ROWS]], weights: &[[[i16; 16]; 2]]) -> [[i32; COLUMNS]; ROWS] {
    let mut sums = [[0_i32; COLUMNS]; ROWS];
    for (rows, weights) in rows.iter().zip(weights) {
        let weights = weights.as_flattened().as_chunks::<2>().0;
        for (sums, [a, b]) in sums.iter_mut().zip(rows) {
            for (sum, [first, second]) in sums.iter_mut().zip(weights) {
                *sum += i32::from(*a) * i32::from(*first) + i32::from(*b) * i32::from(*second);
            }
        }
    }
    sums
}

/// The kernel for x86-64 with 256-bit vectors; one instruction multiplies eight pairs.
#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::__m256i;

    use pulp::{NullaryFnOnce, x86::V3};

    use super::{COLUMNS, Quantised, ROWS, Weights};

    pub(super) struct Multiply<'a> {
        pub(super) simd: V3,
        pub(super) weights: &'a Weights,
        pub(super) quantised: &'a Quantised,
        pub(super) out: &'a mut [f32],
    }

    impl NullaryFnOnce for Multiply<'_> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let Self { simd, weights, quantised, out } = self;
            weights.multiply_with(
                quantised,
                out,
                #[inline(always)]
                |rows, weights| kernel(simd, rows, weights),
            );
        }
    }

    #[inline(always)]
    fn kernel(simd: V3, rows: &[[[i16; 2]; ROWS]], weights: &[[[i16; 16]; 2]]) -> [[i32; COLUMNS]; ROWS] {
        let mut sums = [[simd.avx._mm256_setzero_si256(); 2]; ROWS];
        for (rows, weights) in rows.iter().zip(weights) {
            let weights: [__m256i; 2] = bytemuck::cast(*weights);
            for (sums, row) in sums.iter_mut().zip(rows) {
                let row = simd.avx._mm256_set1_epi32(bytemuck::cast(*row));
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = simd.avx2._mm256_add_epi32(*sum, simd.avx2._mm256_madd_epi16(row, weights));
                }
            }
        }
        bytemuck::cast(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_near_that_of_floats_and_the_same_by_every_kernel() {
        let mut random = crate::random::SplitMix(7);
        for (tokens, inputs, outputs) in [(1, 2, 1), (7, 32, 20), (19, 384, 48), (5, 1536, 16)] {
            let mut number = || (random.draw() >> 40) as f32 / (1 << 23) as f32 - 1.0;
            let x: Vec<f32> = (0..tokens * inputs).map(|_| 30.0 * number()).collect();
            let rows: Vec<i8> = (0..inputs * outputs).map(|_| (127.0 * number()) as i8).collect();
            let scales: Vec<f32> = (0..outputs).map(|_| 0.01 + number().abs()).collect();
            let bias: Vec<f32> = (0..outputs).map(|_| number()).collect();
            let weights = Weights::new(&rows, scales.clone(), bias.clone());
            assert_eq!(weights.rows(), rows);
            let (mut quantised, mut out) = (Quantised::default(), Vec::new());
            weights.apply(&x, &mut quantised, &mut out);
            for (x, out) in x.chunks_exact(inputs).zip(out.chunks_exact(outputs)) {
                for (j, out) in out.iter().enumerate() {
                    let products = x.iter().zip(&rows[j * inputs..]).map(|(x, w)| f64::from(*x) * f64::from(*w));
                    let exact = products.sum::<f64>() * f64::from(scales[j]) + f64::from(bias[j]);
                    assert!((f64::from(*out) - exact).abs() < 0.5 * f64::from(scales[j]) * (inputs as f64).sqrt());
                }
            }
            let mut again = vec![0.0; out.len()];
            weights.multiply_with(&quantised, &mut again, plain);
            assert_eq!(out, again);
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        for inputs in [2, 384, 1536, 8192] {
            let weights = Weights::new(&vec![-127; inputs], vec![1.0], vec![0.0]);
            let mut out = Vec::new();
            weights.apply(&vec![5.0; inputs], &mut Quantised::default(), &mut out);
            assert!((out[0] / (-127.0 * 5.0 * inputs as f32) - 1.0).abs() < 1e-3, "{inputs}");
        }
    }
}
