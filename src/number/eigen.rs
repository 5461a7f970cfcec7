//! The eigenvalues of small symmetric matrices.

/// The most sweeps over all pairs of a matrix; convergence is quadratic, so that a dozen is much already.
const SWEEPS: usize = 60;

/// The eigenvalues of a symmetric matrix, `(n, n)` row-major, largest first, and of each its eigenvector, of norm 1: by cyclic
/// Jacobi rotations, which find small eigenvalues as well as large ones (Demmel and Veselić, 1992). Of a matrix that is
/// not finite, they are NaN.
pub fn symmetric(matrix: &[f64], n: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    assert_eq!(matrix.len(), n * n, "a matrix of {n} rows and columns");
    if !matrix.iter().all(|x| x.is_finite()) {
        return (vec![f64::NAN; n], vec![vec![f64::NAN; n]; n]);
    }
    let mut a: Vec<Vec<f64>> = matrix.chunks(n.max(1)).map(<[f64]>::to_vec).collect();
    let mut vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    // What is less than the rounding of a rounding is 0.
    let nothing = f64::EPSILON.powi(2) * matrix.iter().fold(0.0, |max: f64, x| max.max(x.abs()));
    for _ in 0..SWEEPS {
        let mut turned = false;
        for p in 0..n {
            for q in p + 1..n {
                turned |= a[p][q].abs() > nothing && rotate(&mut a, &mut vectors, p, q);
            }
        }
        if !turned {
            break;
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| a[j][j].total_cmp(&a[i][i]));
    (order.iter().map(|&i| a[i][i]).collect(), order.iter().map(|&i| vectors[i].clone()).collect())
}

/// Turns rows and columns `p` and `q` so that their common element is 0 (Golub and Van Loan, section 8.5), and says whether
/// that changed anything; the rows of `vectors` turn with them.
fn rotate(a: &mut [Vec<f64>], vectors: &mut [Vec<f64>], p: usize, q: usize) -> bool {
    let (app, apq, aqq) = (a[p][p], a[p][q], a[q][q]);
    if apq.abs() <= f64::EPSILON * (app.abs() * aqq.abs()).sqrt() {
        return false;
    }
    let theta = 0.5 * (aqq - app) / apq;
    let tangent = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = tangent * cosine;
    for row in a.iter_mut() {
        (row[p], row[q]) = (cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]);
    }
    for rows in [a, vectors] {
        let (above, below) = rows.split_at_mut(q);
        for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
            (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::{Purpose, Stream};

    /// A product of Householder's reflections is orthogonal, so that the eigenvalues are those that the matrix was made of.
    #[test]
    fn a_matrix_has_the_eigenvalues_that_it_was_made_of() {
        let n = 24;
        let mut stream = Stream::new(1, Purpose::Verify, 0);
        let mut wanted: Vec<f64> = (0..n).map(|i| 10f64.powi(3 - i) * if i % 5 == 4 { -1.0 } else { 1.0 }).collect();
        let n = n as usize;
        let mut a: Vec<f64> = (0..n * n).map(|k| if k % (n + 1) == 0 { wanted[k / n] } else { 0.0 }).collect();
        for _ in 0..3 {
            let v: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
            let square: f64 = v.iter().map(|x| x * x).sum();
            let reflect = |a: &[f64], row: usize, column: usize| {
                let dot: f64 = (0..n).map(|k| v[k] * a[k * n + column]).sum();
                a[row * n + column] - 2.0 * v[row] * dot / square
            };
            for _ in 0..2 {
                // From the left and, transposed, from the right.
                a = (0..n * n).map(|k| reflect(&a, k % n, k / n)).collect();
            }
        }
        let (values, vectors) = symmetric(&a, n);
        wanted.sort_by(|x, y| y.total_cmp(x));
        // Rounding in the making of the matrix and in its rotations: some n ε of the largest.
        let bound = 10.0 * n as f64 * f64::EPSILON * 1e3;
        for (k, (value, vector)) in values.iter().zip(&vectors).enumerate() {
            assert!((value - wanted[k]).abs() <= bound, "{k}: {value} {}", wanted[k]);
            let norm: f64 = vector.iter().map(|x| x * x).sum();
            assert!((norm - 1.0).abs() <= bound);
            for i in 0..n {
                let image: f64 = (0..n).map(|j| a[i * n + j] * vector[j]).sum();
                assert!((image - value * vector[i]).abs() <= bound, "{k}, {i}");
            }
        }
    }

    #[test]
    fn matrices_at_the_edges() {
        assert_eq!(symmetric(&[], 0), (vec![], vec![]));
        assert_eq!(symmetric(&[3.0], 1), (vec![3.0], vec![vec![1.0]]));
        assert_eq!(symmetric(&[0.0; 4], 2).0, [0.0, 0.0]);
        let swap = symmetric(&[0.0, 1.0, 1.0, 0.0], 2).0;
        assert!(swap.iter().zip([1.0, -1.0]).all(|(value, wanted)| (value - wanted).abs() <= 4.0 * f64::EPSILON));
        assert!(symmetric(&[f64::NAN, 1.0, 1.0, 0.0], 2).0.iter().all(|x| x.is_nan()));
    }
}
