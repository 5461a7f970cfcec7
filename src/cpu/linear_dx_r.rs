//! The twin of `linear_dx_r.wgsl`.

use super::{Real, wide};

/// The last part of how `dx = da ∘ slope` moves with the weights, `rdx ← rdx + da ∘ rslope`; the first, `rda ∘ slope`, lies in
/// `rdx`.
///
/// All are `(rows, stride(inputs))` of the layer.
pub fn linear_dx_r<T: Real>(da: &[T], rslope: &[T], rdx: &mut [T]) {
    wide(|| {
        for ((rdx, &da), &rslope) in rdx.iter_mut().zip(da).zip(rslope) {
            *rdx += da * rslope;
        }
    });
}
