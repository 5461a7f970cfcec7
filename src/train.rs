//! The training loop: plans steps, hands them to the engine, evaluates, stops.

use std::time::Instant;

use crate::average::Sampler;
use crate::data::Part;
use crate::engine::{self, Engine, Evaluation, Slot, Step, StepMetrics};
use crate::error::{Error, Result};
use crate::event::{Control, Ended, Epoch, Event, Mean, Observer, Sample, Started, StepReport};
use crate::model::Init;
use crate::plan::Plan;
use crate::progress::{LastGood, Progress, Underway};
use crate::schedule::Memory;

/// The training loop around an engine, which it owns. It can be taken step by step, by any number of steps, by epochs, or to
/// its end; each way gives the same bits.
pub struct Trainer {
    engine: Box<dyn Engine>,
    plan: Plan,
    sampler: Sampler,
    progress: Progress,
    ended: Option<Ended>,
    last_good: LastGood,
    underway: Option<Underway>,
    has_started: bool,
    /// Whether somebody asked for the end between two steps.
    is_asked: bool,
    /// Steps of the last epoch, if the run ended within it.
    cut: u64,
}

impl Trainer {
    /// A trainer for a run that starts from the weights that the engine holds.
    ///
    /// # Errors
    /// A plan that does not fit the engine's setup, or too little memory for the best weights.
    pub fn new(mut engine: Box<dyn Engine>, plan: Plan) -> Result<Self> {
        let setup = engine.setup();
        let sampler = plan.check(setup)?;
        let progress = Progress { memories: vec![Memory::default(); setup.replicas], ..Progress::default() };
        if plan.stop.keeps_best() && !engine.has(Slot::Best) {
            engine.allocate(Slot::Best)?;
        }
        let (last_good, has_started, is_asked) = (LastGood::default(), false, false);
        let (ended, underway, cut) = (None, None, 0);
        Ok(Self { engine, plan, sampler, progress, ended, last_good, underway, has_started, is_asked, cut })
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
        self.engine.wait()?;
        (self.ended, self.last_good, self.underway, self.cut) = (progress.ended, LastGood::default(), None, 0);
        (self.has_started, self.is_asked) = (false, false);
        self.progress = progress;
        Ok(())
    }

    /// The progress of the run, as a checkpoint keeps it.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The plan of the run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The reason for which the run ended, once it has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// The means of the weights that can be evaluated after `steps` steps: the name of each, and the slots whose
    /// predictions are averaged.
    pub fn means(&self, steps: u64) -> Vec<(&'static str, Vec<Slot>)> {
        Slot::means(self.sampler.sampled(steps))
    }

    /// Draws the first weights of every replica by the rule `init`, with the seed of the setup.
    ///
    /// # Errors
    /// The device is lost.
    pub fn init(&mut self, init: Init) -> Result<()> {
        engine::initialize(self.engine.as_mut(), init)
    }

