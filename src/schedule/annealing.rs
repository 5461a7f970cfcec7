//! Ways from one value to another.

use super::Anneal;

impl Anneal {
    /// The value at fraction `p` of the way from `from` to `to`, in PyTorch's order of operations: where the two differ
    /// by much, the last digits of the smaller one depend on it.
    pub(super) fn between(self, from: f64, to: f64, p: f64) -> f64 {
        match self {
            Self::Cos => to + (from - to) * (1.0 + (std::f64::consts::PI * p).cos()) / 2.0,
            Self::Linear => from + (to - from) * p,
        }
    }
}

/// The fraction of the current period that is over; periods last `t_0`, `t_0 · t_mult`, `t_0 · t_mult²`, ... steps.
pub(super) fn restart_progress(step: u64, t_0: u64, t_mult: u64) -> f64 {
    if t_mult == 1 {
        return (step % t_0) as f64 / t_0 as f64;
    }
    let (mut first, mut length) = (0u64, t_0);
    while step - first >= length {
        first += length;
        length = length.saturating_mul(t_mult);
    }
    (step - first) as f64 / length as f64
}
