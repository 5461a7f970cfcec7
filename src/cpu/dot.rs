//! The twin of `dot.wgsl`.

use super::Real;

/// The inner product `Σᵢ xᵢ yᵢ`, summed up in f64.
pub fn dot<T: Real>(x: &[T], y: &[T]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x.to_f64() * y.to_f64()).sum()
}
