//! What a run does with an engine, as a value.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::average::{Clock, Course, Sampler};
use crate::data::Order;
use crate::engine::{Setup, Step};
use crate::error::{Error, Result};
use crate::event::Epoch;
use crate::model::Norm;
use crate::optimizer::Rule;
use crate::progress::Progress;
use crate::schedule::{Memory, Mode, Rate, Schedule, Unit};
use crate::stop::Stop;

/// The plan of a run: what the loop does with an engine, beside what the engine was built for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The number of epochs, passes over the training part. At least 1, default 10.
    pub epochs: u64,
    /// Whether an epoch's last batch is left out if it is short; otherwise it is trained. Default false.
    pub drop_last: bool,
    /// The order in which an epoch takes the samples. Default: shuffled.
    pub order: Order,
    /// The schedule by which the learning rate moves from the optimizer's. Default: constant.
    pub schedule: Schedule,
    /// The unit that the schedule counts; a rate that counts epochs stays the same within one. Default: steps.
    pub schedule_unit: Unit,
    /// The number of epochs that the schedule is made for; after them its last rate holds. At least 1; default: those of
    /// the run.
    pub schedule_epochs: Option<u64>,
    /// The rules that end the run earlier. Default: none.
    pub stop: Stop,
    /// The number of epochs or steps from one evaluation on the validation and test parts to the next; there is one at the
    /// end of the run too. At least 1, default 1.
    pub eval_every: u64,
    /// The unit of `eval_every`. Default: epochs.
    pub eval_unit: Unit,
}

impl Default for Plan {
    /// The default plan: ten epochs, shuffled, at a constant rate, evaluated after each.
    fn default() -> Self {
        Self {
            epochs: 10,
            drop_last: false,
            order: Order::Shuffle,
            schedule: Schedule::default(),
            schedule_unit: Unit::default(),
            schedule_epochs: None,
            stop: Stop::default(),
            eval_every: 1,
            eval_unit: Unit::Epoch,
        }
    }
}

