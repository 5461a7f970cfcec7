//! Averages of the weights along the way, and copies of them for an ensemble.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::schedule::Unit;

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
    expecting = "expected {start, every, unit}, {after_updates} or {at = \"minima\"}"
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
    /// Samples where the learning rate has come down and is about to rise again, or the run ends.
    Minima {
        /// The word that tells this sampling from the others.
        at: Minima,
        /// The first step, counted from 0, at which a minimum counts. Default 0.
        #[serde(default)]
        start: u64,
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
#[serde(deny_unknown_fields)]
pub struct Ema {
    /// The share of the old mean that a sample leaves, in `[0, 1)`. Default 0.999.
    #[serde(default = "decay")]
    pub decay: f64,
    /// The first step, counted from 0, after which the weights are sampled. Default 0.
    #[serde(default)]
    pub start: u64,
    /// The number of steps from one sample to the next; more than one makes the mean cheaper. At least 1, default 1.
    #[serde(default = "one")]
    pub every: u64,
    /// Whether `k = (1 − decay) / (1 − decayᵗ)` at sample t (from 1), as if no weights had been before. Default false.
    #[serde(default)]
    pub bias_correction: bool,
    /// Whether `k = 1 − min(decay, (1 + n) / (10 + n))` after n samples: a mean that is quick at first. Default false;
    /// it does not go with `bias_correction`.
    #[serde(default)]
    pub warm_up: bool,
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
    Sampling::Minima { at: Minima::Minima, start: 0 }
}

/// The shares of the weights that the averages take after one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Take {
    /// The k of SWA; 0 where it does not sample.
    pub swa: f64,
    /// The k of the EMA; 0 where it does not sample.
    pub ema: f64,
    /// The α of lookahead; 0 between its steps.
    pub lookahead: f64,
    /// The number, from 0, of the snapshot that becomes a copy of the weights, if one does.
    pub snapshot: Option<usize>,
}

/// The averages that have taken a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Whether SWA has a sample.
    pub swa: bool,
    /// Whether the EMA has a sample.
    pub ema: bool,
    /// The number of snapshots that are there.
    pub snapshots: usize,
}

/// The sampling of the averages of one run: a function of the step, so that resuming needs the step alone.
#[derive(Clone, Debug, Default)]
pub struct Sampler {
    average: Average,
    swa: Samples,
    snapshots: Samples,
}

/// The steps after which something samples.
#[derive(Clone, Debug)]
enum Samples {
    /// Samples after `first`, `first + every` and so on, below `end`.
    Every { first: u64, every: u64, end: u64 },
    /// Samples after these steps, increasing.
    List(Vec<u64>),
}

impl Default for Samples {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Samples {
    /// The number of samples after steps below `step`.
    fn before(&self, step: u64) -> u64 {
        match self {
            Self::Every { first, every, end } => step.min(*end).saturating_sub(*first).div_ceil(*every),
            Self::List(list) => list.partition_point(|&sample| sample < step) as u64,
        }
    }

    /// The number of the sample after `step`, from 0, if there is one.
    fn position(&self, step: u64) -> Option<u64> {
        let n = self.before(step);
        (self.before(step + 1) > n).then_some(n)
    }
}

/// A run as schedules and averages see it.
pub struct Clock<'a> {
    /// The number of steps of the run.
    pub steps: u64,
    /// The number of steps of an epoch.
    pub per_epoch: u64,
    /// The learning rate of each step, counted from 0, if it is a function of the step.
    pub lr: Option<&'a dyn Fn(u64) -> f64>,
}

