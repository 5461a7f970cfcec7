//! The twin of `linear.wgsl`.

use super::Real;
use crate::activation::Activation;
use crate::model::{Layer, stride};

/// `z = a · Wᵀ + b`, `y = activation(z)` and `slope = activation'(z)`, over the rows of `a`.
///
/// `a` is `(rows, stride(inputs))`, `y` and `slope` are `(rows, stride(outputs))`; `params` is the flat parameter vector,
/// in which `layer` finds its weight, `(inputs, outputs)`.
pub fn linear<T: Real>(layer: &Layer, activation: Activation, params: &[T], a: &[T], y: &mut [T], slope: &mut [T]) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let weight = &params[layer.weight..][..inputs * outputs];
    let bias = &params[layer.bias..][..outputs];
    let rows = a.chunks_exact(inputs).zip(y.chunks_exact_mut(outputs)).zip(slope.chunks_exact_mut(outputs));
    for ((a, y), slope) in rows {
        y.copy_from_slice(bias);
        for (i, &a) in a.iter().enumerate() {
            for (z, &w) in y.iter_mut().zip(&weight[i * outputs..]) {
                *z += a * w;
            }
        }
        activate(activation, y, slope);
    }
}

/// Replaces every `z` by `activation(z)` and writes its slope.
pub(super) fn activate<T: Real>(activation: Activation, z: &mut [T], slope: &mut [T]) {
    for (z, slope) in z.iter_mut().zip(slope) {
        (*z, *slope) = activation.value_and_slope(*z);
    }
}
