//! The twin of `scale.wgsl`.

use super::Real;

/// `x ← α x`.
pub fn scale<T: Real>(alpha: T, x: &mut [T]) {
    for x in x {
        *x *= alpha;
    }
}
