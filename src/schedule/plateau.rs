//! The one schedule that has state.

use serde::{Deserialize, Serialize};

use super::{Rate, Schedule};

/// The metric of a plateau, and whether less or more of it is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The loss, of which less is better.
    #[default]
    Min,
    /// The accuracy, of which more is better.
    Max,
}

/// The value that a threshold is relative to; the upper sign is that of a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdMode {
    /// The best value: better is better than `best · (1 ∓ threshold)`.
    #[default]
    Rel,
    /// No value: better is better than `best ∓ threshold`.
    Abs,
}

impl Mode {
    /// Whether `metric` is better than `best` by more than `threshold`.
    fn improves(self, metric: f64, best: f64, threshold: f64, threshold_mode: ThresholdMode) -> bool {
        match (self, threshold_mode) {
            (Self::Min, ThresholdMode::Rel) => metric < best * (1.0 - threshold),
            (Self::Min, ThresholdMode::Abs) => metric < best - threshold,
            (Self::Max, ThresholdMode::Rel) => metric > best * (1.0 + threshold),
            (Self::Max, ThresholdMode::Abs) => metric > best + threshold,
        }
    }
}

/// The memory of a plateau between evaluations, one for each replica; a checkpoint holds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The reduced rate, once there is one.
    pub(super) lr: Option<f64>,
    best: Option<f64>,
    bad: u64,
    cooling: u64,
    /// The step at which the plateau in charge began; another one starts afresh.
    pub(super) began: u64,
}

impl Schedule {
    /// Tells a plateau the metric that was measured after `step`, where it asks by its mode; other schedules do not
    /// listen.
    pub fn observe(&self, step: u64, steps: u64, base: Rate, metric: impl Fn(Mode) -> f64, memory: &mut Memory) {
        let (part, began, _) = self.part(step, steps);
        let &Self::Plateau { mode, factor, patience, threshold, threshold_mode, cooldown, min_lr, eps } = part else {
            return;
        };
        if memory.began != began {
            *memory = Memory { began, ..Memory::default() };
        }
        let metric = metric(mode);
        match memory.best {
            Some(best) if !mode.improves(metric, best, threshold, threshold_mode) => memory.bad += 1,
            _ => (memory.best, memory.bad) = (Some(metric), 0),
        }
        if memory.cooling > 0 {
            memory.cooling -= 1;
            memory.bad = 0;
        }
        if memory.bad > patience {
            let lr = memory.lr.unwrap_or(base.lr);
            let reduced = (lr * factor).max(min_lr);
            if lr - reduced > eps {
                memory.lr = Some(reduced);
            }
            (memory.cooling, memory.bad) = (cooldown, 0);
        }
    }
}
