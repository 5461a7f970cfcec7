//! The numbers that come back from a device.

use serde::{Deserialize, Serialize};

/// What a step tells about one replica, measured before its update.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepMetrics {
    /// The step's index.
    pub step: u64,
    /// The replica.
    pub replica: usize,
    /// Mean loss over the batch.
    pub loss: f64,
    /// Samples whose largest logit is that of the target's largest value.
    pub correct: u64,
    /// Norm of the whole gradient before clipping; only when `clip_norm` is set, and not of a step that mixed precision skips.
    pub grad_norm: Option<f64>,
    /// What the loss was multiplied by on its way to the gradients; only in mixed precision.
    pub loss_scale: Option<f64>,
}

/// The dynamic loss scale of one replica, in mixed precision. It starts at 65536; a step whose gradients overflow is
/// skipped and halves it, 2000 others in a row double it, as `torch.amp.GradScaler` does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// Of the next step.
    pub next: f32,
    /// Steps without an overflow since it changed.
    pub steps: u32,
}

/// What an evaluation tells about one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Mean loss.
    pub loss: f64,
    /// Fraction of samples whose largest logit is that of the target's largest value.
    pub accuracy: f64,
}
