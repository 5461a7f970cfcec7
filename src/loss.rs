//! The losses.

use serde::{Deserialize, Serialize};

/// What is minimised: the mean over the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Cross-entropy over softmax, `−Σ_c q_c ln softmax(z)_c` with `q = (1−ε) onehot + ε/C`;
    /// `dz = (softmax(z) − q) / B`. ε is the label smoothing (Szegedy et al., 2016).
    #[default]
    CrossEntropy,
    /// Mean squared error, `mean_j (z_j − y_j)²`; `dz = 2 (z − y) / (B · outputs)`. Labels become one-hot targets.
    Mse,
}
