//! The twin of `grad_norm.wgsl`.

use super::Real;

/// The gradient's global norm `‖g‖`, and what clipping multiplies the gradient with:
/// `min(1, max_norm / (‖g‖ + 1e-6))` as in `torch.nn.utils.clip_grad_norm_`.
pub fn grad_norm<T: Real>(grads: &[T], max_norm: f64) -> (T, T) {
    let mut sum = T::of(0.0);
    for &g in grads {
        sum += g * g;
    }
    let norm = sum.sqrt();
    let scale = T::of(max_norm) / (norm + T::of(1e-6));
    (norm, if scale < T::of(1.0) { scale } else { T::of(1.0) })
}
