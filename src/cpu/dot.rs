//! The twin of `dot.wgsl`.

use super::Real;

/// `x · y`, summed up in f64.
pub fn dot<T: Real>(x: &[T], y: &[T]) -> f64 {
    let mut sum = 0.0;
    for (x, y) in x.iter().zip(y) {
        sum += x.to_f64() * y.to_f64();
    }
    sum
}
