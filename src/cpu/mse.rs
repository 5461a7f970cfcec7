//! The twin of `mse.wgsl`.

use super::{Real, argmax};
use crate::engine::stride;

/// The mean squared error. For every row: the loss `mean_j (z_j − y_j)²`, whether the largest output is where the
/// largest target is, and `dz = 2 (z − y) / (batch · outputs)`.
///
/// `mix`, if given, names for every row another sample, and the share of its own target in y; the rest is the other's.
/// `z` and `dz` are `(rows, stride(outputs))`; `order` names the sample of each row, `targets` is `(samples, outputs)`.
#[allow(clippy::too_many_arguments, reason = "each is one binding of the kernel")]
pub fn mse<T: Real>(
    outputs: usize,
    batch: usize,
    order: &[u32],
    mix: Option<&[(u32, T)]>,
    targets: &[T],
    z: &[T],
    dz: &mut [T],
    loss: &mut [T],
    correct: &mut [bool],
) {
    let mean = T::of(1.0 / outputs as f64);
    let scale = T::of(2.0 / (batch * outputs) as f64);
    let rows = z.chunks_exact(stride(outputs)).zip(dz.chunks_exact_mut(stride(outputs)));
    let mut y = vec![T::default(); outputs];
    for (row, (z, dz)) in rows.enumerate() {
        let target = |sample: u32| &targets[sample as usize * outputs..][..outputs];
        y.copy_from_slice(target(order[row]));
        if let Some(mix) = mix {
            let (other, share) = mix[row];
            for (y, &other) in y.iter_mut().zip(target(other)) {
                *y = share * *y + (T::of(1.0) - share) * other;
            }
        }
        let z = &z[..outputs];
        dz.fill(T::of(0.0));
        let mut sum = T::of(0.0);
        for ((&z, &y), dz) in z.iter().zip(&y).zip(dz) {
            sum += (z - y) * (z - y);
            *dz = (z - y) * scale;
        }
        loss[row] = sum * mean;
        correct[row] = argmax(z) == argmax(&y);
    }
}
