//! The twin of `batch_norm_dx.wgsl`.

use super::Real;
use super::shared::Whole;
use crate::engine::{Layer, stride};

/// The input gradient of a batch normalisation: `dz = γ / √(variance + 1e-5) · (dn − (dβ + x̂ ∘ dγ) / rows)`; dn lies
/// in `dz`, dγ and dβ in `grads`. Where mean and variance are `kept`, the running statistics, which do not depend on z, it is
/// `dz = γ / √(variance + 1e-5) · dn`.
///
/// `xhat` and `dz` are `(rows, stride(outputs))`; `inverse` is what `batch_norm` left.
pub fn batch_norm_dx<T: Real>(
    layer: &Layer,
    kept: bool,
    params: &[T],
    grads: &[T],
    xhat: &[T],
    inverse: &[T],
    dz: &mut [T],
) {
    batch_norm_dx_across(layer, kept, None, params, grads, xhat, inverse, dz);
}

/// The same, where mean and variance are those of the rows of all engines that share a step, and dγ and dβ of this engine's.
#[allow(clippy::too_many_arguments, reason = "those of the twin, and one more")]
pub fn batch_norm_dx_across<T: Real>(
    layer: &Layer,
    kept: bool,
    whole: Option<Whole>,
    params: &[T],
    grads: &[T],
    xhat: &[T],
    inverse: &[T],
    dz: &mut [T],
) {
    let outputs = stride(layer.outputs);
    let rows = T::of(whole.map_or(dz.len() / outputs, |whole| whole.rows) as f64);
    let gamma = &params[layer.gamma..][..outputs];
    let (mut dgamma, mut dbeta) = (grads[layer.gamma..][..outputs].to_vec(), grads[layer.beta..][..outputs].to_vec());
    if let Some(whole) = whole.filter(|_| !kept) {
        whole.sum(&mut dgamma);
        whole.sum(&mut dbeta);
    }
    for (xhat, dz) in xhat.chunks_exact(outputs).zip(dz.chunks_exact_mut(outputs)) {
        for i in 0..outputs {
            let through = if kept { T::of(0.0) } else { (dbeta[i] + xhat[i] * dgamma[i]) / rows };
            dz[i] = gamma[i] * inverse[i] * (dz[i] - through);
        }
    }
}
