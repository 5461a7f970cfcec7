//! The training loop, and nothing else.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::average::{Clock, Sampler};
use crate::data::{Order, Part};
use crate::engine::{Engine, Evaluation, Slot, Step, StepMetrics};
use crate::error::{Error, Result};
use crate::model::{Init, Norm};
use crate::schedule::{Memory, Mode, Rate, Schedule, Unit};
use crate::stop::{Ended, Stop, Watch};

/// What a run does with an engine, beside what the engine was built for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Passes over the training part.
    pub epochs: u64,
    /// Leaves out an epoch's last batch if it is short; otherwise it is trained.
    pub drop_last: bool,
    /// The order of the samples.
    pub order: Order,
    /// How the rate moves from the optimizer's.
    pub schedule: Schedule,
    /// What the schedule counts; a rate that counts epochs stays the same within one.
    pub schedule_unit: Unit,
    /// What ends the run earlier.
    pub stop: Stop,
    /// Evaluates on the validation and test parts after every so many epochs, and after the last.
    pub eval_every: u64,
}

impl Default for Plan {
    /// Ten epochs, shuffled, at a constant rate, evaluated after each.
    fn default() -> Self {
        Self {
            epochs: 10,
            drop_last: false,
            order: Order::Shuffle,
            schedule: Schedule::default(),
            schedule_unit: Unit::default(),
            stop: Stop::default(),
            eval_every: 1,
        }
    }
}

/// What one step did, measured before its update.
#[derive(Clone, Copy, Debug)]
pub struct StepReport<'a> {
    /// Counted from 0.
    pub step: u64,
    /// Counted from 0.
    pub epoch: u64,
    /// Samples of the step.
    pub rows: usize,
    /// Learning rate and momentum of the first replica.
    pub rate: Rate,
    /// One entry a replica.
    pub replicas: &'a [StepMetrics],
}

/// What one epoch did; the vectors have one entry a replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epoch {
    /// Counted from 0.
    pub epoch: u64,
    /// Updates made since the start of the run.
    pub steps: u64,
    /// The rate of the epoch's last step.
    pub lr: f64,
    /// Mean over the epoch's steps, each measured before its update.
    pub train: Vec<Evaluation>,
    /// After the epoch, where there is a validation part; of the restored weights, if any were.
    pub validation: Option<Vec<Evaluation>>,
    /// After the epoch, where there is a test part.
    pub test: Option<Vec<Evaluation>>,
    /// The same of each mean that has samples, and after the run of the best weights, where they are kept.
    pub means: Vec<Mean>,
    /// Whether the metric of [`Stop`] was better than in any epoch before.
    pub is_best: bool,
    /// Seconds for the steps, without evaluation.
    pub seconds: f64,
    /// Samples trained per second, all replicas together.
    pub samples_per_second: f64,
}

/// The evaluations of a mean of the weights, one entry a replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mean {
    /// `swa`, `ema`, `snapshots` or `best`.
    pub name: &'static str,
    /// Where there is a validation part.
    pub validation: Option<Vec<Evaluation>>,
    /// Where there is a test part.
    pub test: Option<Vec<Evaluation>>,
}

/// Plans steps, hands them to the engine, and evaluates.
pub struct Trainer<'a> {
    engine: &'a mut dyn Engine,
    plan: Plan,
    sampler: Sampler,
    progress: Progress,
    ended: Option<Ended>,
    last_good: LastGood,
}

/// How far a run has come, but for what the engine holds; a checkpoint has both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are over.
    pub epoch: u64,
    /// Seconds that their steps took.
    pub seconds: f64,
    /// The highest learning rate so far.
    pub peak_lr: f64,
    /// What a plateau remembers, one a replica.
    pub memories: Vec<Memory>,
    /// Why the run ended, if it did and not merely for want of epochs or time.
    pub ended: Option<Ended>,
    /// What the metric of [`Stop`] has been.
    pub watch: Watch,
}

/// The weights to come back to when the loss stops being finite: copies on the device, with the step before which each
/// was taken. A copy is good once the loss of that step has arrived and is finite.
#[derive(Default)]
struct LastGood {
    good: Option<(Slot, u64)>,
    candidate: Option<(Slot, u64)>,
}

