//! The sums that the kernels of the losses leave in `metrics`.

use super::Real;

/// The sums of the rows' losses and of their right answers, added to `sums`; in f64, since the loop is sequential.
pub fn metrics<T: Real>(loss: &[T], correct: &[bool], sums: &mut (f64, u64)) {
    for (&loss, &correct) in loss.iter().zip(correct) {
        sums.0 += loss.to_f64();
        sums.1 += u64::from(correct);
    }
}
