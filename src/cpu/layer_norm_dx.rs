//! The twin of `layer_norm_dx.wgsl`.

use super::Real;
use crate::engine::{Layer, stride};

/// The input gradient of a layer normalisation, `dz = (g − mean(g) − x̂ ∘ mean(g ∘ x̂)) / √(variance + 1e-5)` with
/// `g = γ ∘ dn`, means being those over the row; dn lies in `dz`.
///
/// `xhat` and `dz` are `(rows, stride(outputs))`; `inverse` is what `layer_norm` left.
pub fn layer_norm_dx<T: Real>(layer: &Layer, params: &[T], xhat: &[T], inverse: &[T], dz: &mut [T]) {
    let (width, outputs) = (layer.outputs, stride(layer.outputs));
    let gamma = &params[layer.gamma..][..width];
    for ((xhat, dz), &inverse) in xhat.chunks_exact(outputs).zip(dz.chunks_exact_mut(outputs)).zip(inverse) {
        let (mut sum, mut product) = (T::of(0.0), T::of(0.0));
        for i in 0..width {
            dz[i] *= gamma[i];
            sum += dz[i];
            product += dz[i] * xhat[i];
        }
        let count = T::of(width as f64);
        for i in 0..width {
            dz[i] = (dz[i] - sum / count - xhat[i] * (product / count)) * inverse;
        }
    }
}
