//! Logistic regression on a few features; it finds the weights of a model's parts.

/// Weights and intercept of maximum likelihood, with an L2 penalty of `1 / (2 c)`.
///
/// Uses Newton's method. All `rows` have the same number of features, at most a dozen. The result is deterministic.
#[must_use]
pub(super) fn fit<const N: usize>(rows: &[[f64; N]], labels: &[bool], c: f64) -> ([f64; N], f64) {
    let size = N + 1;
    let mut beta = vec![0.0; size];
    for _ in 0..50 {
        let mut gradient = vec![0.0; size];
        let mut hessian = vec![vec![0.0; size]; size];
        for (row, &label) in rows.iter().zip(labels) {
            let x = |k: usize| if k < N { row[k] } else { 1.0 };
            let z: f64 = (0..size).map(|k| beta[k] * x(k)).sum();
            let p = 1.0 / (1.0 + (-z).exp());
            let error = p - f64::from(u8::from(label));
            for (a, line) in hessian.iter_mut().enumerate() {
                gradient[a] += c * error * x(a);
                for (b, cell) in line.iter_mut().enumerate().take(a + 1) {
                    *cell += c * p * (1.0 - p) * x(a) * x(b);
                }
            }
        }
        for k in 0..N {
            gradient[k] += beta[k];
            hessian[k][k] += 1.0;
        }
        hessian[N][N] += 1e-9;
        let step = solve(hessian, gradient);
        for k in 0..size {
            beta[k] -= step[k];
        }
        if step.iter().all(|s| s.abs() < 1e-9) {
            break;
        }
    }
    let mut weights = [0.0; N];
    weights.copy_from_slice(&beta[..N]);
    (weights, beta[N])
}

/// Solves a positive definite system, given as lower triangle, by Cholesky decomposition.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            a[i][j] = if i == j { (a[i][i] - sum).max(1e-300).sqrt() } else { (a[i][j] - sum) / a[j][j] };
        }
    }
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - sum) / a[i][i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| a[k][i] * b[k]).sum();
        b[i] = (b[i] - sum) / a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_zero_where_it_stops() {
        let rows: Vec<[f64; 2]> = (0..200).map(|i| [f64::from(i % 17) / 4.0 - 2.0, f64::from(i % 7) - 3.0]).collect();
        let labels: Vec<bool> =
            rows.iter().enumerate().map(|(i, r)| 1.5 * r[0] - 0.5 * r[1] + f64::from((i % 5) as u8) > 2.0).collect();
        let (weights, intercept) = fit(&rows, &labels, 1.0);
        assert!(weights[0] > 0.5 && weights[1] < -0.1, "{weights:?} {intercept}");
        let mut gradient = [weights[0], weights[1], 0.0];
        for (row, &label) in rows.iter().zip(&labels) {
            let p = 1.0 / (1.0 + (-(weights[0] * row[0] + weights[1] * row[1] + intercept)).exp());
            let error = p - f64::from(u8::from(label));
            gradient[0] += error * row[0];
            gradient[1] += error * row[1];
            gradient[2] += error;
        }
        assert!(gradient.iter().all(|g| g.abs() < 1e-6), "{gradient:?}");
    }
}
