//! The twin of `batch_norm.wgsl`.

use super::Real;
use super::shared::Whole;
use crate::engine::{Layer, stride};
use crate::model::NORM_EPS;

/// The batch normalisation `x̂ = (z − mean) / √(variance + 1e-5)` and `n = γ x̂ + β`; z lies in `xhat`.
///
/// In training, mean and variance are those of the rows; the running statistics in `params` take up `share` of them (the
/// variance then divided by rows − 1), all of it to begin anew, or nothing. Otherwise they are the running statistics.
/// `xhat` and `n` are `(rows, stride(outputs))`; `inverse` receives `1/√(variance + 1e-5)` of each output.
pub fn batch_norm<T: Real>(
    layer: &Layer,
    share: Option<f64>,
    params: &mut [T],
    xhat: &mut [T],
    n: &mut [T],
    inverse: &mut [T],
) {
    batch_norm_across(layer, share, None, params, xhat, n, inverse);
}

/// The same, where in training mean and variance are those of the rows of all engines that share a step.
pub fn batch_norm_across<T: Real>(
    layer: &Layer,
    share: Option<f64>,
    whole: Option<Whole>,
    params: &mut [T],
    xhat: &mut [T],
    n: &mut [T],
    inverse: &mut [T],
) {
    let outputs = stride(layer.outputs);
    let zeros = vec![T::default(); outputs];
    let (mut mean, mut variance) = (zeros.clone(), zeros);
    let running = layer.statistics..layer.statistics + 2 * outputs;
    match share {
        None => {
            mean.copy_from_slice(&params[running.clone()][..outputs]);
            variance.copy_from_slice(&params[running][outputs..]);
        }
        Some(share) => {
            let rows = whole.map_or(xhat.len() / outputs, |whole| whole.rows);
            let sum = |values: &mut [T]| whole.iter().for_each(|whole| whole.sum(values));
            let count = T::of(rows as f64);
            for z in xhat.chunks_exact(outputs) {
                mean.iter_mut().zip(z).for_each(|(mean, &z)| *mean += z);
            }
            sum(&mut mean);
            mean.iter_mut().for_each(|mean| *mean = *mean / count);
            for z in xhat.chunks_exact(outputs) {
                for ((variance, &mean), &z) in variance.iter_mut().zip(&mean).zip(z) {
                    *variance += (z - mean) * (z - mean);
                }
            }
            sum(&mut variance);
            variance.iter_mut().for_each(|variance| *variance = *variance / count);
            let unbiased = T::of(rows as f64 / (rows as f64 - 1.0));
            let batch = mean.iter().copied().chain(variance.iter().map(|&v| v * unbiased));
            let (old, new) = (T::of(1.0 - share), T::of(share));
            for (running, batch) in params[running.clone()].iter_mut().zip(batch).filter(|_| share > 0.0) {
                // Not multiplied by 0: what begins anew may follow upon anything.
                *running = if share == 1.0 { batch } else { old * *running + new * batch };
            }
            let batches = &mut params[running.end];
            *batches = match share {
                0.0 => *batches,
                1.0 => T::of(1.0),
                _ => *batches + T::of(1.0),
            };
        }
    }
    for (inverse, &variance) in inverse.iter_mut().zip(&variance) {
        *inverse = T::of(1.0) / (variance + T::of(NORM_EPS)).sqrt();
    }
    let (gamma, beta) = (&params[layer.gamma..][..outputs], &params[layer.beta..][..outputs]);
    for (xhat, n) in xhat.chunks_exact_mut(outputs).zip(n.chunks_exact_mut(outputs)) {
        for i in 0..outputs {
            xhat[i] = (xhat[i] - mean[i]) * inverse[i];
            n[i] = gamma[i] * xhat[i] + beta[i];
        }
    }
}
