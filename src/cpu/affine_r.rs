//! The twin of `affine_r.wgsl`.

use super::Real;
use crate::engine::{Layer, stride};

/// How `n = γ x̂ + β` moves as the weights move along `v`: `rn = γ ∘ rx̂ + vγ ∘ x̂ + vβ`.
///
/// `xhat`, `rxhat` and `rn` are `(rows, stride(outputs))`; `params` and `v` are flat vectors in which `layer` finds γ and β.
pub fn affine_r<T: Real>(layer: &Layer, params: &[T], v: &[T], xhat: &[T], rxhat: &[T], rn: &mut [T]) {
    let outputs = stride(layer.outputs);
    let gamma = &params[layer.gamma..][..outputs];
    let (vgamma, vbeta) = (&v[layer.gamma..][..outputs], &v[layer.beta..][..outputs]);
    let rows = xhat.chunks_exact(outputs).zip(rxhat.chunks_exact(outputs)).zip(rn.chunks_exact_mut(outputs));
    for ((xhat, rxhat), rn) in rows {
        for i in 0..outputs {
            rn[i] = gamma[i] * rxhat[i] + (vgamma[i] * xhat[i] + vbeta[i]);
        }
    }
}
