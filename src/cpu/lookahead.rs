//! The twin of `lookahead.wgsl`.

use super::Real;

/// The step of lookahead: `slow ← slow + α (w − slow)`, `w ← slow`.
pub fn lookahead<T: Real>(alpha: T, w: &mut [T], slow: &mut [T]) {
    for (w, slow) in w.iter_mut().zip(slow) {
        *slow += alpha * (*w - *slow);
        *w = *slow;
    }
}
