//! The training loop: plans steps, hands them to the engine, evaluates, stops.

mod evaluate;
mod judge;
mod order;

use std::time::Instant;

use crate::average::Sampler;
use crate::engine::{self, Engine, Slot, Step, StepMetrics};
use crate::error::{Error, Result};
use crate::event::{Control, Ended, Epoch, Event, Observer, Sample, Started, StepReport};
use crate::model::Init;
use crate::plan::Plan;
use crate::progress::{LastGood, Progress, Underway, Within};
use crate::schedule::{Memory, Unit};

/// The training loop around an engine, which it owns. It can be taken step by step, by any number of steps, by epochs, or to
/// its end; each way gives the same bits.
pub struct Trainer {
    engine: Box<dyn Engine>,
    plan: Plan,
    sampler: Sampler,
    progress: Progress,
    ended: Option<Ended>,
    last_good: LastGood,
    /// The slot of the weights of the last step: the live ones until the run goes back to its best.
    last_weights: Slot,
    underway: Underway,
    has_started: bool,
    /// The most that somebody has asked for and that has not been done.
    asked: Control,
    /// The number of steps after which the weights were last evaluated, and after which the metric was last seen.
    evaluated: u64,
    watched: u64,
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
        Ok(Self {
            engine,
            plan,
            sampler,
            progress,
            ended: None,
            last_good: LastGood::default(),
            last_weights: Slot::Live,
            underway: Underway::default(),
            has_started: false,
            asked: Control::Continue,
            evaluated: 0,
            watched: 0,
        })
    }

    /// Goes on from where a checkpoint was taken; the engine's slots must hold what they held then. A run that has ended
    /// goes on only if [`Progress::ended`] is cleared.
    ///
    /// # Errors
    /// A checkpoint of another number of replicas, or of a position that no run has.
    pub fn resume(&mut self, progress: Progress) -> Result<()> {
        if progress.memories.len() != self.replicas() {
            let found = format!("expected {} as in the checkpoint, found {}", progress.memories.len(), self.replicas());
            return Err(Error::config("train.replicas", found));
        }
        let (per_epoch, Progress { epoch, within, .. }) = (self.steps_per_epoch(), &progress);
        if within.steps > per_epoch || epoch.checked_mul(per_epoch).is_none_or(|steps| steps > 1 << 53) {
            let found = format!("found step {} of epoch {epoch}, of {per_epoch} steps each", within.steps);
            return Err(Error::config("checkpoint", format!("expected a position within a run, {found}")));
        }
        self.engine.wait()?;
        (self.ended, self.last_good, self.underway) = (progress.ended, LastGood::default(), Underway::default());
        (self.has_started, self.asked) = (false, Control::Continue);
        (self.evaluated, self.watched, self.last_weights) = (0, 0, Slot::Live);
        self.progress = progress;
        if let Some(taken) = self.progress.taken {
            self.sampler.go_on(self.steps_taken(), taken);
        }
        if let Some(last) = self.progress.within.steps.checked_sub(1) {
            let (setup, epoch) = (self.engine.setup(), self.progress.epoch);
            self.underway.last = self.plan.step(setup, &self.progress, &self.sampler, epoch, last);
        }
        Ok(())
    }

    /// The progress of the run, as a checkpoint keeps it; in the middle of an epoch too.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The slot of the weights of the last step, which a checkpoint holds: the live ones, or a copy where the run went back to
    /// its best weights.
    pub fn last_weights(&self) -> Slot {
        self.last_weights
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
        self.progress.steps(self.steps_per_epoch())
    }

    /// Whether the loss of some weights that the engine holds or held since the first step, or since the run was resumed, was
    /// found to be finite. Those that [`Error::Diverged`] goes back to are such, if there are any.
    pub fn has_good_weights(&self) -> bool {
        self.last_good.is_proved()
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
        while !self.is_over() {
            if let Some(epoch) = self.take(u64::MAX, observer)? {
                return Ok(Some(epoch));
            }
        }
        Ok(None)
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
            self.take(n - taken, observer)?;
        }
    }

    /// Ends the run after the next submission, as an observer's [`Control::Stop`] does.
    pub fn stop_soon(&mut self) {
        self.ask(Control::Stop);
    }

    /// Takes up what an observer has answered.
    pub(crate) fn ask(&mut self, control: Control) {
        self.asked = self.asked.max(control);
    }

    /// Whether an observer has asked for a checkpoint since this was last asked.
    pub(crate) fn is_saving_asked(&mut self) -> bool {
        let is_asked = self.asked == Control::Save;
        if is_asked {
            self.asked = Control::Continue;
        }
        is_asked
    }

    /// Whether the run is over.
    pub(crate) fn is_over(&mut self) -> bool {
        if self.progress.epoch >= self.plan.epochs {
            self.ended.get_or_insert(Ended::Epochs);
        }
        self.ended.is_some()
    }

    /// Takes at most `most` steps of one epoch, and returns the epoch if it is over then.
    fn take(&mut self, most: u64, observer: &mut dyn Observer) -> Result<Option<Epoch>> {
        self.take_steps(most, observer)?;
        // Without a folder there is nothing to save to.
        self.is_saving_asked();
        self.close(observer)
    }

    /// Takes at most `most` steps of one epoch, fewer if an observer asks for more than to go on, and waits for them. An error
    /// ends the run.
    pub(crate) fn take_steps(&mut self, most: u64, observer: &mut dyn Observer) -> Result<()> {
        let result = self.try_steps(most, observer);
        self.end_if_failed(result)
    }

    /// Closes the epoch if it is over, or if the run has ended within it. An error ends the run.
    pub(crate) fn close(&mut self, observer: &mut dyn Observer) -> Result<Option<Epoch>> {
        if self.ended == Some(Ended::Interrupted) {
            observer.on(&Event::Ended(Ended::Interrupted))?;
            return Ok(None);
        }
        if self.progress.within.steps < self.steps_per_epoch() && self.ended.is_none() {
            return Ok(None);
        }
        let result = self.end_epoch(observer);
        self.end_if_failed(result).map(Some)
    }

    fn end_if_failed<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.ended.get_or_insert(Ended::Failed);
            self.engine.wait().ok();
        }
        result
    }

    fn try_steps(&mut self, most: u64, observer: &mut dyn Observer) -> Result<()> {
        // What a caller has run in between is not the run's.
        self.engine.wait()?;
        self.begin(observer)?;
        let per_epoch = self.steps_per_epoch();
        let mut start = Instant::now();
        if !self.underway.has_order {
            self.set_order()?;
        }
        // One that was due when the run was left.
        self.evaluate_if_due(&mut start, observer)?;
        let end = self.progress.within.steps.saturating_add(most).min(per_epoch);
        // Whoever asks for the end while an evaluation is due gets it later, when the run goes on from there.
        while self.progress.within.steps < end
            && self.ended.is_none()
            && self.asked < Control::Interrupt
            && !self.is_evaluation_due()
        {
            self.hand_over(end, observer)?;
            let seconds = self.progress.seconds + self.progress.within.seconds + start.elapsed().as_secs_f64();
            if self.asked >= Control::Stop {
                break;
            }
            if self.plan.stop.seconds.is_some_and(|most| seconds >= most) {
                self.ended = Some(Ended::Seconds);
            } else {
                self.evaluate_if_due(&mut start, observer)?;
            }
            if self.asked > Control::Continue {
                break;
            }
        }
        self.drain(observer)?;
        self.progress.within.seconds += start.elapsed().as_secs_f64();
        self.progress.taken = Some(self.sampler.taken(self.steps_taken()));
        match self.asked {
            Control::Interrupt => self.ended = self.ended.or(Some(Ended::Interrupted)),
            Control::Stop => self.ended = self.ended.or(Some(Ended::Asked)),
            Control::Save | Control::Continue => {}
        }
        Ok(())
    }

    /// Evaluates within an epoch if that is due after the last step and has not been done; `start` is when the steps began whose
    /// seconds do not count yet.
    fn evaluate_if_due(&mut self, start: &mut Instant, observer: &mut dyn Observer) -> Result<()> {
        if self.is_evaluation_due() {
            self.drain(observer)?;
            self.progress.within.seconds += start.elapsed().as_secs_f64();
            self.evaluate_within(observer)?;
            *start = Instant::now();
        }
        Ok(())
    }

    /// Whether an evaluation within an epoch is due after the last step, and has not been made.
    fn is_evaluation_due(&self) -> bool {
        let Within { steps, is_evaluated, .. } = self.progress.within;
        let is_within = 0 < steps && steps < self.steps_per_epoch();
        is_within && !is_evaluated && self.plan.is_evaluated(self.engine.setup(), self.underway.last.index + 1)
    }

    /// Hands the engine as many steps as it takes at once, up to `end` of the epoch and to the next evaluation.
    fn hand_over(&mut self, end: u64, observer: &mut dyn Observer) -> Result<()> {
        let (epoch, first) = (self.progress.epoch, self.progress.within.steps);
        let to_evaluation = self.plan.to_evaluation(epoch * self.steps_per_epoch() + first);
        let most = to_evaluation.unwrap_or(u64::MAX).min(self.engine.steps_at_once() as u64);
        let setup = self.engine.setup();
        let step = |i| self.plan.step(setup, &self.progress, &self.sampler, epoch, i);
        let steps: Vec<Step> = (first..end.min(first.saturating_add(most))).map(step).collect();
        self.last_good.before(self.engine.as_mut(), steps[0].index)?;
        let metrics = self.engine.run(&steps)?;
        let rates = steps.iter().flat_map(|step| &step.rates);
        self.progress.peak_lr = rates.map(|rate| rate.lr).fold(self.progress.peak_lr, f64::max);
        self.progress.within.steps += steps.len() as u64;
        self.progress.within.is_evaluated = false;
        self.underway.evaluated = None;
        self.underway.last.clone_from(&steps[steps.len() - 1]);
        self.underway.pending.extend(steps);
        self.account(&metrics, observer)
    }

    /// Waits for the steps that the engine has.
    fn drain(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let metrics = self.engine.wait()?;
        self.account(&metrics, observer)
    }

    /// Tells of the start, if nobody has been told.
    pub(crate) fn begin(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if !self.has_started {
            self.has_started = true;
            let (device, steps, first_step) = (self.engine.describe(), self.total_steps(), self.steps_taken());
            let (setup, epochs) = (self.engine.setup(), self.plan.epochs);
            let started = Started { setup, device: &device, epochs, steps, first_step };
            let answer = observer.on(&Event::Started(&started))?;
            self.ask(answer);
        }
        Ok(())
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

    /// Tells the observer of steps whose metrics have arrived, adds them to the sums, and stops at a loss that is not finite.
    fn account(&mut self, metrics: &[StepMetrics], observer: &mut dyn Observer) -> Result<()> {
        for replicas in metrics.chunks(self.replicas()) {
            let Some(step) = self.underway.pending.pop_front() else { break };
            let Step { index, rows, ref rates, take, .. } = step;
            let report = StepReport { step: index, epoch: self.progress.epoch, rows, rate: rates[0], replicas };
            let answer = observer.on(&Event::Step(&report))?;
            self.ask(answer);
            if let Some(m) = replicas.iter().find(|m| !m.loss.is_finite()) {
                let error = self.diverged(&step, m.replica, m.loss)?;
                return Err(self.tell_end(error, observer));
            }
            if take.swa > 0.0 || take.snapshot.is_some() {
                let sample = Sample { step: index, take };
                let answer = observer.on(&Event::Averaged(&sample))?;
                self.ask(answer);
            }
            self.progress.within.sums.add(rows, replicas);
            if self.plan.eval_unit == Unit::Step {
                self.progress.window.add(rows, replicas);
            }
            self.last_good.finite(index);
        }
        Ok(())
    }

    /// Goes back to the last good weights and makes the error that says so.
    fn diverged(&mut self, step: &Step, replica: usize, loss: f64) -> Result<Error> {
        self.engine.wait()?;
        self.ended = Some(Ended::Diverged);
        let restored = self.last_good.restore(self.engine.as_mut())?;
        Ok(Error::Diverged { step: step.index, lr: step.rates[replica].lr, replica, loss, restored: Some(restored) })
    }
}
