//! The twin of `linear_dx.wgsl`.

use super::Real;
use crate::model::{Layer, stride};

/// `dx = (dz · W) ∘ slope`: the gradient before the previous layer's activation.
///
/// `dz` is `(rows, stride(outputs))`; `slope`, which `linear` left for the previous layer, and `dx` are `(rows, stride(inputs))`.
pub fn linear_dx<T: Real>(layer: &Layer, params: &[T], dz: &[T], slope: &[T], dx: &mut [T]) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let weight = &params[layer.weight..][..inputs * outputs];
    let rows = dz.chunks_exact(outputs).zip(slope.chunks_exact(inputs)).zip(dx.chunks_exact_mut(inputs));
    for ((dz, slope), dx) in rows {
        for ((dx, &slope), w) in dx.iter_mut().zip(slope).zip(weight.chunks_exact(outputs)) {
            let mut sum = T::of(0.0);
            for (&dz, &w) in dz.iter().zip(w) {
                sum += dz * w;
            }
            *dx = sum * slope;
        }
    }
}
