//! The twin of `ensemble.wgsl`.

use super::Real;
use crate::engine::stride;

/// Adds `softmax(z) / members` to `mean`, or `z / members` unless `softmax`; the first member begins it, and after the
/// last `z` becomes `ln mean`, or `mean`.
///
/// `z` and `mean` are `(rows, stride(outputs))`.
pub fn ensemble<T: Real>(outputs: usize, softmax: bool, member: usize, members: usize, z: &mut [T], mean: &mut [T]) {
    for (z, mean) in z.chunks_exact_mut(stride(outputs)).zip(mean.chunks_exact_mut(stride(outputs))) {
        let (z, mean) = (&mut z[..outputs], &mut mean[..outputs]);
        if softmax {
            let top = z.iter().fold(z[0], |top, &z| top.max(z));
            let mut sum = T::of(0.0);
            for z in z.iter_mut() {
                *z = (*z - top).exp();
                sum += *z;
            }
            z.iter_mut().for_each(|z| *z = *z / sum);
        }
        for (z, mean) in z.iter_mut().zip(mean) {
            let before = if member > 0 { *mean } else { T::of(0.0) };
            *mean = before + *z / T::of(members as f64);
            if member + 1 == members {
                // The smallest normal f32: a probability of 0 is that of no class.
                *z = if softmax { mean.max(T::of(f64::from(f32::MIN_POSITIVE))).ln() } else { *mean };
            }
        }
    }
}
