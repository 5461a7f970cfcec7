//! The twin of `mse.wgsl`.

use super::{Real, Weighting, argmax};
use crate::engine::stride;

/// The mean squared error. For every row: the loss `v mean_j (z_j − y_j)²`, whether the largest output is where the
/// largest target is, and `dz = 2 v (z − y) / (total · outputs)`, v being the weight of the row's sample, 1 where there is no
/// `weighting`; then `total` is the batch.
///
/// `mix`, if given, names for every row another sample, and the share of its own target in y and of its weight in v; the rest
/// is the other's.
/// `z` and `dz` are `(rows, stride(outputs))`; `order` names the sample of each row, `targets` is `(samples, outputs)`.
#[allow(clippy::too_many_arguments, reason = "each is one binding of the kernel")]
pub fn mse<T: Real>(
    outputs: usize,
    total: f64,
    order: &[u32],
    mix: Option<&[(u32, T)]>,
    targets: &[T],
    weighting: Option<Weighting<T>>,
    z: &[T],
    dz: &mut [T],
    loss: &mut [T],
    correct: &mut [bool],
) {
    let mean = T::of(1.0 / outputs as f64);
    let scale = T::of(2.0 / (total * outputs as f64));
    let rows = z.chunks_exact(stride(outputs)).zip(dz.chunks_exact_mut(stride(outputs)));
    let mut y = vec![T::default(); outputs];
    for (row, (z, dz)) in rows.enumerate() {
        let target = |sample: u32| &targets[sample as usize * outputs..][..outputs];
        y.copy_from_slice(target(order[row]));
        let (partner, share) = mix.map_or((order[row], T::of(1.0)), |mix| mix[row]);
        if mix.is_some() {
            for (y, &other) in y.iter_mut().zip(target(partner)) {
                *y = share * *y + (T::of(1.0) - share) * other;
            }
        }
        let [.., weight] = Weighting::shares(weighting, order[row], partner, share);
        let z = &z[..outputs];
        dz.fill(T::of(0.0));
        let mut sum = T::of(0.0);
        for ((&z, &y), dz) in z.iter().zip(&y).zip(dz) {
            sum += (z - y) * (z - y);
            *dz = (z - y) * (scale * weight);
        }
        loss[row] = sum * mean * weight;
        correct[row] = argmax(z) == argmax(&y);
    }
}
