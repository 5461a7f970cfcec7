//! The twin of `axpy.wgsl`.

use super::{Real, wide};

/// `y ← y + alpha x`, each value rounded once.
pub fn axpy<T: Real>(alpha: T, x: &[T], y: &mut [T]) {
    wide(|| x.iter().zip(y).for_each(|(&x, y)| *y = alpha.fma(x, *y)));
}
