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
    largest: Option<&mut [T]>,
) {
    wide(|| {
        let elements = w.iter_mut().zip(g).zip(m.iter_mut().zip(v.iter_mut()));
        match largest {
            None => {
                for ((w, &g), (m, v)) in elements {
                    moments(c, scale, g, w, m, v);
                    step(c, *m, *v, w);
                }
            }
            Some(largest) => {
                for (((w, &g), (m, v)), largest) in elements.zip(largest) {
                    moments(c, scale, g, w, m, v);
                    *largest = largest.max(*v);
                    step(c, *m, *largest, w);
                }
            }
        }
    });
}

#[inline(always)]
fn moments<T: Real>(c: &Constants<T>, scale: T, g: T, w: &mut T, m: &mut T, v: &mut T) {
    *w *= c.shrink;
    let g = scale * g + c.weight_decay * *w;
    *m = c.momentum * *m + c.gain * g;
    *v = c.decay * *v + c.fresh * g * g;
}

#[inline(always)]
fn step<T: Real>(c: &Constants<T>, first: T, second: T, w: &mut T) {
    *w = *w - c.step_size * first / (second.sqrt() / c.correction + c.eps);
}
