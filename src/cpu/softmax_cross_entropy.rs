//! The twin of `softmax_cross_entropy.wgsl`.

use super::{Real, argmax};
use crate::model::stride;

/// For every row: the loss `−Σ_c q_c ln softmax(z)_c`, whether its largest logit is the label's, and
/// `dz = (softmax(z) − q) / batch`, with `q = (1−ε) onehot + ε/C`.
///
/// `z` and `dz` are `(rows, stride(classes))`; `order` names the sample of each row, `labels` has one entry a sample.
#[allow(clippy::too_many_arguments, reason = "each is one binding of the kernel")]
pub fn softmax_cross_entropy<T: Real>(
    classes: usize,
    smoothing: f64,
    batch: usize,
    order: &[u32],
    labels: &[u32],
    z: &[T],
    dz: &mut [T],
    loss: &mut [T],
    correct: &mut [bool],
) {
    let off = T::of(smoothing / classes as f64);
    let on = T::of(1.0 - smoothing) + off;
    let scale = T::of(1.0 / batch as f64);
    let rows = z.chunks_exact(stride(classes)).zip(dz.chunks_exact_mut(stride(classes)));
    for (row, (z, dz)) in rows.enumerate() {
        let z = &z[..classes];
        let label = labels[order[row] as usize] as usize;
        let best = argmax(z);
        let max = z[best];
        let mut sum = T::of(0.0);
        let mut total = T::of(0.0);
        for &z in z {
            sum += (z - max).exp();
            total += z - max;
        }
        let log_sum = sum.ln();
        // −Σ_c q_c (z_c − max − ln Σ), with Σ_c q_c = 1.
        loss[row] = log_sum - (on - off) * (z[label] - max) - off * total;
        correct[row] = best == label;
        dz.fill(T::of(0.0));
        for (c, (dz, &z)) in dz.iter_mut().zip(z).enumerate() {
            let q = if c == label { on } else { off };
            *dz = ((z - max).exp() / sum - q) * scale;
        }
    }
}