impl Plan {
    /// Refuses a plan that does not fit `setup`; returns the sampler of its averages.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting that does not fit.
    pub fn check(&self, setup: &Setup) -> Result<Sampler> {
        let counts = [
            ("train.epochs", self.epochs),
            ("train.eval_every", self.eval_every),
            ("schedule.epochs", self.schedule_epochs.unwrap_or(1)),
        ];
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Error::config(*key, "expected at least 1, found 0"));
        }
        // Beyond 2⁵³ a step is no longer exact in a schedule's f64.
        let is_too_long =
            |epochs: u64| epochs.checked_mul(setup.dataset.train.len() as u64).is_none_or(|n| n > 1 << 53);
        if let Some((key, epochs)) = [counts[0], counts[2]].into_iter().find(|(_, epochs)| is_too_long(*epochs)) {
            return Err(Error::config(key, format!("expected at most 2^53 samples in all, found {epochs} epochs")));
        }
        self.check_batches(setup)?;
        self.stop.check(setup)?;
        self.schedule.check(self.count(setup, self.schedule_steps(setup)))?;
        if matches!(setup.optimizer.rule(), Rule::Adam { .. }) {
            self.schedule.check_beta()?;
        }
        let clock = self.clock(setup.optimizer.rate(), self.steps_per_epoch(setup));
        let sampler = setup.average.sampler(&clock)?;
        self.check_metrics(setup)?;
        Ok(sampler)
    }

    /// The run as schedules and averages see it, from a rate of `base` on, in epochs of `per_epoch` steps.
    pub fn clock(&self, base: Rate, per_epoch: u64) -> Clock {
        let steps = self.schedule_epochs.unwrap_or(self.epochs).saturating_mul(per_epoch);
        let plan = self.clone();
        let lr = move |step| plan.rate_of(base, per_epoch, steps, step, &Memory::default()).lr;
        let course = (!self.schedule.has_memory()).then(|| Course { steps, lr: Arc::new(lr) });
        Clock { steps: self.epochs * per_epoch, per_epoch, lr: course }
    }

    /// Refuses a plateau that watches what the data does not have, and a lowest rate above all that there will be.
    fn check_metrics(&self, setup: &Setup) -> Result<()> {
        if self.schedule.watches(Mode::Max) && !setup.dataset.is_classification() {
            let found = "expected min, since regression targets have no accuracy, found max";
            return Err(Error::config("schedule.mode", found));
        }
        // A run so long is not looked through.
        let Some(lowest) = self.stop.min_lr.filter(|_| self.total_steps(setup) < 1_000_000) else { return Ok(()) };
        let highest =
            (0..self.total_steps(setup)).map(|step| self.rate(setup, step, &Memory::default()).lr).fold(0.0, f64::max);
        if highest < lowest {
            let found =
                format!("expected at most {highest}, the highest rate (optimizer.lr, schedule), found {lowest}");
            return Err(Error::config("stop.min_lr", found));
        }
        Ok(())
    }

    /// Refuses a step of one sample under batch normalisation: it has no variance.
    fn check_batches(&self, setup: &Setup) -> Result<()> {
        let (n, batch) = (setup.dataset.train.len(), setup.batch);
        if setup.model.norm == Norm::Batch && n % batch == 1 && !self.drop_last {
            return Err(Error::config(
                "train.batch",
                format!(
                    "expected at least 2 samples in every step under batch normalisation (model.norm), found a step of 1 \
                     ({n} samples in batches of {batch}); train.drop_last leaves it out"
                ),
            ));
        }
        Ok(())
    }

    /// The number of steps of one epoch.
    pub fn steps_per_epoch(&self, setup: &Setup) -> u64 {
        let (n, batch) = (setup.dataset.train.len(), setup.batch);
        (if self.drop_last { n / batch } else { n.div_ceil(batch) }) as u64
    }

    /// The number of steps of the whole run.
    pub fn total_steps(&self, setup: &Setup) -> u64 {
        self.epochs * self.steps_per_epoch(setup)
    }

    /// The number of steps that the schedule is made for.
    pub fn schedule_steps(&self, setup: &Setup) -> u64 {
        self.schedule_epochs.unwrap_or(self.epochs).saturating_mul(self.steps_per_epoch(setup))
    }

    /// The learning rate and momentum of `step`, counted from 0, for a replica whose plateau has this memory.
    pub fn rate(&self, setup: &Setup, step: u64, memory: &Memory) -> Rate {
        let (per_epoch, all) = (self.steps_per_epoch(setup), self.schedule_steps(setup));
        self.rate_of(setup.optimizer.rate(), per_epoch, all, step, memory)
    }

    /// The rate of `step` in epochs of `per_epoch` steps, under a schedule made for `all` steps.
    fn rate_of(&self, base: Rate, per_epoch: u64, all: u64, step: u64, memory: &Memory) -> Rate {
        let (at, all) = (self.count_of(per_epoch, self.within(all, step)), self.count_of(per_epoch, all));
        self.schedule.at(at, all, base, memory)
    }

    /// The step of a schedule made for `all` steps whose rate `step` has: a schedule with a length of its own holds its last.
    fn within(&self, all: u64, step: u64) -> u64 {
        if self.schedule_epochs.is_some() { step.min(all - 1) } else { step }
    }

    /// The step `i` of the epoch with the number `epoch`, both counted from 0.
    pub(crate) fn step(&self, setup: &Setup, progress: &Progress, sampler: &Sampler, epoch: u64, i: u64) -> Step {
        let (index, first) = (epoch * self.steps_per_epoch(setup) + i, i as usize * setup.batch);
        let rows = setup.batch.min(setup.dataset.train.len() - first);
        let rates = progress.memories.iter().map(|memory| self.rate(setup, index, memory)).collect();
        Step { index, first, rows, rates, take: sampler.take(index), ..Step::default() }
    }

    /// Whether there is an evaluation after `steps` steps, wherever the run ends.
    pub(crate) fn is_evaluated(&self, setup: &Setup, steps: u64) -> bool {
        let per_epoch = self.steps_per_epoch(setup);
        match self.eval_unit {
            Unit::Step => steps.is_multiple_of(self.eval_every),
            Unit::Epoch => steps.is_multiple_of(per_epoch) && (steps / per_epoch).is_multiple_of(self.eval_every),
        }
    }

    /// The number of steps from `steps` to the next evaluation that is not at the end of an epoch, if any is to come.
    pub(crate) fn to_evaluation(&self, steps: u64) -> Option<u64> {
        (self.eval_unit == Unit::Step).then(|| self.eval_every - steps % self.eval_every)
    }

    /// The orders in which the replicas take the samples in an epoch.
    pub(crate) fn orders(&self, setup: &Setup, epoch: u64) -> Vec<Vec<u32>> {
        let n = setup.dataset.train.len();
        (0..setup.replicas as u64).map(|r| self.order.permutation(n, setup.seed.wrapping_add(r), epoch)).collect()
    }

    /// Tells a plateau the loss (or, to be maximised, the accuracy) of each replica: where there is a validation part,
    /// that of the evaluations, else the epoch's own.
    pub(crate) fn observe(&self, setup: &Setup, epoch: &Epoch, memories: &mut [Memory]) {
        if epoch.validation.is_none() && setup.dataset.validation.is_some() {
            return;
        }
        let all = self.schedule_steps(setup);
        let (at, all) = (self.count(setup, self.within(all, epoch.steps - 1)), self.count(setup, all));
        let evaluations = epoch.validation.as_ref().unwrap_or(&epoch.train);
        for (memory, e) in memories.iter_mut().zip(evaluations) {
            let metric = |mode| if mode == Mode::Min { e.loss } else { e.accuracy };
            self.schedule.observe(at, all, setup.optimizer.rate(), metric, memory);
        }
    }

    /// Whether `step` would be taken at less than the lowest rate by every replica, after some were taken at more.
    pub(crate) fn is_rate_too_low(&self, setup: &Setup, step: u64, progress: &Progress) -> bool {
        let Some(lowest) = self.stop.min_lr.filter(|&lowest| progress.peak_lr >= lowest) else { return false };
        progress.memories.iter().all(|memory| self.rate(setup, step, memory).lr < lowest)
    }

    /// The steps or epochs that the schedule counts up to `step`.
    fn count(&self, setup: &Setup, step: u64) -> u64 {
        self.count_of(self.steps_per_epoch(setup), step)
    }

    /// The steps or epochs that the schedule counts up to `step`, in epochs of `per_epoch` steps.
    fn count_of(&self, per_epoch: u64, step: u64) -> u64 {
        match self.schedule_unit {
            Unit::Step => step,
            Unit::Epoch => step / per_epoch,
        }
    }
}
