//! The twin of `loss_scale.wgsl`.

use super::Real;

/// Steps in a row without an overflow after which the scale doubles.
pub const STEPS: u32 = 2000;

/// What multiplies the loss and the gradients of one replica.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScaling {
    /// Of the step's gradients: `1 / loss`, or 0 if they overflowed and the step is skipped.
    pub factor: f64,
    /// Of the step's loss.
    pub loss: f64,
    /// Of the next step's loss.
    pub next: f64,
    /// Without an overflow since the scale changed.
    pub steps: u32,
}

/// What the gradients `dz` of the lowest layer make of the scale; `accumulate` where an earlier pass of the step has begun.
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
