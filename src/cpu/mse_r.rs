//! The twin of `mse_r.wgsl`.

use super::Real;

/// How the gradient of the mean squared error moves with the outputs: `rdz = 2 rz / (total · outputs)`; rz lies in `rdz`.
///
/// `rdz` is `(rows, stride(outputs))`; `total` is the number of samples that the loss is the mean over.
pub fn mse_r<T: Real>(outputs: usize, total: f64, rdz: &mut [T]) {
    let scale = T::of(2.0 / (total * outputs as f64));
    rdz.iter_mut().for_each(|rz| *rz *= scale);
}
