//! The twin of `rmsprop.wgsl`.

use super::{Constants, Real, wide};

/// One update by [`Optimizer::Rmsprop`](crate::optimizer::Optimizer::Rmsprop); the state is `v`, `b` and, when
/// centered, `m`. The gradient is first multiplied with `scale`.
pub fn rmsprop<T: Real>(
    c: &Constants<T>,
    scale: T,
    g: &[T],
    w: &mut [T],
    v: &mut [T],
    b: &mut [T],
    mut mean: Option<&mut [T]>,
) {
    wide(|| {
        for i in 0..w.len() {
            let g = scale * g[i] + c.weight_decay * w[i];
            v[i] = c.decay * v[i] + c.fresh * g * g;
            let variance = match &mut mean {
                Some(mean) => {
                    mean[i] = c.decay * mean[i] + c.fresh * g;
                    v[i] - mean[i] * mean[i]
                }
                None => v[i],
            };
            b[i] = c.momentum * b[i] + g / (variance.sqrt() + c.eps);
            w[i] = w[i] - c.step_size * b[i];
        }
    });
}
