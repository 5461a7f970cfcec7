//! The twin of `norm_r.wgsl`.

use super::Real;
use crate::engine::{Layer, stride};

/// How `x̂ = (z − mean) ∘ inverse` moves with the weights: under batch normalisation, whose running statistics stay,
/// `rx̂ = inverse ∘ rz`; under layer normalisation `rx̂ = inverse (rz − mean(rz) − x̂ mean(x̂ ∘ rz))` and
/// `rinverse = −inverse² mean(x̂ ∘ rz)`, means being those over the row. rz lies in `rxhat`, or is the sum of that and `other`.
///
/// `xhat`, `rxhat` and `other` are `(rows, stride(outputs))`; `inverse` and `rinverse` have a value a row, under batch
/// normalisation an output, and `rinverse` is not written there.
pub fn norm_r<T: Real>(
    layer: &Layer,
    is_batch: bool,
    xhat: &[T],
    inverse: &[T],
    rxhat: &mut [T],
    other: Option<&[T]>,
    rinverse: &mut [T],
) {
    let (width, outputs) = (layer.outputs, stride(layer.outputs));
    if let Some(other) = other {
        rxhat.iter_mut().zip(other).for_each(|(rz, &other)| *rz += other);
    }
    for (row, (xhat, rxhat)) in xhat.chunks_exact(outputs).zip(rxhat.chunks_exact_mut(outputs)).enumerate() {
        if is_batch {
            rxhat.iter_mut().zip(inverse).for_each(|(rx, &inverse)| *rx *= inverse);
            continue;
        }
        let (mut sum, mut product) = (T::of(0.0), T::of(0.0));
        for i in 0..width {
            sum += rxhat[i];
            product += rxhat[i] * xhat[i];
        }
        let (mean, along) = (sum / T::of(width as f64), product / T::of(width as f64));
        for i in 0..width {
            rxhat[i] = (rxhat[i] - mean - xhat[i] * along) * inverse[row];
        }
        rinverse[row] = -(inverse[row] * inverse[row]) * along;
    }
}