impl Sampling {
    /// The steps after which the weights are sampled; `key` is the setting that an error names.
    fn samples(&self, key: &str, clock: &Clock) -> Result<Samples> {
        let samples = match self {
            Self::Every { every: 0, .. } => {
                return Err(Error::config(format!("{key}.every"), "expected at least 1, found 0"));
            }
            Self::Every { start, every, unit: Unit::Step } => {
                Samples::Every { first: *start, every: *every, end: clock.steps }
            }
            Self::Every { start, every, unit: Unit::Epoch } => Samples::Every {
                first: start.saturating_add(1).saturating_mul(clock.per_epoch) - 1,
                every: every.saturating_mul(clock.per_epoch),
                end: clock.steps,
            },
            Self::Listed { after_updates } => {
                if !after_updates.is_sorted_by(|a, b| a < b) {
                    let found = format!("expected increasing steps, found {after_updates:?}");
                    return Err(Error::config(format!("{key}.after_updates"), found));
                }
                if let Some(late) = after_updates.iter().find(|&&step| step >= clock.steps) {
                    let found = format!("expected steps below {} (train.epochs), found {late}", clock.steps);
                    return Err(Error::config(format!("{key}.after_updates"), found));
                }
                Samples::List(after_updates.clone())
            }
            Self::Minima { start, .. } => {
                let Some(lr) = clock.lr else {
                    let found =
                        "expected a schedule that is a function of the step, found one with a plateau (schedule)";
                    return Err(Error::config(key, found));
                };
                Samples::List(minima(clock.steps, lr).into_iter().filter(|step| step >= start).collect())
            }
        };
        if samples.before(clock.steps) == 0 {
            let found = match self {
                Self::Minima { start, .. } => format!(
                    "expected a minimum of the schedule's rate from step {start} on (schedule), found none in {} steps",
                    clock.steps
                ),
                _ => format!(
                    "expected a first sample before the last of {} steps (train.epochs), found none",
                    clock.steps
                ),
            };
            return Err(Error::config(key, found));
        }
        Ok(samples)
    }
}

/// The steps at which the rate has fallen since it last rose, and rises next or has no next.
fn minima(steps: u64, lr: &dyn Fn(u64) -> f64) -> Vec<u64> {
    let (mut minima, mut has_fallen, mut now) = (Vec::new(), false, lr(0));
    for step in 0..steps {
        let next = if step + 1 < steps { lr(step + 1) } else { f64::INFINITY };
        if next > now && has_fallen {
            minima.push(step);
        }
        has_fallen = next < now || has_fallen && next == now;
        now = next;
    }
    minima
}

impl Ema {
    /// The k of the mean after `step`, counted from 0; 0 where the mean does not sample.
    fn weight(&self, step: u64) -> f64 {
        let Some(n) = step.checked_sub(self.start).filter(|since| since.is_multiple_of(self.every)) else { return 0.0 };
        let n = (n / self.every) as f64;
        if n == 0.0 {
            1.0
        } else if self.bias_correction {
            (1.0 - self.decay) / (1.0 - self.decay.powf(n + 1.0))
        } else if self.warm_up {
            1.0 - self.decay.min((1.0 + n) / (10.0 + n))
        } else {
            1.0 - self.decay
        }
    }

    fn check(&self, clock: &Clock) -> Result<()> {
        let Self { decay, start, every, bias_correction, warm_up } = *self;
        if !(0.0..1.0).contains(&decay) {
            return Err(Error::config("average.ema.decay", format!("expected a number in [0, 1), found {decay}")));
        }
        if every == 0 {
            return Err(Error::config("average.ema.every", "expected at least 1, found 0"));
        }
        if start >= clock.steps {
            let found = format!("expected a step before the last of {} (train.epochs), found {start}", clock.steps);
            return Err(Error::config("average.ema.start", found));
        }
        if bias_correction && warm_up {
            let found = "expected false, since average.ema.bias_correction is true, found true";
            return Err(Error::config("average.ema.warm_up", found));
        }
        Ok(())
    }
}