impl<'a> Trainer<'a> {
    /// A run that starts from the weights that the engine holds.
    ///
    /// # Errors
    /// A plan without epochs or steps.
    pub fn new(engine: &'a mut dyn Engine, plan: Plan) -> Result<Self> {
        if plan.epochs == 0 || plan.eval_every == 0 {
            let key = if plan.epochs == 0 { "train.epochs" } else { "train.eval_every" };
            return Err(Error::config(key, "expected at least 1, found 0"));
        }
        // Beyond 2⁵³ a step is no longer exact in a schedule's f64.
        let setup = engine.setup();
        if plan.epochs.checked_mul(setup.dataset.train.len() as u64).is_none_or(|most| most > 1 << 53) {
            return Err(Error::config(
                "train.epochs",
                format!("expected at most 2^53 samples in all, found {} epochs", plan.epochs),
            ));
        }
        let progress = Progress { memories: vec![Memory::default(); setup.replicas], ..Progress::default() };
        let (sampler, last_good) = (Sampler::default(), LastGood::default());
        let mut trainer = Self { engine, plan, sampler, progress, ended: None, last_good };
        trainer.check_batches()?;
        trainer.plan.stop.check(trainer.engine.setup())?;
        trainer.plan.schedule.check(trainer.count(trainer.steps()))?;
        let lr = |step| trainer.rate(step, &Memory::default()).lr;
        let is_function = !trainer.plan.schedule.has_memory();
        let clock = Clock {
            steps: trainer.steps(),
            per_epoch: trainer.steps_per_epoch(),
            lr: is_function.then_some(&lr as &dyn Fn(u64) -> f64),
        };
        let sampler = trainer.engine.setup().average.sampler(&clock)?;
        trainer.sampler = sampler;
        trainer.check_metrics()?;
        Ok(trainer)
    }

    /// Refuses a plateau that watches what the data does not have, and a lowest rate above all that there will be.
    fn check_metrics(&self) -> Result<()> {
        if self.plan.schedule.watches(Mode::Max) && !self.engine.setup().dataset.is_classification() {
            let found = "expected min, since regression targets have no accuracy, found max";
            return Err(Error::config("schedule.mode", found));
        }
        // A run so long is not looked through.
        let Some(lowest) = self.plan.stop.min_lr.filter(|_| self.steps() < 10_000_000) else { return Ok(()) };
        let highest = (0..self.steps()).map(|step| self.rate(step, &Memory::default()).lr).fold(0.0, f64::max);
        if highest < lowest {
            let found =
                format!("expected at most {highest}, the highest rate (optimizer.lr, schedule), found {lowest}");
            return Err(Error::config("stop.min_lr", found));
        }
        Ok(())
    }

