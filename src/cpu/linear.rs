//! The twin of `linear.wgsl`.

use super::{Finish, Real, activate};
use crate::engine::{Layer, stride};

/// The linear layer `z = a · Wᵀ + b`, and what [`activate`](super::activate()) makes of it, over the rows of `a`.
///
/// `a` is `(rows, stride(inputs))`, `y` and `slope` are `(rows, stride(outputs))`; `params` is the flat parameter vector,
/// in which `layer` finds its weight, `(inputs, outputs)`.
pub fn linear<T: Real>(layer: &Layer, finish: &Finish, params: &[T], a: &[T], y: &mut [T], slope: &mut [T]) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let weight = &params[layer.weights()];
    let bias = &params[layer.bias..][..outputs];
    for (a, y) in a.chunks_exact(inputs).zip(y.chunks_exact_mut(outputs)) {
        y.copy_from_slice(bias);
        for (i, &a) in a.iter().enumerate() {
            for (z, &w) in y.iter_mut().zip(&weight[i * outputs..]) {
                *z += a * w;
            }
        }
    }
    activate(finish, layer.outputs, a, y, slope);
}
