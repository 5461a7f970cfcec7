//! The twin of `adam.wgsl`.

use super::{Constants, Real, wide};

/// One update by [`Optimizer::Adam`](crate::optimizer::Optimizer::Adam) or
/// [`Optimizer::Adamw`](crate::optimizer::Optimizer::Adamw); the state is `m`, `v` and, for amsgrad, the largest `v` so
/// far. The gradient is first multiplied with `scale`.
pub fn adam<T: Real>(
    c: &Constants<T>,
    scale: T,
    g: &[T],
    w: &mut [T],
    m: &mut [T],
    v: &mut [T],
    mut largest: Option<&mut [T]>,
) {
    wide(|| {
        for i in 0..w.len() {
            let weight = w[i] * c.shrink;
            let g = scale * g[i] + c.weight_decay * weight;
            m[i] = c.momentum * m[i] + c.gain * g;
            v[i] = c.decay * v[i] + c.fresh * g * g;
            let second = match &mut largest {
                Some(largest) => {
                    largest[i] = largest[i].max(v[i]);
                    largest[i]
                }
                None => v[i],
            };
            w[i] = weight - c.step_size * m[i] / (second.sqrt() / c.correction + c.eps);
        }
    });
}
