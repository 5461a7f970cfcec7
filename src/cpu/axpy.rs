//! The twin of `axpy.wgsl`.

use super::Real;

/// `y ← y + α x`, rounded once, as by a GPU's `fma`.
pub fn axpy<T: Real>(alpha: T, x: &[T], y: &mut [T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = alpha.fma(x, *y);
    }
}
