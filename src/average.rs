//! Averages of the weights along the way.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which means are kept beside the weights, and when they sample; none by default.
///
/// A mean takes up the weights after an update by `mean ← mean + k (w − mean)`; k is a function of the step alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Average {
    /// Stochastic weight averaging.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swa: Option<Swa>,
    /// Exponential moving average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<Ema>,
}

/// The arithmetic mean of the weights at some steps (Izmailov et al., 2018): `k = 1 / (n + 1)` after n samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "expected {start, every} or {after_updates}")]
pub enum Swa {
    /// At steps `start`, `start + every`, `start + 2 every`, ..., counted from 0.
    Every {
        /// The first step after which the weights are sampled.
        start: u64,
        /// Steps between two samples.
        every: u64,
    },
    /// After these updates, counted from 0.
    Listed {
        /// Increasing.
        after_updates: Vec<u64>,
    },
}

/// A mean whose weights fade by `decay` a step (Polyak and Juditsky, 1992, for decay → 1): `k = 1 − decay`, and 1 for
/// the first sample, or with bias correction `k = (1 − decay) / (1 − decayᵗ)` at sample t, as if no weights had been
/// before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ema {
    /// Default 0.999.
    #[serde(default = "decay")]
    pub decay: f64,
    /// The first step after which the weights are sampled. Default 0.
    #[serde(default)]
    pub start: u64,
    /// Default false.
    #[serde(default)]
    pub bias_correction: bool,
}

fn decay() -> f64 {
    0.999
}

impl Swa {
    /// The number of samples before `step`, if the weights are sampled after `step`.
    fn samples_before(&self, step: u64) -> Option<u64> {
        match self {
            Self::Every { start, every } => {
                let since = step.checked_sub(*start)?;
                since.is_multiple_of(*every).then(|| since / every)
            }
            Self::Listed { after_updates } => after_updates.iter().position(|&t| t == step).map(|n| n as u64),
        }
    }

    /// The first step after which the weights are sampled.
    fn first(&self) -> u64 {
        match self {
            Self::Every { start, .. } => *start,
            Self::Listed { after_updates } => after_updates.first().copied().unwrap_or(u64::MAX),
        }
    }
}

impl Average {
    /// k of SWA after `step`, counted from 0; 0 where it does not sample.
    ///
    /// ```
    /// use thalweg::average::{Average, Swa};
    /// let average = Average { swa: Some(Swa::Every { start: 4, every: 2 }), ema: None };
    /// assert_eq!([3, 4, 5, 6, 8].map(|step| average.swa_weight(step)), [0.0, 1.0, 0.0, 1.0 / 2.0, 1.0 / 3.0]);
    /// ```
    pub fn swa_weight(&self, step: u64) -> f64 {
        let before = self.swa.as_ref().and_then(|swa| swa.samples_before(step));
        before.map_or(0.0, |n| 1.0 / (n + 1) as f64)
    }

    /// k of the EMA after `step`, counted from 0; 0 where it does not sample.
    pub fn ema_weight(&self, step: u64) -> f64 {
        let Some((ema, since)) = self.ema.and_then(|ema| Some((ema, step.checked_sub(ema.start)?))) else {
            return 0.0;
        };
        if since == 0 {
            1.0
        } else if ema.bias_correction {
            (1.0 - ema.decay) / (1.0 - ema.decay.powf((since + 1) as f64))
        } else {
            1.0 - ema.decay
        }
    }

    /// Refuses means that never sample in a run of `steps` steps, and constants out of range.
    ///
    /// # Errors
    /// The first setting that does not fit.
    pub fn check(&self, steps: u64) -> Result<()> {
        if let Some(swa) = &self.swa {
            if let Swa::Every { every: 0, .. } = swa {
                return Err(Error::config("average.swa.every", "expected at least 1, found 0"));
            }
            if let Swa::Listed { after_updates } = swa
                && !after_updates.is_sorted_by(|a, b| a < b)
            {
                let found = format!("expected increasing steps, found {after_updates:?}");
                return Err(Error::config("average.swa.after_updates", found));
            }
            if swa.first() >= steps {
                let found =
                    format!("expected a first sample before the last of {steps} steps (train.epochs), found none");
                return Err(Error::config("average.swa", found));
            }
        }
        if let Some(Ema { decay, start, .. }) = self.ema {
            if !(0.0..1.0).contains(&decay) {
                return Err(Error::config("average.ema.decay", format!("expected a number in [0, 1), found {decay}")));
            }
            if start >= steps {
                let found = format!("expected a step before the last of {steps} (train.epochs), found {start}");
                return Err(Error::config("average.ema.start", found));
            }
        }
        Ok(())
    }

    /// The slots that hold a mean after `steps` steps, with their names.
    pub fn slots(&self, steps: u64) -> Vec<(&'static str, crate::engine::Slot)> {
        let mut slots = Vec::new();
        if self.swa.as_ref().is_some_and(|swa| swa.first() < steps) {
            slots.push(("swa", crate::engine::Slot::Swa));
        }
        if self.ema.is_some_and(|ema| ema.start < steps) {
            slots.push(("ema", crate::engine::Slot::Ema));
        }
        slots
    }
}
