//! The twin of `ascend.wgsl`.

use super::ascent::size;
use super::{Real, wide};
use crate::sam::Sam;

/// The ascent `ascended ← w + factor · T² g`, or `w` where the factor is 0; the gradient becomes 0, for that of `ascended` to be
/// added to it.
pub fn ascend<T: Real>(sam: &Sam, factor: T, w: &[T], g: &mut [T], ascended: &mut [T]) {
    wide(|| {
        for ((&w, g), ascended) in w.iter().zip(g).zip(ascended) {
            let size = size(sam, w);
            *ascended = if factor == T::of(0.0) { w } else { w + factor * (size * (size * *g)) };
            *g = T::of(0.0);
        }
    });
}
