//! The twin of `affine_dx_r.wgsl`.

use super::Real;
use crate::engine::{Layer, stride};

/// The gradient of x̂ and how it moves as the weights move along `v`: `dx̂ = γ ∘ dn` and `rdx̂ = γ ∘ rdn + vγ ∘ dn`; dn lies in
/// `dz`, rdn in `rdz`.
///
/// `dz` and `rdz` are `(rows, stride(outputs))`; `params` and `v` are flat vectors in which `layer` finds γ.
pub fn affine_dx_r<T: Real>(layer: &Layer, params: &[T], v: &[T], dz: &mut [T], rdz: &mut [T]) {
    let outputs = stride(layer.outputs);
    let (gamma, vgamma) = (&params[layer.gamma..][..outputs], &v[layer.gamma..][..outputs]);
    for (dz, rdz) in dz.chunks_exact_mut(outputs).zip(rdz.chunks_exact_mut(outputs)) {
        for i in 0..outputs {
            rdz[i] = gamma[i] * rdz[i] + vgamma[i] * dz[i];
            dz[i] *= gamma[i];
        }
    }
}
