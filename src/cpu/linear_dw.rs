//! The twin of `linear_dw.wgsl`.

use super::Real;
use crate::engine::{Layer, stride};

/// The weight gradient of a linear layer: `dW = aᵀ · dz` and `db = Σ_rows dz`, added to what `grads` holds if `accumulate`.
///
/// `a` is `(rows, stride(inputs))`, `dz` is `(rows, stride(outputs))`; `grads` is a flat vector in which `layer` finds
/// its weight, `(inputs, outputs)`.
pub fn linear_dw<T: Real>(layer: &Layer, accumulate: bool, a: &[T], dz: &[T], grads: &mut [T]) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    if !accumulate {
        grads[layer.weights()].fill(T::of(0.0));
        grads[layer.bias..][..outputs].fill(T::of(0.0));
    }
    for (a, dz) in a.chunks_exact(inputs).zip(dz.chunks_exact(outputs)) {
        for (&a, dw) in a.iter().zip(grads[layer.weights()].chunks_exact_mut(outputs)) {
            for (dw, &dz) in dw.iter_mut().zip(dz) {
                *dw += a * dz;
            }
        }
        for (db, &dz) in grads[layer.bias..].iter_mut().zip(dz) {
            *db += dz;
        }
    }
}
