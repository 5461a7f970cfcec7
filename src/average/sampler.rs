//! When averages and snapshots take the weights, and how much of them.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Average, Ema, Lookahead, Sampling, Snapshots};
use crate::error::{Error, Result};
use crate::schedule::Unit;

/// The shares of the weights that the averages take after one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// What SWA and snapshots have taken beyond the plan, less than 0 if it was less: of a run whose schedule was stretched on
    /// its way.
    ahead: [i64; 2],
}

/// The numbers of samples that were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The samples of SWA.
    pub swa: u64,
    /// The snapshots, those that later ones took the place of too.
    pub snapshots: u64,
}

/// A run as schedules and averages see it.
#[derive(Clone, Debug)]
pub struct Clock {
    /// The number of steps of the run.
    pub steps: u64,
    /// The number of steps of an epoch.
    pub per_epoch: u64,
    /// The learning rate, if it is a function of the step.
    pub lr: Option<Course>,
}

/// The course of the learning rate as a function of the step.
#[derive(Clone)]
pub struct Course {
    /// The number of steps that the schedule is made for.
    pub steps: u64,
    /// The learning rate of each step, counted from 0.
    pub lr: Arc<dyn Fn(u64) -> f64 + Send + Sync>,
}

impl fmt::Debug for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rates of {} steps", self.steps)
    }
}

/// The steps after which something samples.
#[derive(Clone, Debug)]
enum Samples {
    /// Samples after `first`, `first + every` and so on, below `end`.
    Every { first: u64, every: u64, end: u64 },
    /// Samples after these steps, increasing.
    List(Vec<u64>),
    /// Samples at the minima of the rate, which are found as the run goes on.
    Minima(RefCell<Walk>),
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
            Self::Minima(walk) => walk.borrow_mut().before(step),
        }
    }

    /// The number of the sample after `step`, from 0, if there is one.
    fn position(&self, step: u64) -> Option<u64> {
        let n = self.before(step);
        (self.before(step + 1) > n).then_some(n)
    }
}

/// A walk along the rates, which counts their minima: the steps at which the rate has fallen since it last rose, and rises
/// next or has no next.
#[derive(Clone, Debug)]
struct Walk {
    course: Course,
    /// The first step at which a minimum counts.
    start: u64,
    /// The number of steps that were walked, and of minima among them.
    walked: u64,
    minima: u64,
    /// The rate of the next step, and whether rates have fallen up to it since they last rose.
    now: f64,
    has_fallen: bool,
}

impl Walk {
    fn new(course: Course, start: u64) -> Self {
        let now = (course.lr)(0);
        Self { course, start, walked: 0, minima: 0, now, has_fallen: false }
    }

    /// The number of minima at steps below `step`. The walk only goes on from where it is; it begins anew for an earlier one.
    fn before(&mut self, step: u64) -> u64 {
        if step < self.walked {
            *self = Self::new(self.course.clone(), self.start);
        }
        while self.walked < step.min(self.course.steps) {
            let (at, after) = (self.walked, self.walked + 1);
            let next = if after < self.course.steps { (self.course.lr)(after) } else { f64::INFINITY };
            self.minima += u64::from(next > self.now && self.has_fallen && at >= self.start);
            self.has_fallen = next < self.now || self.has_fallen && next == self.now;
            (self.now, self.walked) = (next, after);
        }
        self.minima
    }
}

/// The most steps that are looked through for a first sample before the run.
const MOST_LOOKED_AT: u64 = 1_000_000;

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
            Self::Minima { start, unit, .. } => {
                let Some(course) = &clock.lr else {
                    let found =
                        "expected a schedule that is a function of the step, found one with a plateau (schedule)";
                    return Err(Error::config(key, found));
                };
                Samples::Minima(RefCell::new(Walk::new(course.clone(), clock.first_step(*start, *unit))))
            }
        };
        // A run so long is not looked through.
        let is_long = matches!(samples, Samples::Minima(_)) && clock.steps > MOST_LOOKED_AT;
        if is_long || samples.before(clock.steps) > 0 {
            return Ok(samples);
        }
        let steps = clock.steps;
        let found = match self {
            Self::Minima { start, unit, .. } => format!(
                "expected a minimum of the schedule's rate from step {} on (schedule), found none in {steps} steps",
                clock.first_step(*start, *unit)
            ),
            _ => format!("expected a first sample before the last of {steps} steps (train.epochs), found none"),
        };
        Err(Error::config(key, found))
    }
}

impl Clock {
    /// The step with the number `start`, or the first of the epoch with this number.
    fn first_step(&self, start: u64, unit: Unit) -> u64 {
        match unit {
            Unit::Step => start,
            Unit::Epoch => start.saturating_mul(self.per_epoch),
        }
    }
}

impl Ema {
    /// The k of the mean after `step`, counted from 0; 0 where the mean does not sample. `start` counts steps.
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

