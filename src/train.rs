//! The training loop, and nothing else.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::data::{Order, Part};
use crate::engine::{Engine, Evaluation, Slot, Step, StepMetrics};
use crate::error::{Error, Result};
use crate::model::Init;
use crate::schedule::{Memory, Mode, Rate, Schedule};

/// What a run does with an engine, beside what the engine was built for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Passes over the training part.
    pub epochs: u64,
    /// Leaves out an epoch's last batch if it is short; otherwise it is trained.
    pub drop_last: bool,
    /// The order of the samples.
    pub order: Order,
    /// Draws the first weights and the orders; replica r uses seed + r.
    pub seed: u64,
    /// How the rate moves from the optimizer's.
    pub schedule: Schedule,
    /// Evaluates on the validation and test parts after every so many epochs, and after the last.
    pub eval_every: u64,
}

impl Default for Plan {
    /// Ten epochs, shuffled with seed 0, at a constant rate, evaluated after each.
    fn default() -> Self {
        Self {
            epochs: 10,
            drop_last: false,
            order: Order::Shuffle,
            seed: 0,
            schedule: Schedule::default(),
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
    /// After the epoch, where there is a validation part.
    pub validation: Option<Vec<Evaluation>>,
    /// After the epoch, where there is a test part.
    pub test: Option<Vec<Evaluation>>,
    /// The same of each mean that has samples: its name, and its evaluations.
    pub means: Vec<Mean>,
    /// Seconds for the steps, without evaluation.
    pub seconds: f64,
    /// Samples trained per second, all replicas together.
    pub samples_per_second: f64,
}

/// The evaluations of a mean of the weights, one entry a replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mean {
    /// `swa` or `ema`.
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
    epoch: u64,
    /// What a plateau remembers, one a replica.
    memories: Vec<Memory>,
    last_good: LastGood,
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
        let memories = vec![Memory::default(); engine.setup().replicas];
        let trainer = Self { engine, plan, epoch: 0, memories, last_good: LastGood::default() };
        trainer.plan.schedule.check(trainer.steps())?;
        trainer.engine.setup().average.check(trainer.steps())?;
        Ok(trainer)
    }

    /// Draws first weights for every replica.
    ///
    /// # Errors
    /// The device is lost.
    pub fn init(&mut self, init: Init) -> Result<()> {
        let model = self.engine.setup().model.clone();
        for r in 0..self.replicas() {
            let weights = self.engine.layout().init(&model, init, self.plan.seed.wrapping_add(r as u64));
            self.engine.set_weights(Slot::Live, r, &weights)?;
        }
        Ok(())
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
        if self.epoch == self.plan.epochs {
            return Ok(None);
        }
        let start = Instant::now();
        let n = self.engine.setup().dataset.train.len();
        let orders: Vec<Vec<u32>> = (0..self.replicas() as u64)
            .map(|r| self.plan.order.permutation(n, self.plan.seed.wrapping_add(r), self.epoch))
            .collect();
        self.engine.set_order(&orders)?;

        let steps: Vec<Step> = (0..self.steps_per_epoch()).map(|i| self.step(i)).collect();
        let mut sums = vec![Evaluation::default(); self.replicas()];
        let mut samples = 0.0;
        for chunk in steps.chunks(self.engine.steps_at_once()) {
            self.last_good.before(self.engine, chunk[0].index)?;
            let metrics = self.engine.run(chunk)?;
            self.account(&metrics, &steps, &mut sums, on_step)?;
            samples += chunk.iter().map(|step| step.rows as f64).sum::<f64>();
        }
        let metrics = self.engine.finish()?;
        self.account(&metrics, &steps, &mut sums, on_step)?;

        let seconds = start.elapsed().as_secs_f64();
        let last = &steps[steps.len() - 1];
        let mut report = Epoch {
            epoch: self.epoch,
            steps: last.index + 1,
            lr: last.rates[0].lr,
            train: sums.iter().map(|s| Evaluation { loss: s.loss / samples, accuracy: s.accuracy / samples }).collect(),
            seconds,
            samples_per_second: samples * self.replicas() as f64 / seconds,
            ..Epoch::default()
        };
        self.epoch += 1;
        if self.epoch.is_multiple_of(self.plan.eval_every) || self.epoch == self.plan.epochs {
            report.validation = self.evaluate(Part::Validation, Slot::Live, last)?;
            report.test = self.evaluate(Part::Test, Slot::Live, last)?;
            for (name, slot) in self.engine.setup().average.slots(report.steps) {
                let validation = self.evaluate(Part::Validation, slot, last)?;
                report.means.push(Mean { name, validation, test: self.evaluate(Part::Test, slot, last)? });
            }
        }
        if self.epoch == self.plan.epochs {
            self.check_weights(last)?;
        }
        self.observe(&report);
        Ok(Some(report))
    }

    fn replicas(&self) -> usize {
        self.engine.setup().replicas
    }

    /// Step `i` of the current epoch.
    fn step(&self, i: u64) -> Step {
        let setup = self.engine.setup();
        let index = self.epoch * self.steps_per_epoch() + i;
        let at = |memory| self.plan.schedule.at(index, self.steps(), self.base(), memory);
        let first = i as usize * setup.batch;
        let rows = setup.batch.min(setup.dataset.train.len() - first);
        Step { index, first, rows, rates: self.memories.iter().map(at).collect() }
    }

    /// The optimizer's own rate.
    fn base(&self) -> Rate {
        let optimizer = &self.engine.setup().optimizer;
        Rate { lr: optimizer.lr(), momentum: optimizer.momentum() }
    }

    /// Tells a plateau the loss (or, to be maximised, the accuracy) of each replica: that of the validation part where
    /// there is one, else the epoch's own.
    fn observe(&mut self, epoch: &Epoch) {
        let (steps, base) = (self.steps(), self.base());
        let evaluations = epoch.validation.as_ref().unwrap_or(&epoch.train);
        for (memory, e) in self.memories.iter_mut().zip(evaluations) {
            let metric = |mode| if mode == Mode::Min { e.loss } else { e.accuracy };
            self.plan.schedule.observe(epoch.steps - 1, steps, base, metric, memory);
        }
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
                epoch: self.epoch,
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

    fn evaluate(&mut self, part: Part, slot: Slot, last: &Step) -> Result<Option<Vec<Evaluation>>> {
        if self.engine.setup().dataset.part(part).is_none() {
            return Ok(None);
        }
        let evaluations = self.engine.evaluate(part, slot)?;
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
