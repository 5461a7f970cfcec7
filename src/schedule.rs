//! Learning-rate schedules: pure functions of the step, so that resuming a run needs the step alone.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a schedule gives for one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Learning rate.
    pub lr: f64,
    /// Momentum; β₁ for Adam and AdamW.
    pub momentum: f64,
}

/// How the learning rate moves from the optimizer's `lr`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// `lr`, always.
    Constant {},
    /// `eta_min + (lr − eta_min) (1 + cos(π t / t_max)) / 2`, and `eta_min` from `t_max` on, where PyTorch's climbs
    /// again (Loshchilov and Hutter, 2016, without restarts).
    Cosine {
        /// Steps until the minimum. Default: all steps of the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        t_max: Option<u64>,
        /// The minimum. Default 0.
        #[serde(default)]
        eta_min: f64,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant {}
    }
}

impl Schedule {
    /// The rate of `step`, counted from 0, in a run of `steps` steps whose optimizer has the rate `base`.
    ///
    /// ```
    /// use thalweg::schedule::{Rate, Schedule};
    /// let base = Rate { lr: 0.1, momentum: 0.9 };
    /// let cosine = Schedule::Cosine { t_max: None, eta_min: 0.0 };
    /// let lr: Vec<f64> = [0, 25, 50, 100].iter().map(|&step| cosine.at(step, 100, base).lr).collect();
    /// assert!((lr[1] - 0.085_355).abs() < 1e-6 && (lr[2] - 0.05).abs() < 1e-12);
    /// assert_eq!((lr[0], lr[3]), (0.1, 0.0));
    /// ```
    pub fn at(&self, step: u64, steps: u64, base: Rate) -> Rate {
        match *self {
            Self::Constant {} => base,
            Self::Cosine { t_max, eta_min } => {
                let progress = (step as f64 / t_max.unwrap_or(steps) as f64).min(1.0);
                let height = if progress < 1.0 { (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0 } else { 0.0 };
                Rate { lr: eta_min + (base.lr - eta_min) * height, ..base }
            }
        }
    }

    /// Refuses constants outside the range in which the formulas make sense.
    ///
    /// # Errors
    /// The first constant out of range.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::Constant {} => Ok(()),
            Self::Cosine { t_max: Some(0), .. } => Err(Error::config("schedule.t_max", "expected at least 1, found 0")),
            Self::Cosine { eta_min, .. } if !(eta_min.is_finite() && eta_min >= 0.0) => {
                Err(Error::config("schedule.eta_min", format!("expected a number of at least 0, found {eta_min}")))
            }
            Self::Cosine { .. } => Ok(()),
        }
    }
}
