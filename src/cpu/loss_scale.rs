//! The twin of `loss_scale.wgsl`.

use super::Real;

/// The number of steps in a row without an overflow after which the scale doubles.
pub const STEPS: u32 = 2000;

/// The scaling of one replica, which multiplies its loss and its gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScaling {
    /// The factor of the step's gradients: `1 / loss`, or 0 if they overflowed and the step is skipped.
    pub factor: f64,
    /// The factor of the step's loss: its loss scale.
    pub loss: f64,
    /// The loss scale of the next step.
    pub next: f64,
    /// The number of steps without an overflow since the scale changed.
    pub steps: u32,
}

/// The loss scale after a step: what the gradients `dz` of the lowest layer make of it; `accumulate` where an earlier
/// pass of the step has begun.
pub fn loss_scale<T: Real>(dz: &[T], accumulate: bool, s: &mut LossScaling) {
    if !dz.iter().all(|d| d.to_f64().is_finite()) {
        *s = LossScaling { factor: 0.0, next: (s.loss / 2.0).max(2f64.powi(-24)), steps: 0, ..*s };
    } else if !accumulate {
        *s = LossScaling { factor: 1.0 / s.loss, next: s.loss, steps: s.steps + 1, ..*s };
        if s.steps == STEPS {
            *s = LossScaling { next: (2.0 * s.loss).min(2f64.powi(24)), steps: 0, ..*s };
        }
    }
}