impl Average {
    /// The sampler of the averages in a run of this clock.
    ///
    /// ```
    /// use thalweg::average::{Average, Clock, Sampling};
    /// use thalweg::schedule::Unit;
    /// let swa = Some(Sampling::Every { start: 4, every: 2, unit: Unit::Step });
    /// let sampler = Average { swa, ..Average::default() }.sampler(&Clock { steps: 10, per_epoch: 5, lr: None }).unwrap();
    /// assert_eq!([3, 4, 5, 6, 8].map(|step| sampler.take(step).swa), [0.0, 1.0, 0.0, 1.0 / 2.0, 1.0 / 3.0]);
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] names averages that never sample, and constants out of range.
    pub fn sampler(&self, clock: &Clock) -> Result<Sampler> {
        let mut sampler = Sampler { average: self.clone(), ..Sampler::default() };
        if let Some(swa) = &self.swa {
            sampler.swa = swa.samples("average.swa", clock)?;
        }
        if let Some(Snapshots { max, when }) = &self.snapshots {
            if !(1..=MOST_SNAPSHOTS).contains(max) {
                let found = format!("expected 1 to {}, found {max}", MOST_SNAPSHOTS);
                return Err(Error::config("average.snapshots.max", found));
            }
            sampler.snapshots = when.samples("average.snapshots.when", clock)?;
        }
        if let Some(ema) = &self.ema {
            ema.check(clock)?;
        }
        if let Some(Lookahead { every, alpha }) = self.lookahead {
            if every == 0 || every > clock.steps {
                let found =
                    format!("expected 1 to {}, the steps of the run (train.epochs), found {every}", clock.steps);
                return Err(Error::config("average.lookahead.every", found));
            }
            if !(alpha > 0.0 && alpha <= 1.0) {
                let found = format!("expected a number in (0, 1], found {alpha}");
                return Err(Error::config("average.lookahead.alpha", found));
            }
        }
        Ok(sampler)
    }
}

impl Sampler {
    /// The shares that the averages take after `step`, counted from 0.
    pub fn take(&self, step: u64) -> Take {
        let swa = self.swa.position(step).map_or(0.0, |n| 1.0 / (n + 1) as f64);
        let snapshot = self
            .average
            .snapshots
            .as_ref()
            .and_then(|snapshots| Some(self.snapshots.position(step)? as usize % snapshots.max));
        let lookahead = self.average.lookahead.filter(|l| (step + 1).is_multiple_of(l.every)).map_or(0.0, |l| l.alpha);
        Take { swa, ema: self.average.ema.map_or(0.0, |ema| ema.weight(step)), lookahead, snapshot }
    }

    /// The averages that have taken a sample after `steps` steps.
    pub fn sampled(&self, steps: u64) -> Sampled {
        let most = self.average.snapshots.as_ref().map_or(0, |snapshots| snapshots.max);
        Sampled {
            swa: self.swa.before(steps) > 0,
            ema: self.average.ema.is_some_and(|ema| ema.start < steps),
            snapshots: most.min(self.snapshots.before(steps) as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minima_are_where_the_rate_turns() {
        let of = |rates: &[f64]| minima(rates.len() as u64, &|t| rates[t as usize]);
        assert_eq!(of(&[3.0, 2.0, 1.0, 3.0, 2.0, 1.0]), [2, 5]);
        // A flat bottom is sampled where it ends; a rise at the start is no minimum.
        assert_eq!(of(&[1.0, 2.0, 1.0, 1.0, 2.0, 2.0]), [3]);
        assert!(of(&[1.0, 1.0, 1.0]).is_empty());
    }

    #[test]
    fn epochs_are_sampled_after_their_last_step() {
        let clock = Clock { steps: 12, per_epoch: 3, lr: None };
        let every = Sampling::Every { start: 1, every: 2, unit: Unit::Epoch };
        let samples = every.samples("swa", &clock).unwrap();
        assert_eq!(
            (0..12).filter_map(|step| Some((step, samples.position(step)?))).collect::<Vec<_>>(),
            [(5, 0), (11, 1)]
        );
        assert!(Sampling::Every { start: 4, every: 1, unit: Unit::Epoch }.samples("swa", &clock).is_err());
        assert!(at_minima().samples("swa", &clock).is_err());
    }
}
