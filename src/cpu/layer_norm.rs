//! The twin of `layer_norm.wgsl`.

use super::Real;
use crate::engine::{Layer, stride};
use crate::model::NORM_EPS;

/// The layer normalisation `x̂ = (z − mean) / √(variance + 1e-5)` and `n = γ x̂ + β`, mean and variance being those of
/// the row; z lies in `xhat`.
///
/// `xhat` and `n` are `(rows, stride(outputs))`; `inverse` receives `1/√(variance + 1e-5)` of each row.
pub fn layer_norm<T: Real>(layer: &Layer, params: &[T], xhat: &mut [T], n: &mut [T], inverse: &mut [T]) {
    let (width, outputs) = (layer.outputs, stride(layer.outputs));
    let (gamma, beta) = (&params[layer.gamma..][..outputs], &params[layer.beta..][..outputs]);
    let rows = xhat.chunks_exact_mut(outputs).zip(n.chunks_exact_mut(outputs)).zip(inverse);
    for ((xhat, n), inverse) in rows {
        let count = T::of(width as f64);
        let mut sum = T::of(0.0);
        for &z in &xhat[..width] {
            sum += z;
        }
        let mean = sum / count;
        let mut sum = T::of(0.0);
        for &z in &xhat[..width] {
            sum += (z - mean) * (z - mean);
        }
        *inverse = T::of(1.0) / (sum / count + T::of(NORM_EPS)).sqrt();
        for i in 0..outputs {
            xhat[i] = if i < width { (xhat[i] - mean) * *inverse } else { T::of(0.0) };
            n[i] = gamma[i] * xhat[i] + beta[i];
        }
    }
}
