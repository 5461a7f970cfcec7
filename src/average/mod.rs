//! Averages of the weights along the way, and copies of them for an ensemble.

mod sampler;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::schedule::Unit;

pub use sampler::{Clock, Course, Sampled, Sampler, Take, Taken};

/// The most snapshots that can be kept.
pub const MOST_SNAPSHOTS: usize = 100;

/// The averages and copies that are kept beside the weights, and when they take them up; none by default. Any go
/// together.
///
/// A mean takes up the weights after an update, of which lookahead is the last part, by `mean ← mean + k (w − mean)`; k
/// is a function of the step alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Average {
    /// The samples of stochastic weight averaging, the arithmetic mean of the weights at some steps (Izmailov et al.,
    /// 2018): `k = 1 / (n + 1)` after n samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swa: Option<Sampling>,
    /// The exponential moving average of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<Ema>,
    /// The ensemble of copies of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<Snapshots>,
    /// The slow weights of lookahead, which lead the fast ones; they change the training itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookahead: Option<Lookahead>,
}

/// The steps after which the weights are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected {start, every, unit}, of which start is needed, {after_updates} or {at = \"minima\"}"
)]
pub enum Sampling {
    /// Samples at even distances: after `start`, `start + every`, `start + 2 every`, ..., counted from 0, in steps or
    /// in epochs.
    Every {
        /// The first step or epoch after which the weights are sampled.
        start: u64,
        /// The number of steps or epochs from one sample to the next. At least 1, default 1.
        #[serde(default = "one")]
        every: u64,
        /// The unit of `start` and `every`. Default step.
        #[serde(default)]
        unit: Unit,
    },
    /// Samples after these updates, counted from 0.
    Listed {
        /// The updates, increasing and below the steps of the run.
        after_updates: Vec<u64>,
    },
    /// Samples where the learning rate has come down and is about to rise again, or the schedule ends.
    Minima {
        /// The word that tells this sampling from the others.
        at: Minima,
        /// The first step, counted from 0, at which a minimum counts, or the epoch that begins with it. Default 0.
        #[serde(default)]
        start: u64,
        /// The unit of `start`. Default step.
        #[serde(default)]
        unit: Unit,
    },
}

/// The word `minima` of [`Sampling::Minima`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Minima {
    /// The steps with the lowest rate of each cycle.
    Minima,
}

/// A mean in which older weights fade by `decay` a sample (Polyak and Juditsky, 1992, for decay → 1): `k = 1 − decay`,
/// and 1 for the first sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "EmaKeys")]
pub struct Ema {
    /// The share of the old mean that a sample leaves, in `[0, 1)`. Default 0.999.
    pub decay: f64,
    /// The first step, counted from 0, after which the weights are sampled, or the epoch that begins with it. Default 0.
    pub start: u64,
    /// The unit of `start`. Default step.
    pub start_unit: Unit,
    /// The number of steps from one sample to the next; more than one makes the mean cheaper. At least 1, default 1.
    pub every: u64,
    /// Whether `k = (1 − decay) / (1 − decayᵗ)` at sample t (from 1), as if no weights had been before. Default false.
    pub bias_correction: bool,
    /// Whether `k = 1 − min(decay, (1 + n) / (10 + n))` after n samples: a mean that soon forgets the first weights, so that
    /// a short run has one too. Default true, but with `bias_correction`, with which it does not go.
    pub warm_up: bool,
}

/// The keys of [`Ema`], of which one's default depends on another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmaKeys {
    #[serde(default = "decay")]
    decay: f64,
    #[serde(default)]
    start: u64,
    #[serde(default)]
    start_unit: Unit,
    #[serde(default = "one")]
    every: u64,
    #[serde(default)]
    bias_correction: bool,
    warm_up: Option<bool>,
}

impl From<EmaKeys> for Ema {
    fn from(keys: EmaKeys) -> Self {
        let EmaKeys { decay, start, start_unit, every, bias_correction, warm_up } = keys;
        Self { decay, start, start_unit, every, bias_correction, warm_up: warm_up.unwrap_or(!bias_correction) }
    }
}

/// Copies of the weights whose predictions are averaged: the mean of the softmax outputs (snapshot ensembles; Huang et
/// al., 2017).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshots {
    /// The number of copies that are kept, the latest ones. From 1 to [`MOST_SNAPSHOTS`], default 5.
    #[serde(default = "five")]
    pub max: usize,
    /// The steps after which a copy is taken. Default: those at the minima of the learning rate.
    #[serde(default = "at_minima")]
    pub when: Sampling,
}

/// Lookahead (Zhang et al., 2019): every so many steps `slow ← slow + alpha (w − slow)` and `w ← slow`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookahead {
    /// The number of steps from one update of the slow weights to the next, from 1 to the steps of the run. Default 5.
    #[serde(default = "five_steps")]
    pub every: u64,
    /// The share of the way to the fast weights that the slow ones go. In `(0, 1]`, default 0.5.
    #[serde(default = "half")]
    pub alpha: f64,
}

impl Average {
    /// Refuses another number of snapshots than can be kept, before room is made for them.
    ///
    /// # Errors
    /// [`Error::Config`] names `average.snapshots.max`.
    pub(crate) fn check(&self) -> Result<()> {
        match self.snapshots.as_ref().map(|snapshots| snapshots.max) {
            Some(max) if !(1..=MOST_SNAPSHOTS).contains(&max) => {
                Err(Error::config("average.snapshots.max", format!("expected 1 to {MOST_SNAPSHOTS}, found {max}")))
            }
            _ => Ok(()),
        }
    }
}

fn one() -> u64 {
    1
}
fn five() -> usize {
    5
}
fn five_steps() -> u64 {
    5
}
fn half() -> f64 {
    0.5
}
fn decay() -> f64 {
    0.999
}
fn at_minima() -> Sampling {
    Sampling::Minima { at: Minima::Minima, start: 0, unit: Unit::Step }
}
