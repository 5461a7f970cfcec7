//! The twin of `axpy.wgsl`.

use super::{Real, wide};

/// A multiple of one vector is added to another: `y ← y + alpha x`, each value rounded once.
pub fn axpy<T: Real>(alpha: T, x: &[T], y: &mut [T]) {
    wide(|| x.iter().zip(y).for_each(|(&x, y)| *y = alpha.fma(x, *y)));
}
