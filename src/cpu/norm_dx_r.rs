//! The twin of `norm_dx_r.wgsl`.

use super::Real;
use crate::engine::{Layer, stride};

/// The gradient of a normalisation's input and how it moves with the weights: under batch normalisation, whose running statistics
/// stay, `dz = inverse ∘ dx̂` and `rdz = inverse ∘ rdx̂`; under layer normalisation, with `g = dx̂ − mean(dx̂) − x̂ mean(x̂ ∘
/// dx̂)`, `dz = inverse g` and `rdz = rinverse g + inverse (rdx̂ − mean(rdx̂) − rx̂ mean(x̂ ∘ dx̂) − x̂ mean(rx̂ ∘ dx̂ + x̂ ∘
/// rdx̂))`. dx̂ lies in `dz`, rdx̂ in `rdz`.
///
/// `xhat`, `rxhat`, `dz` and `rdz` are `(rows, stride(outputs))`; `inverse` and `rinverse` are those of `norm_r`.
#[allow(clippy::too_many_arguments, reason = "each is one binding of the kernel")]
pub fn norm_dx_r<T: Real>(
    layer: &Layer,
    is_batch: bool,
    xhat: &[T],
    inverse: &[T],
    rxhat: &[T],
    rinverse: &[T],
    dz: &mut [T],
    rdz: &mut [T],
) {
    let (width, outputs) = (layer.outputs, stride(layer.outputs));
    let count = T::of(width as f64);
    for (row, (dz, rdz)) in dz.chunks_exact_mut(outputs).zip(rdz.chunks_exact_mut(outputs)).enumerate() {
        if is_batch {
            dz.iter_mut().zip(inverse).for_each(|(dz, &inverse)| *dz *= inverse);
            rdz.iter_mut().zip(inverse).for_each(|(rdz, &inverse)| *rdz *= inverse);
            continue;
        }
        let (xhat, rxhat) = (&xhat[row * outputs..][..width], &rxhat[row * outputs..][..width]);
        let [mut sum, mut along, mut rsum, mut ralong] = [T::of(0.0); 4];
        for i in 0..width {
            sum += dz[i];
            along += xhat[i] * dz[i];
            rsum += rdz[i];
            ralong += rxhat[i] * dz[i] + xhat[i] * rdz[i];
        }
        let [mean, along, rmean, ralong] = [sum, along, rsum, ralong].map(|sum| sum / count);
        for i in 0..width {
            let g = dz[i] - mean - xhat[i] * along;
            let rg = rdz[i] - rmean - rxhat[i] * along - xhat[i] * ralong;
            dz[i] = g * inverse[row];
            rdz[i] = rinverse[row] * g + inverse[row] * rg;
        }
    }
}
