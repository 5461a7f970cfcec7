//! The losses.

use serde::{Deserialize, Serialize};

/// The loss that is minimised, as the mean over the B samples of a batch; z are the outputs of a sample, dz is its
/// gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The cross-entropy over softmax, `−Σ_c q_c ln softmax(z)_c` with `q = (1−ε) onehot + ε/C` over C classes;
    /// `dz = (softmax(z) − q) / B`. ε is the label smoothing (Szegedy et al., 2016).
    #[default]
    CrossEntropy,
    /// The mean squared error, `mean_j (z_j − y_j)²`; `dz = 2 (z − y) / (B · outputs)`. Labels become one-hot targets.
    Mse,
}

/// The softmax of the `width` logits of each row, in their place: `exp(zᵢ) / Σⱼ exp(zⱼ)`.
///
/// ```
/// let mut rows = vec![0.0, 0.0, 1000.0, 0.0];
/// thalweg::loss::softmax(&mut rows, 2);
/// assert_eq!(rows, [0.5, 0.5, 1.0, 0.0]);
/// ```
pub fn softmax(logits: &mut [f64], width: usize) {
    for row in logits.chunks_exact_mut(width) {
        let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter_mut().for_each(|z| *z = (*z - top).exp());
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= sum);
    }
}
