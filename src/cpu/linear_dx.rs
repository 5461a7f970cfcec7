//! The twin of `linear_dx.wgsl`.

use super::{Real, wide};
use crate::engine::{Layer, stride};

/// The input gradient of a linear layer: `da = dz · W`, plus `above`, the gradient of the layer's output, if a residual
/// connection hands it down; and `dx = da ∘ slope`: the gradient before the previous layer's activation. `da` is kept
/// if the previous layer has a residual connection in turn.
///
/// `dz` is `(rows, stride(outputs))`; `slope`, which `linear` left for the previous layer, `dx` and `da` are `(rows,
/// stride(inputs))`.
pub fn linear_dx<T: Real>(
    layer: &Layer,
    params: &[T],
    dz: &[T],
    slope: &[T],
    above: Option<&[T]>,
    dx: &mut [T],
    da: Option<&mut [T]>,
) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let weight = &params[layer.weights()];
    for (dz, dx) in dz.chunks_exact(outputs).zip(dx.chunks_exact_mut(inputs)) {
        for (dx, w) in dx.iter_mut().zip(weight.chunks_exact(outputs)) {
            *dx = T::of(0.0);
            for (&dz, &w) in dz.iter().zip(w) {
                *dx += dz * w;
            }
        }
    }
    pass_on(slope, above, dx, da);
}

/// Does what follows the product, which lies in `dx`.
pub(super) fn pass_on<T: Real>(slope: &[T], above: Option<&[T]>, dx: &mut [T], da: Option<&mut [T]>) {
    if let Some(above) = above {
        dx.iter_mut().zip(above).for_each(|(dx, &above)| *dx += above);
    }
    if let Some(da) = da {
        da.copy_from_slice(dx);
    }
    wide(|| {
        for (dx, &slope) in dx.iter_mut().zip(slope) {
            *dx *= slope;
        }
    });
}
