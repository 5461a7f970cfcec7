//! The trace of a matrix.

use super::{Basis, Matrix, Random, check_finite, scratch, upload};
use crate::engine::Engine;
use crate::error::Result;

/// The trace of the matrix in each replica, and its standard error: exact within the basis, and the mean of `probes` products
/// with random vectors outside it (Hutch++; Meyer et al., 2021), none where the basis is whole. `tell` is called after every
/// product.
pub(crate) fn trace(
    engine: &mut dyn Engine,
    matrix: &mut Matrix,
    random: &mut Random,
    basis: &Basis,
    probes: usize,
    tell: &mut dyn FnMut(),
) -> Result<Vec<(f64, f64)>> {
    let replicas = engine.setup().replicas;
    let probes = if basis.is_whole() { 0 } else { probes };
    let (x, image) = (scratch(engine)?, scratch(engine)?);
    let mut samples = vec![Vec::with_capacity(probes); replicas];
    for _ in 0..probes {
        upload(engine, x, &random.signs())?;
        basis.clear(engine, x)?;
        matrix(engine, x, image)?;
        let found = engine.dot(x, image)?;
        check_finite(&found)?;
        samples.iter_mut().zip(found).for_each(|(samples, found)| samples.push(found));
        tell();
    }
    engine.free(x)?;
    engine.free(image)?;
    let estimate = |(r, samples): (usize, Vec<f64>)| {
        let (mean, error) = mean_and_error(&samples);
        (basis.trace(r) + mean, error)
    };
    Ok(samples.into_iter().enumerate().map(estimate).collect())
}

/// The mean of samples and its standard error; 0 and 0 of none.
pub(crate) fn mean_and_error(samples: &[f64]) -> (f64, f64) {
    let n = samples.len() as f64;
    if samples.is_empty() {
        return (0.0, 0.0);
    }
    let mean = samples.iter().sum::<f64>() / n;
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0) / n).sqrt())
}
