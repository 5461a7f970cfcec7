//! The twin of `activate_r.wgsl`.

use super::{Real, wide};
use crate::activation::Activation;

/// How a hidden layer's output moves with the weights, `ry = activation'(n) ∘ rn`, plus `ra` after a residual connection, and how
/// its slope does, `rslope = activation''(n) ∘ rn`; rn lies in `ry`, or is the sum of that and `other`.
///
/// All are `(rows, stride(outputs))`, `other` and `ra` where they are read.
pub fn activate_r<T: Real>(
    activation: Activation,
    n: &[T],
    ra: Option<&[T]>,
    ry: &mut [T],
    other: Option<&[T]>,
    rslope: &mut [T],
) {
    if let Some(other) = other {
        wide(|| ry.iter_mut().zip(other).for_each(|(rn, &other)| *rn += other));
    }
    // Loops of their own for those that are vectors' work.
    match activation {
        Activation::Identity => apply(|z| Activation::Identity.slope_and_second(z), n, ry, rslope),
        Activation::Relu => apply(|z| Activation::Relu.slope_and_second(z), n, ry, rslope),
        other => apply(|z| other.slope_and_second(z), n, ry, rslope),
    }
    if let Some(ra) = ra {
        wide(|| ry.iter_mut().zip(ra).for_each(|(ry, &ra)| *ry += ra));
    }
}

fn apply<T: Real>(f: impl Fn(T) -> (T, T), n: &[T], ry: &mut [T], rslope: &mut [T]) {
    wide(|| {
        for ((&n, ry), rslope) in n.iter().zip(ry).zip(rslope) {
            let (slope, second) = f(n);
            *rslope = second * *ry;
            *ry *= slope;
        }
    });
}
