//! The twin of `combine.wgsl`.

use super::{Real, wide};

/// What the first layer makes of samples with weights that are a sum of multiples of three vectors, `z = c₀ p + c₁ q + c₂ r`, out
/// of what it makes of them with each; all are `(rows, stride(outputs))`.
pub fn combine<T: Real>(c: [T; 3], [p, q, r]: [&[T]; 3], z: &mut [T]) {
    wide(|| {
        for (((z, &p), &q), &r) in z.iter_mut().zip(p).zip(q).zip(r) {
            *z = c[0] * p + (c[1] * q + c[2] * r);
        }
    });
}
