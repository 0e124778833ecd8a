//! Functions of single numbers and of rows that compilers can vectorise.
//!
//! Sums run in eight lanes that are added in a fixed order, and no step uses a library function. Every machine
//! therefore gives the same bits.

/// The number of lanes of a sum.
const LANES: usize = 8;

/// e to the power of `x`, correct to 2 units in the last place.
///
/// 0 below -87, and e^88 above 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it leaves the nearest whole number in the lowest bits.
    const WHOLE: f32 = 12_582_912.0;
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + WHOLE;
    let n = shifted - WHOLE;
    // ln 2 in two parts; the first has few bits, so the difference is exact.
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4 * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { p * scale }
}

/// x times the cumulative normal distribution at x, and the derivative of this product.
///
/// Abramowitz and Stegun, 7.1.26; the error of the distribution is below 1e-7.
#[inline(always)]
fn gelu_parts(x: f32) -> (f32, f32) {
    let density = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let p = 1.061_405_4 * t - 1.453_152;
    let p = p * t + 1.421_413_8;
    let p = p * t - 0.284_496_74;
    let p = p * t + 0.254_829_6;
    let tail = 0.5 * p * t * density;
    let distribution = if x < 0.0 { tail } else { 1.0 - tail };
    (distribution, density * 0.398_942_3)
}

/// Gaussian error linear unit.
#[inline(always)]
pub(crate) fn gelu(x: f32) -> f32 {
    x * gelu_parts(x).0
}

/// Its derivative.
#[inline(always)]
pub(crate) fn gelu_slope(x: f32) -> f32 {
    let (distribution, density) = gelu_parts(x);
    distribution + x * density
}

/// The sum of `f` over pairs of numbers, in eight lanes.
#[inline(always)]
fn sum_of(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(*a, *b);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += f(*a, *b);
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (b + f)) + ((c + g) + (d + h))
}

/// The sum of products.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of(a, b, |a, b| a * b)
}

/// The sum.
#[inline(always)]
pub(crate) fn sum(a: &[f32]) -> f32 {
    sum_of(a, a, |a, _| a)
}

/// `out += factor * x`.
#[inline(always)]
pub(crate) fn add_scaled(out: &mut [f32], factor: f32, x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += factor * x;
    }
}

/// Turns scores into probabilities (softmax).
#[inline(always)]
pub(crate) fn softmax(row: &mut [f32]) {
    let mut most = f32::MIN;
    for x in row.iter() {
        most = if *x > most { *x } else { most };
    }
    for x in row.iter_mut() {
        *x = exp(*x - most);
    }
    let scale = 1.0 / sum(row);
    for x in row.iter_mut() {
        *x *= scale;
    }
}

/// Scales a row to mean 0 and variance 1; returns the inverse of the divisor.
#[inline(always)]
pub(crate) fn standardise(row: &mut [f32], epsilon: f32) -> f32 {
    let n = row.len() as f32;
    let mean = sum(row) / n;
    for x in row.iter_mut() {
        *x -= mean;
    }
    let inverse = 1.0 / (dot(row, row) / n + epsilon).sqrt();
    for x in row.iter_mut() {
        *x *= inverse;
    }
    inverse
}

/// The gradient of a row before [`standardise`] and scaling, from that of the result.
#[inline(always)]
pub(crate) fn standardise_backward(gradient: &mut [f32], standard: &[f32], scale: &[f32], inverse: f32) {
    let n = gradient.len() as f32;
    for (g, scale) in gradient.iter_mut().zip(scale) {
        *g *= scale;
    }
    let mean = sum(gradient) / n;
    let along = dot(gradient, standard) / n;
    for (g, x) in gradient.iter_mut().zip(standard) {
        *g = inverse * (*g - mean - x * along);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_the_books() {
        for i in -2000..2000 {
            let x = i as f32 / 20.0;
            let exact = f64::from(x).exp();
            if x > -87.0 && x < 88.0 {
                assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "exp {x}");
            }
            // The distribution by Simpson's rule.
            let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
            let (from, n) = (f64::from(x).clamp(-12.0, 12.0), 2000);
            let h = from / f64::from(n);
            let inner: f64 = (1..n).map(|k| density(h * f64::from(k)) * if k % 2 == 1 { 4.0 } else { 2.0 }).sum();
            let distribution = 0.5 + (density(0.0) + inner + density(from)) * h / 3.0;
            assert!((f64::from(gelu(x)) - f64::from(x) * distribution).abs() < 2e-6, "gelu {x}");
            let slope = distribution + f64::from(x) * density(f64::from(x));
            assert!((f64::from(gelu_slope(x)) - slope).abs() < 1e-6, "slope {x}");
        }
        assert_eq!(exp(-1000.0), 0.0);
        assert!(exp(1000.0).is_finite());
    }

    #[test]
    fn rows_become_probabilities_and_standard() {
        let mut row: Vec<f32> = (0..19).map(|i| (i * i % 7) as f32).collect();
        let again = row.clone();
        softmax(&mut row);
        assert!((sum(&row) - 1.0).abs() < 1e-6);
        assert!((row[3] / row[0] - (again[3] - again[0]).exp()).abs() < 1e-4);
        let mut row = again.clone();
        let inverse = standardise(&mut row, 1e-12);
        assert!(sum(&row).abs() < 1e-5 && (dot(&row, &row) / 19.0 - 1.0).abs() < 1e-5);
        assert!((inverse - (again[1] - again[0]).recip() * (row[1] - row[0])).abs() < 1e-6);
    }
}
