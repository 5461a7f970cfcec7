//! The twin of `softmax_cross_entropy.wgsl`.

use super::{Real, Weighting, argmax};
use crate::engine::stride;

/// The cross-entropy of the softmax. For every row: the loss `−Σ_c q_c ln softmax(z)_c`, whether its largest logit is
/// the label's, and `dz = (Σq softmax(z) − q) / total`, with `q_c = v w_c ((1−ε) onehot_c + ε/C)`, v being the weight of the
/// row's sample and w those of the classes, each 1 where there is no `weighting`; then Σq is 1, and `total` the batch.
///
/// `mix`, if given, names for every row another sample, and the share of its own: then `q` is that of the one times its share
/// plus that of the other times the rest, and the answer is right if it is that of the larger share.
/// `z` and `dz` are `(rows, stride(classes))`; `order` names the sample of each row, `labels` has one entry a sample.
#[allow(clippy::too_many_arguments, reason = "each is one binding of the kernel")]
pub fn softmax_cross_entropy<T: Real>(
    classes: usize,
    smoothing: f64,
    total: f64,
    order: &[u32],
    mix: Option<&[(u32, T)]>,
    labels: &[u32],
    weighting: Option<Weighting<T>>,
    z: &[T],
    dz: &mut [T],
    loss: &mut [T],
    correct: &mut [bool],
) {
    let (zero, one) = (T::of(0.0), T::of(1.0));
    let off = T::of(smoothing / classes as f64);
    let named = (T::of(1.0 - smoothing) + off) - off;
    let scale = T::of(1.0 / total);
    let of_class = |c: usize| weighting.map_or(one, |w| w.classes[c]);
    let of_classes = weighting.map_or(zero, |w| w.classes.iter().fold(zero, |sum, &w| sum + w));
    let rows = z.chunks_exact(stride(classes)).zip(dz.chunks_exact_mut(stride(classes)));
    for (row, (z, dz)) in rows.enumerate() {
        let z = &z[..classes];
        let sample = order[row];
        let (partner, share) = mix.map_or((sample, one), |mix| mix[row]);
        let [label, other] = [sample, partner].map(|sample| labels[sample as usize] as usize);
        let [own, rest, both] = Weighting::shares(weighting, sample, partner, share);
        let best = argmax(z);
        let max = z[best];
        dz.fill(zero);
        let (mut sum, mut all) = (zero, zero);
        for (c, (dz, &z)) in dz.iter_mut().zip(z).enumerate() {
            *dz = (z - max).exp();
            sum += *dz;
            all += of_class(c) * (z - max);
        }
        let log_sum = sum.ln();
        let [label_weight, other_weight] = [own * of_class(label), rest * of_class(other)];
        let whole = weighting.map_or(one, |_| named * (label_weight + other_weight) + off * both * of_classes);
        // −Σ_c q_c (z_c − max − ln Σ)
        let of_labels = label_weight * (z[label] - max) + other_weight * (z[other] - max);
        loss[row] = whole * log_sum - named * of_labels - off * both * all;
        correct[row] = best == if share >= T::of(0.5) { label } else { other };
        for (c, dz) in dz[..classes].iter_mut().enumerate() {
            let mut q = off * both;
            q += if c == label { own * named } else { zero };
            q += if c == other { rest * named } else { zero };
            *dz = (whole * (*dz / sum) - of_class(c) * q) * scale;
        }
    }
}