    /// The number of steps of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.plan.steps_per_epoch(self.engine.setup())
    }

    /// The number of steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.plan.total_steps(self.engine.setup())
    }

    /// The number of steps taken so far.
    pub fn steps_taken(&self) -> u64 {
        let within = self.underway.as_ref().map_or(self.cut, |underway| underway.handed as u64);
        self.progress.epoch * self.steps_per_epoch() + within
    }

    /// The engine, to look at the weights between steps.
    pub fn engine(&mut self) -> &mut dyn Engine {
        self.engine.as_mut()
    }

    /// The engine, when the run is no longer needed.
    pub fn into_engine(self) -> Box<dyn Engine> {
        self.engine
    }

    /// Trains to the end of the run.
    ///
    /// # Errors
    /// The errors of [`epoch`](Self::epoch).
    pub fn run(&mut self) -> Result<()> {
        self.run_with(&mut ())
    }

    /// Trains to the end of the run, watched by `observer`.
    ///
    /// # Errors
    /// The errors of [`epoch_with`](Self::epoch_with).
    pub fn run_with(&mut self, observer: &mut dyn Observer) -> Result<()> {
        while self.epoch_with(observer)?.is_some() {}
        Ok(())
    }

    /// Trains to the end of an epoch, the one under way or the next, and evaluates; returns `None` when the run is over.
    ///
    /// # Errors
    /// [`Error::Diverged`] when a loss stops being finite, after which the engine holds the last good weights.
    pub fn epoch(&mut self) -> Result<Option<Epoch>> {
        self.epoch_with(&mut ())
    }

    /// Trains to the end of an epoch as [`epoch`](Self::epoch) does, watched by `observer`.
    ///
    /// # Errors
    /// The errors of [`epoch`](Self::epoch), and those of the observer.
    pub fn epoch_with(&mut self, observer: &mut dyn Observer) -> Result<Option<Epoch>> {
        if self.is_over() { Ok(None) } else { self.take(usize::MAX, observer) }
    }

    /// Takes one step, and evaluates if it is the last of its epoch; returns whether there was one to take.
    ///
    /// # Errors
    /// The errors of [`epoch`](Self::epoch).
    pub fn step(&mut self) -> Result<bool> {
        Ok(self.advance(1)? == 1)
    }

    /// Takes `n` steps, or as many as are left, and returns how many; the epochs that end on the way are evaluated.
    ///
    /// # Errors
    /// The errors of [`epoch`](Self::epoch).
    pub fn advance(&mut self, n: u64) -> Result<u64> {
        self.advance_with(n, &mut ())
    }

    /// Takes `n` steps as [`advance`](Self::advance) does, watched by `observer`.
    ///
    /// # Errors
    /// The errors of [`epoch_with`](Self::epoch_with).
    pub fn advance_with(&mut self, n: u64, observer: &mut dyn Observer) -> Result<u64> {
        let before = self.steps_taken();
        loop {
            let taken = self.steps_taken() - before;
            if taken >= n || self.is_over() {
                return Ok(taken);
            }
            self.take((n - taken).try_into().unwrap_or(usize::MAX), observer)?;
        }
    }

    /// Ends the run after the next submission, as an observer's [`Control::Stop`] does.
    pub fn stop_soon(&mut self) {
        self.is_asked = true;
    }

    fn is_over(&mut self) -> bool {
        if self.progress.epoch >= self.plan.epochs {
            self.ended.get_or_insert(Ended::Epochs);
        }
        self.ended.is_some()
    }

    /// Takes at most `most` steps of one epoch, and returns the epoch if it is over then. An error ends the run.
    fn take(&mut self, most: usize, observer: &mut dyn Observer) -> Result<Option<Epoch>> {
        // What a caller has run in between is not the run's.
        self.engine.wait()?;
        let result = self.take_steps(most, observer);
        if result.is_err() {
            self.ended.get_or_insert(Ended::Failed);
            self.engine.wait().ok();
        }
        result
    }

    fn take_steps(&mut self, most: usize, observer: &mut dyn Observer) -> Result<Option<Epoch>> {
        let mut underway = self.begin(observer)?;
        let start = Instant::now();
        if underway.handed == 0 {
            self.set_order()?;
        }
        let end = underway.handed.saturating_add(most).min(underway.steps.len());
        while underway.handed < end && self.ended.is_none() {
            let chunk = underway.handed..end.min(underway.handed + self.engine.steps_at_once());
            let steps = &underway.steps[chunk.clone()];
            self.last_good.before(self.engine.as_mut(), steps[0].index)?;
            let metrics = self.engine.run(steps)?;
            underway.handed = chunk.end;
            self.account(&metrics, &mut underway, observer)?;
            let seconds = self.progress.seconds + underway.seconds + start.elapsed().as_secs_f64();
            if underway.is_asked {
                self.ended = Some(Ended::Asked);
            } else if self.plan.stop.seconds.is_some_and(|most| seconds >= most) {
                self.ended = Some(Ended::Seconds);
            }
        }
        let metrics = self.engine.wait()?;
        self.account(&metrics, &mut underway, observer)?;
        if underway.is_asked {
            self.ended = Some(Ended::Asked);
        }
        underway.seconds += start.elapsed().as_secs_f64();
        if underway.handed < underway.steps.len() && self.ended.is_none() {
            self.underway = Some(underway);
            return Ok(None);
        }
        self.end_epoch(underway, observer).map(Some)
    }

    /// The epoch under way, or the next one.
    fn begin(&mut self, observer: &mut dyn Observer) -> Result<Underway> {
        let mut is_asked = std::mem::take(&mut self.is_asked);
        if !self.has_started {
            self.has_started = true;
            let (device, steps, first_step) = (self.engine.describe(), self.total_steps(), self.steps_taken());
            let (setup, epochs) = (self.engine.setup(), self.plan.epochs);
            let started = Started { setup, device: &device, epochs, steps, first_step };
            is_asked |= observer.on(&Event::Started(&started))? == Control::Stop;
        }
        if let Some(underway) = self.underway.take() {
            return Ok(Underway { is_asked, ..underway });
        }
        let steps = self.plan.steps(self.engine.setup(), &self.progress, &self.sampler);
        let sums = vec![Evaluation::default(); self.replicas()];
        Ok(Underway { steps, handed: 0, sums, seconds: 0.0, is_asked })
    }

    /// Draws the epoch's orders; before the first, the slow weights of lookahead begin as the fast ones.
    fn set_order(&mut self) -> Result<()> {
        let setup = self.engine.setup();
        let orders = self.plan.orders(setup, self.progress.epoch);
        if self.progress.epoch == 0 && setup.average.lookahead.is_some() {
            self.engine.copy(Slot::Live, Slot::Slow)?;
        }
        self.engine.set_order(&orders)
    }

    /// Closes the epoch: its report, its evaluations, and whether the run goes on.
    fn end_epoch(&mut self, underway: Underway, observer: &mut dyn Observer) -> Result<Epoch> {
        let mut epoch = underway.report(self.progress.epoch);
        let Underway { mut steps, handed, .. } = underway;
        // An epoch that was cut short is not over: a resumed run begins it anew.
        let is_whole = handed == steps.len();
        (self.progress.epoch, self.cut) =
            if is_whole { (self.progress.epoch + 1, 0) } else { (self.progress.epoch, handed as u64) };
        self.progress.seconds += epoch.seconds;
        steps.truncate(handed);
        let rates = steps.iter().flat_map(|step| &step.rates);
        self.progress.peak_lr = rates.map(|rate| rate.lr).fold(self.progress.peak_lr, f64::max);
        if let Err(error) = self.judge(&mut epoch, &steps) {
            return Err(self.tell_end(error, observer));
        }
        if observer.on(&Event::Epoch(&epoch))? == Control::Stop
            && self.ended.is_none()
            && let Err(error) = self.end_as_asked(&mut epoch, &steps)
        {
            return Err(self.tell_end(error, observer));
        }
        if let Some(ended) = self.ended {
            observer.on(&Event::Ended(ended))?;
        }
        Ok(epoch)
    }

    /// Evaluates, and decides whether the run goes on.
    fn judge(&mut self, report: &mut Epoch, steps: &[Step]) -> Result<()> {
        if self.progress.epoch == self.plan.epochs {
            self.ended.get_or_insert(Ended::Epochs);
        }
        if self.is_evaluated() {
            self.evaluate_live(report, steps)?;
        }
        if let Some(ended) = self.watch(report)? {
            self.ended = Some(ended);
        }
        let setup = self.engine.setup();
        self.plan.observe(setup, report, &mut self.progress.memories);
        if self.ended.is_none() && self.plan.is_rate_too_low(setup, report.steps, &self.progress) {
            self.ended = Some(Ended::MinLr);
        }
        self.progress.ended = self.ended.filter(|ended| ended.is_final());
        if self.is_evaluated() {
            self.evaluate_means(report, steps)?;
        }
        if self.ended.is_some() {
            self.end_run(report, steps)?;
        }
        Ok(())
    }

    /// Ends a run whose epoch was over, and evaluates it if it was not evaluated yet.
    fn end_as_asked(&mut self, report: &mut Epoch, steps: &[Step]) -> Result<()> {
        let (is_evaluated, is_watched) = (self.is_evaluated(), self.plan.stop.is_seen(report));
        self.ended = Some(Ended::Asked);
        if !is_evaluated {
            self.evaluate_live(report, steps)?;
            if !is_watched {
                self.watch(report)?;
            }
            self.evaluate_means(report, steps)?;
        }
        self.end_run(report, steps)
    }

    /// Takes up the metric, and the weights if it is the best so far; returns why the run ends, if it does.
    fn watch(&mut self, report: &mut Epoch) -> Result<Option<Ended>> {
        let (is_best, ended) = self.plan.stop.watch(report, &mut self.progress.watch);
        report.is_best = is_best;
        if is_best && self.plan.stop.keeps_best() {
            self.engine.copy(Slot::Live, Slot::Best)?;
        }
        Ok(ended)
    }

    /// Whether the epochs that are over end with an evaluation.
    fn is_evaluated(&self) -> bool {
        self.progress.epoch.is_multiple_of(self.plan.eval_every) || self.ended.is_some()
    }

    fn evaluate_live(&mut self, report: &mut Epoch, steps: &[Step]) -> Result<()> {
        report.validation = self.evaluate(Part::Validation, &[Slot::Live], steps)?;
        report.test = self.evaluate(Part::Test, &[Slot::Live], steps)?;
        Ok(())
    }

    fn evaluate_means(&mut self, report: &mut Epoch, steps: &[Step]) -> Result<()> {
        for (name, slots) in self.means(report.steps) {
            if let [slot @ (Slot::Swa | Slot::Ema)] = slots[..] {
                // A mean of running statistics is not the statistics of a mean.
                self.engine.renew_statistics(slot, steps)?;
            }
            let validation = self.evaluate(Part::Validation, &slots, steps)?;
            report.means.push(Mean { name, validation, test: self.evaluate(Part::Test, &slots, steps)? });
        }
        Ok(())
    }

    /// Evaluates the best weights, where they are kept, and goes back to them, where that is asked for.
    fn end_run(&mut self, report: &mut Epoch, steps: &[Step]) -> Result<()> {
        if self.plan.stop.keeps_best() {
            let validation = self.evaluate(Part::Validation, &[Slot::Best], steps)?;
            let test = self.evaluate(Part::Test, &[Slot::Best], steps)?;
            if self.plan.stop.restore_best {
                self.engine.copy(Slot::Best, Slot::Live)?;
                (report.validation, report.test) = (validation.clone(), test.clone());
            }
            report.means.push(Mean { name: "best", validation, test });
        }
        self.check_weights(steps)
    }

    fn replicas(&self) -> usize {
        self.engine.setup().replicas
    }

    /// Tells a loss that is not finite to the observer, where that is why the run ends; returns the error.
    fn tell_end(&self, error: Error, observer: &mut dyn Observer) -> Error {
        match self.ended {
            Some(ended @ Ended::Diverged) => observer.on(&Event::Ended(ended)).err().unwrap_or(error),
            _ => error,
        }
    }

    /// Tells the observer of steps whose metrics have arrived, adds them to the epoch's sums, and stops at a loss that is
    /// not finite.
    fn account(&mut self, metrics: &[StepMetrics], underway: &mut Underway, observer: &mut dyn Observer) -> Result<()> {
        let Underway { steps, sums, is_asked, .. } = underway;
        for replicas in metrics.chunks(sums.len()) {
            let step = &steps[(replicas[0].step - steps[0].index) as usize];
            let Step { index, rows, ref rates, take, .. } = *step;
            let report = StepReport { step: index, epoch: self.progress.epoch, rows, rate: rates[0], replicas };
            *is_asked |= observer.on(&Event::Step(&report))? == Control::Stop;
            if let Some(m) = replicas.iter().find(|m| !m.loss.is_finite()) {
                let error = self.diverged(step, m.replica, m.loss)?;
                return Err(self.tell_end(error, observer));
            }
            if take.swa > 0.0 || take.snapshot.is_some() {
                *is_asked |= observer.on(&Event::Averaged(&Sample { step: index, take }))? == Control::Stop;
            }
            for (sum, m) in sums.iter_mut().zip(replicas) {
                sum.loss += m.loss * rows as f64;
                sum.accuracy += m.correct as f64;
            }
            self.last_good.finite(index);
        }
        Ok(())
    }

    fn evaluate(&mut self, part: Part, slots: &[Slot], steps: &[Step]) -> Result<Option<Vec<Evaluation>>> {
        if self.engine.setup().dataset.part(part).is_none() {
            return Ok(None);
        }
        let evaluations = self.engine.evaluate(part, slots)?;
        match evaluations.iter().position(|e| !e.loss.is_finite()) {
            Some(replica) => Err(self.diverged(&steps[steps.len() - 1], replica, evaluations[replica].loss)?),
            None => Ok(Some(evaluations)),
        }
    }

    /// Stops if the last update left weights that are not finite, which no loss has shown.
    fn check_weights(&mut self, steps: &[Step]) -> Result<()> {
        for replica in 0..self.replicas() {
            if self.engine.download(Slot::Live, replica)?.iter().any(|w| !w.is_finite()) {
                return Err(self.diverged(&steps[steps.len() - 1], replica, f64::NAN)?);
            }
        }
        Ok(())
    }

    /// Goes back to the last good weights and makes the error that says so.
    fn diverged(&mut self, step: &Step, replica: usize, loss: f64) -> Result<Error> {
        self.engine.wait()?;
        self.ended = Some(Ended::Diverged);
        let restored = self.last_good.restore(self.engine.as_mut())?;
        Ok(Error::Diverged { step: step.index, lr: step.rates[replica].lr, replica, loss, restored })
    }
}
