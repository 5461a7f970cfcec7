//! The twin of `dot.wgsl`.

use super::{Real, wide};

/// The number of sums side by side.
const SUMS: usize = 16;

/// The inner product `Σᵢ xᵢ yᵢ`, summed up in f64: every sixteenth product to one sum, then these one after the other.
pub fn dot<T: Real>(x: &[T], y: &[T]) -> f64 {
    wide(|| {
        let mut sums = [0.0f64; SUMS];
        let (whole, rest) = x.split_at(x.len() / SUMS * SUMS);
        for (x, y) in whole.chunks_exact(SUMS).zip(y.chunks_exact(SUMS)) {
            for i in 0..SUMS {
                sums[i] += x[i].to_f64() * y[i].to_f64();
            }
        }
        let rest: f64 = rest.iter().zip(&y[whole.len()..]).map(|(x, y)| x.to_f64() * y.to_f64()).sum();
        sums.iter().sum::<f64>() + rest
    })
}
