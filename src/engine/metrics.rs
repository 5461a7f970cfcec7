//! The numbers that come back from a device.

use serde::{Deserialize, Serialize};

/// The metrics of one replica in one step, measured before its update.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepMetrics {
    /// The index of the step.
    pub step: u64,
    /// The index of the replica.
    pub replica: usize,
    /// The mean loss over the samples of the step.
    pub loss: f64,
    /// The number of samples whose largest logit is that of the target's largest value.
    pub correct: u64,
    /// The norm of the whole gradient before clipping; only where `clip_norm` is set, and not of a step that mixed
    /// precision skips.
    pub grad_norm: Option<f64>,
    /// The loss scale of the step, which multiplied the loss on its way to the gradients; only in mixed precision.
    pub loss_scale: Option<f64>,
}

/// The dynamic loss scale of one replica, in mixed precision. It starts at 65536 and stays within 2⁻²⁴ and 2²⁴; a step
/// whose gradients overflow is skipped and halves it, 2000 others in a row double it, as `torch.amp.GradScaler` does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// The loss scale of the next step.
    pub next: f32,
    /// The number of steps without an overflow since the scale changed.
    pub steps: u32,
}

impl LossScale {
    /// The loss scale of a first step, that of `torch.amp.GradScaler`.
    pub const FIRST: Self = Self { next: 65536.0, steps: 0 };
}

/// The result of an evaluation for one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The mean loss over the samples of the part.
    pub loss: f64,
    /// The fraction of the samples whose largest logit is that of the target's largest value.
    pub accuracy: f64,
}
