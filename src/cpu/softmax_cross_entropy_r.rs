//! The twin of `softmax_cross_entropy_r.wgsl`.

use super::{Real, argmax};
use crate::engine::stride;

/// How the gradient of the mean cross-entropy moves with the logits: `rdz = p ∘ (rz − Σ p ∘ rz) / total` with `p = softmax(z)`, for
/// every row; rz lies in `rdz`. Label smoothing has no say in it.
///
/// `z` and `rdz` are `(rows, stride(classes))`; `total` is the number of samples that the loss is the mean over.
pub fn softmax_cross_entropy_r<T: Real>(classes: usize, total: f64, z: &[T], rdz: &mut [T]) {
    let scale = T::of(1.0 / total);
    let mut p = vec![T::default(); classes];
    for (z, rdz) in z.chunks_exact(stride(classes)).zip(rdz.chunks_exact_mut(stride(classes))) {
        let max = z[argmax(&z[..classes])];
        let mut sum = T::of(0.0);
        for (p, &z) in p.iter_mut().zip(z) {
            *p = (z - max).exp();
            sum += *p;
        }
        let mut mean = T::of(0.0);
        for (p, &rz) in p.iter_mut().zip(&*rdz) {
            *p = *p / sum;
            mean += *p * rz;
        }
        for (&p, rz) in p.iter().zip(rdz) {
            *rz = p * (*rz - mean) * scale;
        }
    }
}
