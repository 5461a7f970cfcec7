//! The twin of `metrics.wgsl`.

use super::Real;

/// Sums of the rows' losses and of their right answers, added to `sums`.
pub fn metrics<T: Real>(loss: &[T], correct: &[bool], sums: &mut (T, u64)) {
    for (&loss, &correct) in loss.iter().zip(correct) {
        sums.0 += loss;
        sums.1 += u64::from(correct);
    }
}
