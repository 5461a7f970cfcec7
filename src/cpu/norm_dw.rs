//! The twin of `norm_dw.wgsl`.

use super::Real;
use crate::engine::{Layer, stride};

/// The gradients of γ and β of either normalisation, `dγ = Σ_rows dn ∘ x̂` and `dβ = Σ_rows dn`, added to what `grads`
/// holds if `accumulate`.
///
/// `xhat` and `dn` are `(rows, stride(outputs))`; `grads` is a flat vector in which `layer` finds γ and β.
pub fn norm_dw<T: Real>(layer: &Layer, accumulate: bool, xhat: &[T], dn: &[T], grads: &mut [T]) {
    let outputs = stride(layer.outputs);
    for at in [layer.gamma, layer.beta] {
        if !accumulate {
            grads[at..][..outputs].fill(T::of(0.0));
        }
    }
    for (xhat, dn) in xhat.chunks_exact(outputs).zip(dn.chunks_exact(outputs)) {
        for ((gamma, &xhat), &dn) in grads[layer.gamma..].iter_mut().zip(xhat).zip(dn) {
            *gamma += dn * xhat;
        }
        for (beta, &dn) in grads[layer.beta..].iter_mut().zip(dn) {
            *beta += dn;
        }
    }
}
