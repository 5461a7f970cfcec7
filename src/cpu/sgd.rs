//! The twin of `sgd.wgsl`.

use super::{Constants, Real, wide};

/// One update by [`Optimizer::Sgd`](crate::optimizer::Optimizer::Sgd); the state is `v`. The gradient is first
/// multiplied with `scale`.
pub fn sgd<T: Real>(c: &Constants<T>, nesterov: bool, scale: T, g: &[T], w: &mut [T], v: &mut [T]) {
    wide(|| {
        for ((w, v), &g) in w.iter_mut().zip(v).zip(g) {
            let g = scale * g + c.weight_decay * *w;
            *v = c.momentum * *v + c.gain * g;
            let direction = if nesterov { g + c.momentum * *v } else { *v };
            *w = *w - c.step_size * direction;
        }
    });
}
