//! The twin of `scale.wgsl`.

use super::{Real, wide};

/// A vector is multiplied by a factor: `x ← alpha x`.
pub fn scale<T: Real>(alpha: T, x: &mut [T]) {
    wide(|| x.iter_mut().for_each(|x| *x *= alpha));
}
