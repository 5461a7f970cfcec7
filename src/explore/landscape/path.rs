//! Principal components of a few long vectors.

use rayon::prelude::*;

use super::direction::{dot, scale_to};
use crate::number::eigen;

/// The first two principal components of some vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Components {
    /// The directions, of length 1 and orthogonal.
    pub directions: [Vec<f64>; 2],
    /// The share of the variance along each.
    pub shares: [f64; 2],
    /// The coordinates of each vector, counted from the last one.
    pub places: Vec<[f64; 2]>,
}

/// Finds the first two principal components of `vectors`, at least two of one length: the directions along which they vary most
/// about their mean. They come from the eigenvalues of the matrix of inner products, whose side is the number of vectors,
/// and point so that the first vector's coordinates are not above the last one's.
///
/// # Panics
/// With fewer than two vectors.
pub fn principal_components(vectors: &[&[f64]]) -> Components {
    let (n, last) = (vectors.len(), vectors[vectors.len() - 1]);
    let len = last.len();
    // About the last one, which is near the mean, so that little is lost when they are centered.
    let away: Vec<Vec<f64>> =
        vectors.par_iter().map(|v| v.iter().zip(last).map(|(v, last)| v - last).collect()).collect();
    let mean: Vec<f64> = (0..len).map(|i| away.iter().map(|v| v[i]).sum::<f64>() / n as f64).collect();
    let centered: Vec<Vec<f64>> =
        away.par_iter().map(|v| v.iter().zip(&mean).map(|(v, mean)| v - mean).collect()).collect();
    let products: Vec<f64> = (0..n * n)
        .into_par_iter()
        .map(|k| if k / n <= k % n { dot(&centered[k / n], &centered[k % n]) } else { 0.0 })
        .collect();
    let matrix: Vec<f64> = (0..n * n).map(|k| products[(k / n).min(k % n) * n + (k / n).max(k % n)]).collect();
    let (values, shares_of_vectors) = eigen::symmetric(&matrix, n);
    let total: f64 = (0..n).map(|i| matrix[i * n + i]).sum();
    let directions = [0, 1].map(|k| {
        let mut direction = vec![0.0; len];
        for (v, share) in centered.iter().zip(&shares_of_vectors[k]) {
            direction.iter_mut().zip(v).for_each(|(d, v)| *d += share * v);
        }
        let sign = if dot(&direction, &away[0]) > 0.0 { -1.0 } else { 1.0 };
        scale_to(sign, &mut direction);
        direction
    });
    let places = away.par_iter().map(|v| directions.each_ref().map(|direction| dot(v, direction))).collect();
    let shares = [0, 1].map(|k| if total > 0.0 { values[k].max(0.0) / total } else { 0.0 });
    Components { directions, shares, places }
}
