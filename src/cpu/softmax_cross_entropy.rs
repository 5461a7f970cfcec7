//! The twin of `softmax_cross_entropy.wgsl`.

use super::{Real, argmax};
use crate::engine::stride;

/// The cross-entropy of the softmax. For every row: the loss `−Σ_c q_c ln softmax(z)_c`, whether its largest logit is
/// the label's, and `dz = (softmax(z) − q) / batch`, with `q = (1−ε) onehot + ε/C`.
///
/// `mix`, if given, names for every row another sample, and the share of its own: then `onehot` is that of the one times
/// its share plus that of the other times the rest, and the answer is right if it is that of the larger share.
/// `z` and `dz` are `(rows, stride(classes))`; `order` names the sample of each row, `labels` has one entry a sample.
#[allow(clippy::too_many_arguments, reason = "each is one binding of the kernel")]
pub fn softmax_cross_entropy<T: Real>(
    classes: usize,
    smoothing: f64,
    batch: usize,
    order: &[u32],
    mix: Option<&[(u32, T)]>,
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
        let (other, share) = mix.map_or((label, T::of(1.0)), |mix| (labels[mix[row].0 as usize] as usize, mix[row].1));
        let rest = T::of(1.0) - share;
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
        let named = share * (z[label] - max) + rest * (z[other] - max);
        loss[row] = log_sum - (on - off) * named - off * total;
        correct[row] = best == if share >= T::of(0.5) { label } else { other };
        dz.fill(T::of(0.0));
        for (c, (dz, &z)) in dz.iter_mut().zip(z).enumerate() {
            let mut q = off;
            q += if c == label { share * (on - off) } else { T::of(0.0) };
            q += if c == other { rest * (on - off) } else { T::of(0.0) };
            *dz = ((z - max).exp() / sum - q) * scale;
        }
    }
}
