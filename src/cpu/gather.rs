//! The twin of `gather.wgsl`.

use super::Real;
use crate::data::{Dataset, Features};
use crate::model::stride;

/// `x[row] = raw[order[row]] · scale + shift`: the normalised features of the samples that `order` names, `(rows,
/// stride(width))`; the padding becomes 0.
pub fn gather<T: Real>(dataset: &Dataset, features: &Features, order: &[u32], x: &mut [T]) {
    let width = dataset.width();
    for (&sample, x) in order.iter().zip(x.chunks_exact_mut(stride(width))) {
        dataset.read_row(features, sample as usize, x);
        x[width..].fill(T::of(0.0));
    }
}
