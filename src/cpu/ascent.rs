//! The twin of `ascent.wgsl`.

use super::Real;
use crate::sam::Sam;

/// The number of sums that run side by side, as vectors can.
const SUMS: usize = 8;

/// The factor of an ascent's direction: `rho / ‖T g‖`, with T = 1, or adaptive `|w| + η`; 0 where the norm is 0 or not finite.
/// The squares are summed up in f64, in an order that depends on their number alone.
pub fn ascent<T: Real>(sam: &Sam, w: &[T], g: &[T]) -> T {
    let mut sums = [0.0; SUMS];
    for (w, g) in w.chunks(SUMS).zip(g.chunks(SUMS)) {
        for ((sum, &w), &g) in sums.iter_mut().zip(w).zip(g) {
            let scaled = size(sam, w) * g;
            *sum += scaled.to_f64() * scaled.to_f64();
        }
    }
    let norm = T::of(sums.iter().sum::<f64>().sqrt());
    let factor = T::of(sam.rho) / norm;
    if norm > T::of(0.0) && norm.to_f64().is_finite() && factor.to_f64().is_finite() { factor } else { T::of(0.0) }
}

/// The size T of a weight, by which it takes part in an ascent.
pub(super) fn size<T: Real>(sam: &Sam, w: T) -> T {
    match sam.adaptive {
        false => T::of(1.0),
        true if w < T::of(0.0) => T::of(Sam::ETA) - w,
        true => T::of(Sam::ETA) + w,
    }
}