    /// Refuses a step of one sample under batch normalisation: it has no variance.
    fn check_batches(&self) -> Result<()> {
        let setup = self.engine.setup();
        let (n, batch) = (setup.dataset.train.len(), setup.batch);
        if setup.model.norm == Norm::Batch && n % batch == 1 && !self.plan.drop_last {
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

    /// Goes on from where a checkpoint was taken; the engine's slots must hold what they held then. A run that has ended
    /// goes on only if [`Progress::ended`] is cleared.
    ///
    /// # Errors
    /// A checkpoint of another number of replicas.
    pub fn resume(&mut self, progress: Progress) -> Result<()> {
        if progress.memories.len() != self.replicas() {
            let found = format!("expected {} as in the checkpoint, found {}", progress.memories.len(), self.replicas());
            return Err(Error::config("train.replicas", found));
        }
        self.ended = progress.ended;
        self.progress = progress;
        Ok(())
    }

    /// How far the run has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Why the run ended, once it has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// What can be evaluated beside the weights after `steps` steps: its name, and the slots whose predictions are
    /// averaged.
    pub fn means(&self, steps: u64) -> Vec<(&'static str, Vec<Slot>)> {
        self.sampler.means(steps)
    }

    /// Draws first weights for every replica.
    ///
    /// # Errors
    /// The device is lost.
    pub fn init(&mut self, init: Init) -> Result<()> {
        initialize(self.engine, init)
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        let setup = self.engine.setup();
        let (n, batch) = (setup.dataset.train.len(), setup.batch);
        (if self.plan.drop_last { n / batch } else { n.div_ceil(batch) }) as u64
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.plan.epochs * self.steps_per_epoch()
    }

    /// The engine, to look at the weights between epochs.
    pub fn engine(&mut self) -> &mut dyn Engine {
        self.engine
    }

    /// Trains one epoch, or returns `None` after the last. `on_step` sees every step, in order, though
    /// later than the step itself.
    ///
    /// # Errors
    /// [`Error::Diverged`] when a loss stops being finite, after which the engine holds the last good weights.
    pub fn epoch(&mut self, on_step: &mut dyn FnMut(&StepReport)) -> Result<Option<Epoch>> {
        if self.progress.epoch >= self.plan.epochs {
            self.ended.get_or_insert(Ended::Epochs);
        }
        if self.ended.is_some() {
            return Ok(None);
        }
        let start = Instant::now();
        self.begin_epoch()?;
        let mut steps: Vec<Step> = (0..self.steps_per_epoch()).map(|i| self.step(i)).collect();
        let mut sums = vec![Evaluation::default(); self.replicas()];
        let mut done = 0;
        for chunk in steps.chunks(self.engine.steps_at_once()) {
            self.last_good.before(self.engine, chunk[0].index)?;
            let metrics = self.engine.run(chunk)?;
            self.account(&metrics, &steps, &mut sums, on_step)?;
            done += chunk.len();
            let seconds = self.progress.seconds + start.elapsed().as_secs_f64();
            if self.plan.stop.seconds.is_some_and(|most| seconds >= most) {
                self.ended = Some(Ended::Seconds);
                break;
            }
        }
        let metrics = self.engine.finish()?;
        self.account(&metrics, &steps, &mut sums, on_step)?;
        steps.truncate(done);
        let seconds = start.elapsed().as_secs_f64();
        let samples = steps.iter().map(|step| step.rows as f64).sum::<f64>();
        let last = &steps[done - 1];
        let mut report = Epoch {
            epoch: self.progress.epoch,
            steps: last.index + 1,
            lr: last.rates[0].lr,
            train: sums.iter().map(|s| Evaluation { loss: s.loss / samples, accuracy: s.accuracy / samples }).collect(),
            seconds,
            samples_per_second: samples * self.replicas() as f64 / seconds,
            ..Epoch::default()
        };
        // An epoch that its time has cut short is not over: a resumed run begins it anew.
        self.progress.epoch += u64::from(done as u64 == self.steps_per_epoch());
        self.progress.seconds += seconds;
        let rates = steps.iter().flat_map(|step| &step.rates);
        self.progress.peak_lr = rates.map(|rate| rate.lr).fold(self.progress.peak_lr, f64::max);
        self.end_epoch(&mut report, &steps)?;
        Ok(Some(report))
    }

    /// Draws the epoch's orders; before the first, the slow weights of lookahead begin as the fast ones.
    fn begin_epoch(&mut self) -> Result<()> {
        let setup = self.engine.setup();
        let (n, seed) = (setup.dataset.train.len(), setup.seed);
        if self.progress.epoch == 0 && setup.average.lookahead.is_some() {
            self.engine.copy_weights(Slot::Live, Slot::Slow)?;
        }
        let order = |r| self.plan.order.permutation(n, seed.wrapping_add(r), self.progress.epoch);
        let orders: Vec<Vec<u32>> = (0..self.replicas() as u64).map(order).collect();
        self.engine.set_order(&orders)
    }

    /// Evaluates, and decides whether the run goes on.
    fn end_epoch(&mut self, report: &mut Epoch, steps: &[Step]) -> Result<()> {
        let last = &steps[steps.len() - 1];
        let epoch = self.progress.epoch;
        if epoch == self.plan.epochs {
            self.ended.get_or_insert(Ended::Epochs);
        }
        if epoch.is_multiple_of(self.plan.eval_every) || self.ended.is_some() {
            report.validation = self.evaluate(Part::Validation, &[Slot::Live], last)?;
            report.test = self.evaluate(Part::Test, &[Slot::Live], last)?;
        }
        let (is_best, ended) = self.plan.stop.watch(report, &mut self.progress.watch);
        report.is_best = is_best;
        if ended.is_some() {
            self.ended = ended;
        }
        if is_best && self.plan.stop.keeps_best() {
            self.engine.copy_weights(Slot::Live, Slot::Best)?;
        }
        self.observe(report);
        if self.ended.is_none() && self.is_rate_too_low(last.index + 1) {
            self.ended = Some(Ended::MinLr);
        }
        self.progress.ended = self.ended.filter(|ended| !matches!(ended, Ended::Epochs | Ended::Seconds));
        if epoch.is_multiple_of(self.plan.eval_every) || self.ended.is_some() {
            self.evaluate_means(report, steps)?;
        }
        if self.ended.is_some() {
            self.end_run(report, last)?;
        }
        Ok(())
    }

    fn evaluate_means(&mut self, report: &mut Epoch, steps: &[Step]) -> Result<()> {
        let last = &steps[steps.len() - 1];
        for (name, slots) in self.sampler.means(report.steps) {
            if let [slot @ (Slot::Swa | Slot::Ema)] = slots[..] {
                // A mean of running statistics is not the statistics of a mean.
                self.engine.renew_statistics(slot, steps)?;
            }
            let validation = self.evaluate(Part::Validation, &slots, last)?;
            report.means.push(Mean { name, validation, test: self.evaluate(Part::Test, &slots, last)? });
        }
        Ok(())
    }

    /// Evaluates the best weights, where they are kept, and goes back to them, where that is asked for.
    fn end_run(&mut self, report: &mut Epoch, last: &Step) -> Result<()> {
        if self.plan.stop.keeps_best() {
            let validation = self.evaluate(Part::Validation, &[Slot::Best], last)?;
            let test = self.evaluate(Part::Test, &[Slot::Best], last)?;
            if self.plan.stop.restore_best {
                self.engine.copy_weights(Slot::Best, Slot::Live)?;
                (report.validation, report.test) = (validation.clone(), test.clone());
            }
            report.means.push(Mean { name: "best", validation, test });
        }
        self.check_weights(last)
    }

    fn replicas(&self) -> usize {
        self.engine.setup().replicas
    }

    /// Step `i` of the current epoch.
    fn step(&self, i: u64) -> Step {
        let setup = self.engine.setup();
        let index = self.progress.epoch * self.steps_per_epoch() + i;
        let first = i as usize * setup.batch;
        let rows = setup.batch.min(setup.dataset.train.len() - first);
        let rates = self.progress.memories.iter().map(|memory| self.rate(index, memory)).collect();
        Step { index, first, rows, rates, take: self.sampler.take(index) }
    }

    fn rate(&self, step: u64, memory: &Memory) -> Rate {
        self.plan.schedule.at(self.count(step), self.count(self.steps()), self.base(), memory)
    }

    /// What the schedule counts up to `step`.
    fn count(&self, step: u64) -> u64 {
        match self.plan.schedule_unit {
            Unit::Step => step,
            Unit::Epoch => step / self.steps_per_epoch(),
        }
    }

    /// The optimizer's own rate.
    fn base(&self) -> Rate {
        let optimizer = &self.engine.setup().optimizer;
        Rate { lr: optimizer.lr(), momentum: optimizer.momentum() }
    }

    /// Tells a plateau the loss (or, to be maximised, the accuracy) of each replica: where there is a validation part,
    /// that of the evaluations, else the epoch's own.
    fn observe(&mut self, epoch: &Epoch) {
        if epoch.validation.is_none() && self.engine.setup().dataset.validation.is_some() {
            return;
        }
        let (now, all, base) = (self.count(epoch.steps - 1), self.count(self.steps()), self.base());
        let evaluations = epoch.validation.as_ref().unwrap_or(&epoch.train);
        for (memory, e) in self.progress.memories.iter_mut().zip(evaluations) {
            let metric = |mode| if mode == Mode::Min { e.loss } else { e.accuracy };
            self.plan.schedule.observe(now, all, base, metric, memory);
        }
    }

    /// Whether `step` would be taken at less than the plan's lowest rate by every replica.
    fn is_rate_too_low(&self, step: u64) -> bool {
        let Some(lowest) = self.plan.stop.min_lr.filter(|&lowest| self.progress.peak_lr >= lowest) else {
            return false;
        };
        self.progress.memories.iter().all(|memory| self.rate(step, memory).lr < lowest)
    }

    /// Adds metrics to the epoch's sums, and stops at a loss that is not finite.
    fn account(
        &mut self,
        metrics: &[StepMetrics],
        steps: &[Step],
        sums: &mut [Evaluation],
        on_step: &mut dyn FnMut(&StepReport),
    ) -> Result<()> {
        for replicas in metrics.chunks(sums.len()) {
            let step = &steps[(replicas[0].step - steps[0].index) as usize];
            on_step(&StepReport {
                step: step.index,
                epoch: self.progress.epoch,
                rows: step.rows,
                rate: step.rates[0],
                replicas,
            });
            if let Some(m) = replicas.iter().find(|m| !m.loss.is_finite()) {
                return Err(self.diverged(step, m.replica, m.loss)?);
            }
            for (sum, m) in sums.iter_mut().zip(replicas) {
                sum.loss += m.loss * step.rows as f64;
                sum.accuracy += m.correct as f64;
            }
            self.last_good.finite(step.index);
        }
        Ok(())
    }

    fn evaluate(&mut self, part: Part, slots: &[Slot], last: &Step) -> Result<Option<Vec<Evaluation>>> {
        if self.engine.setup().dataset.part(part).is_none() {
            return Ok(None);
        }
        let evaluations = self.engine.evaluate(part, slots)?;
        match evaluations.iter().position(|e| !e.loss.is_finite()) {
            Some(replica) => Err(self.diverged(last, replica, evaluations[replica].loss)?),
            None => Ok(Some(evaluations)),
        }
    }

    /// Stops if the last update left weights that are not finite, which no loss has shown.
    fn check_weights(&mut self, last: &Step) -> Result<()> {
        for replica in 0..self.replicas() {
            if self.engine.weights(Slot::Live, replica)?.iter().any(|w| !w.is_finite()) {
                return Err(self.diverged(last, replica, f64::NAN)?);
            }
        }
        Ok(())
    }

    /// Goes back to the last good weights and makes the error that says so.
    fn diverged(&mut self, step: &Step, replica: usize, loss: f64) -> Result<Error> {
        self.engine.finish()?;
        let restored = self.last_good.restore(self.engine)?;
        Ok(Error::Diverged { step: step.index, lr: step.rates[replica].lr, replica, loss, restored })
    }
}

/// Draws first weights for every replica, with the setup's seed.
///
/// # Errors
/// The device is lost.
pub fn initialize(engine: &mut dyn Engine, init: Init) -> Result<()> {
    let (model, seed) = (engine.setup().model.clone(), engine.setup().seed);
    for r in 0..engine.setup().replicas {
        let weights = engine.layout().init(&model, init, seed.wrapping_add(r as u64));
        engine.set_weights(Slot::Live, r, &weights)?;
    }
    Ok(())
}

impl LastGood {
    /// Takes a copy before `step` is handed to the engine, unless one is still undecided.
    fn before(&mut self, engine: &mut dyn Engine, step: u64) -> Result<()> {
        if self.candidate.is_none() {
            let slot =
                if self.good.is_some_and(|(slot, _)| slot == Slot::Copy(0)) { Slot::Copy(1) } else { Slot::Copy(0) };
            engine.copy_weights(Slot::Live, slot)?;
            self.candidate = Some((slot, step));
        }
        Ok(())
    }

    /// The losses of `step` are finite.
    fn finite(&mut self, step: u64) {
        if self.candidate.is_some_and(|(_, taken)| taken <= step) {
            self.good = self.candidate.take();
        }
    }

    /// Copies the last good weights back; returns the step before which they were taken.
    fn restore(&self, engine: &mut dyn Engine) -> Result<u64> {
        match self.good.or(self.candidate) {
            Some((slot, step)) => {
                engine.copy_weights(slot, Slot::Live)?;
                Ok(step)
            }
            None => Ok(0),
        }
    }
}
