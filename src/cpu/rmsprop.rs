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
    mean: Option<&mut [T]>,
) {
    wide(|| {
        let elements = w.iter_mut().zip(g).zip(v.iter_mut().zip(b.iter_mut()));
        match mean {
            None => {
                for ((w, &g), (v, b)) in elements {
                    let g = scale * g + c.weight_decay * *w;
                    *v = c.decay * *v + c.fresh * g * g;
                    step(c, g, *v, w, b);
                }
            }
            Some(mean) => {
                for (((w, &g), (v, b)), mean) in elements.zip(mean) {
                    let g = scale * g + c.weight_decay * *w;
                    *v = c.decay * *v + c.fresh * g * g;
                    *mean = c.decay * *mean + c.fresh * g;
                    step(c, g, *v - *mean * *mean, w, b);
                }
            }
        }
    });
}

#[inline(always)]
fn step<T: Real>(c: &Constants<T>, g: T, variance: T, w: &mut T, b: &mut T) {
    *b = c.momentum * *b + g / (variance.sqrt() + c.eps);
    *w = *w - c.step_size * *b;
}
