//! The twin of `average.wgsl`.

use super::{Real, wide};

/// The mean of weights takes up new ones: `mean ← mean + k (w − mean)`.
pub fn average<T: Real>(k: T, w: &[T], mean: &mut [T]) {
    wide(|| {
        for (mean, &w) in mean.iter_mut().zip(w) {
            *mean += k * (w - *mean);
        }
    });
}