    /// The same mean, whose `start` counts steps.
    fn in_steps(self, clock: &Clock) -> Result<Self> {
        let Self { decay, start, start_unit, every, bias_correction, warm_up } = self;
        if !(0.0..1.0).contains(&decay) {
            return Err(Error::config("average.ema.decay", format!("expected a number in [0, 1), found {decay}")));
        }
        if every == 0 {
            return Err(Error::config("average.ema.every", "expected at least 1, found 0"));
        }
        let first = clock.first_step(start, start_unit);
        if first >= clock.steps {
            let found = format!("expected a step before the last of {} (train.epochs), found {first}", clock.steps);
            return Err(Error::config("average.ema.start", found));
        }
        if bias_correction && warm_up {
            let found = "expected false, since average.ema.bias_correction is true, found true";
            return Err(Error::config("average.ema.warm_up", found));
        }
        Ok(Self { start: first, start_unit: Unit::Step, ..self })
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
        self.check()?;
        let mut sampler = Sampler { average: self.clone(), ..Sampler::default() };
        if let Some(swa) = &self.swa {
            sampler.swa = swa.samples("average.swa", clock)?;
        }
        if let Some(Snapshots { when, .. }) = &self.snapshots {
            sampler.snapshots = when.samples("average.snapshots.when", clock)?;
        }
        sampler.average.ema = self.ema.map(|ema| ema.in_steps(clock)).transpose()?;
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
    /// The shares that the averages take after `step`, counted from 0. It is meant to be asked for one step after the other.
    pub fn take(&self, step: u64) -> Take {
        let position = |samples: &Samples, ahead: i64| Some(samples.position(step)?.saturating_add_signed(ahead));
        let swa = position(&self.swa, self.ahead[0]).map_or(0.0, |n| 1.0 / (n as f64 + 1.0));
        let snapshot = self
            .average
            .snapshots
            .as_ref()
            .and_then(|kept| Some(position(&self.snapshots, self.ahead[1])? as usize % kept.max));
        let lookahead = self.average.lookahead.filter(|l| (step + 1).is_multiple_of(l.every)).map_or(0.0, |l| l.alpha);
        Take { swa, ema: self.average.ema.map_or(0.0, |ema| ema.weight(step)), lookahead, snapshot }
    }

    /// The averages that have taken a sample after `steps` steps.
    pub fn sampled(&self, steps: u64) -> Sampled {
        let most = self.average.snapshots.as_ref().map_or(0, |snapshots| snapshots.max);
        let Taken { swa, snapshots } = self.taken(steps);
        Sampled {
            swa: swa > 0,
            ema: self.average.ema.is_some_and(|ema| ema.start < steps),
            snapshots: most.min(snapshots as usize),
        }
    }

    /// The numbers of samples taken after `steps` steps.
    pub fn taken(&self, steps: u64) -> Taken {
        let before = |samples: &Samples, ahead| samples.before(steps).saturating_add_signed(ahead);
        Taken { swa: before(&self.swa, self.ahead[0]), snapshots: before(&self.snapshots, self.ahead[1]) }
    }

    /// Goes on after `steps` steps in which so many samples were taken, whatever the plan has.
    pub fn go_on(&mut self, steps: u64, taken: Taken) {
        self.ahead = [0, 0];
        let Taken { swa, snapshots } = self.taken(steps);
        let beyond = |taken: u64, planned: u64| taken.cast_signed().saturating_sub(planned.cast_signed());
        self.ahead = [beyond(taken.swa, swa), beyond(taken.snapshots, snapshots)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::average::{Minima, at_minima};

    fn course(steps: u64, lr: impl Fn(u64) -> f64 + Send + Sync + 'static) -> Course {
        Course { steps, lr: Arc::new(lr) }
    }

    #[test]
    fn minima_are_where_the_rate_turns() {
        let of = |rates: &[f64]| -> Vec<u64> {
            let (rates, steps) = (rates.to_vec(), rates.len() as u64);
            let walk = RefCell::new(Walk::new(course(steps, move |t| rates[t as usize]), 0));
            let samples = Samples::Minima(walk);
            (0..steps).filter(|&step| samples.position(step).is_some()).collect()
        };
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

    /// A run of any length begins at once, and goes on from any step.
    #[test]
    fn minima_are_found_as_the_run_goes_on() {
        let steps = 1 << 52;
        let clock = Clock { steps, per_epoch: 1 << 20, lr: Some(course(steps, |t| 5.0 - (t % 5) as f64)) };
        let sampler = Average { swa: Some(at_minima()), ..Average::default() }.sampler(&clock).unwrap();
        let takes = |steps: std::ops::Range<u64>| steps.map(|t| sampler.take(t).swa).collect::<Vec<_>>();
        assert_eq!(takes(0..10), [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.5]);
        assert_eq!((takes(9999..10_000), takes(4..5)), (vec![1.0 / 2000.0], vec![1.0]));
        let from_epoch = Sampling::Minima { at: Minima::Minima, start: 1, unit: Unit::Epoch };
        let sampler = Average { swa: Some(from_epoch), ..Average::default() }.sampler(&clock).unwrap();
        assert!(!sampler.sampled(1 << 20).swa && sampler.sampled((1 << 20) + 5).swa);
    }

    /// 60 samples are enough to forget the first weights, and older configurations keep what they recorded.
    #[test]
    fn an_ema_warms_up_unless_told_otherwise() {
        let ema = |table: &str| serde_json::from_str::<Ema>(table).unwrap();
        assert!(ema("{}").warm_up && ema(r#"{"decay": 0.9}"#).warm_up);
        assert!(!ema(r#"{"warm_up": false}"#).warm_up && !ema(r#"{"bias_correction": true}"#).warm_up);
        let left: f64 = (0..60).map(|step| 1.0 - ema("{}").weight(step)).skip(1).product();
        assert!(left < 1e-6, "{left} of the first weights is left");
        let late = Ema { start: 2, start_unit: Unit::Epoch, ..ema("{}") };
        let clock = Clock { steps: 12, per_epoch: 4, lr: None };
        let sampler = Average { ema: Some(late), ..Average::default() }.sampler(&clock).unwrap();
        assert_eq!([7, 8].map(|step| sampler.take(step).ema), [0.0, 1.0]);
        assert!(late.in_steps(&Clock { steps: 8, ..clock }).is_err());
    }
}
