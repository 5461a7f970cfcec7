//! A run as a function of a configuration and its observers: all that `thalweg train` does but for what it prints.

use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, Taken};
use super::config::Config;
use super::eigenvalue::Eigenvalue;
use super::folder::{self, EPOCHS, EVALUATIONS, Place};
use super::lock::Lock;
use super::log::{self, Log, logged};
use super::saver::Saver;
use super::summary::{Best, Facts, Highest, Outcome, Pace};
use super::tensorboard::TensorBoard;
use super::timer::Timer;
use super::trajectory::Trajectory;
use super::values::Interval;
use crate::engine::Slot;
use crate::error::{Error, Result};
use crate::event::{Control, Ended, Event, Observer, Recovered};
use crate::gpu::Measuring;
use crate::progress::Progress;
use crate::train::Trainer;

/// Trains as `config` says, in the first free folder of `runs/1`, `runs/2`, ..., and tells the observers; [`Prepared`] chooses
/// another place, or goes on with a run.
///
/// ```
/// use thalweg::event::{Control, Event};
/// use thalweg::run::{Config, Place, Prepared};
/// # let folder = tempfile::TempDir::new().unwrap();
/// # let dir = folder.path().join("first");
/// let mut config = Config::default();
/// config.train.epochs = 2;
/// config.train.device = "cpu".into();
/// let mut losses = Vec::new();
/// let mut watch = |event: &Event| {
///     if let Event::Step(step) = event {
///         losses.push(step.replicas[0].loss);
///     }
///     Ok(Control::Continue)
/// };
/// let finished = Prepared::open(config, Place::New(dir), |_| ())?.train(&mut [&mut watch])?;
/// assert_eq!(finished.outcome.last.steps, losses.len() as u64);
/// assert!(finished.dir.join("weights.safetensors").exists());
/// # Ok::<(), thalweg::Error>(())
/// ```
///
/// # Errors
/// What [`Prepared::open`] and [`Prepared::train`] meet.
pub fn train(config: Config, observers: &mut [&mut dyn Observer]) -> Result<Finished> {
    Prepared::open(config, Place::Next, |_| ())?.train(observers)
}

/// A run before its first step: everything is found to be right, and nothing is written.
pub struct Prepared {
    pub(super) config: Config,
    pub(super) place: Place,
    /// The lock of a folder that was there already.
    pub(super) lock: Option<Lock>,
    pub(super) trainer: Trainer,
    pub(super) reason: String,
    pub(super) notes: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) pace: Pace,
    pub(super) measuring: Measuring,
    /// The digest of the data.
    pub(super) data: String,
    /// Whether the weights are those of a checkpoint, and the number of its steps if it is the newest.
    pub(super) is_resumed: bool,
    pub(super) newest: Option<u64>,
    /// What measures the largest eigenvalue on the way, if the run asks for that.
    pub(super) eigenvalue: Option<Eigenvalue>,
}

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The folder of the run.
    pub dir: PathBuf,
    /// The reason why the run ended; one that was [interrupted](Ended::Interrupted) has left a checkpoint, and nothing else.
    pub ended: Ended,
    /// The outcome of the run: what its epochs left.
    pub outcome: Outcome,
}

impl Prepared {
    /// The resolved configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The trainer: the loop, with its engine.
    pub fn trainer(&mut self) -> &mut Trainer {
        &mut self.trainer
    }

    /// The reason why the engine is where it is, in words.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What the user should know of how files were read, a line each: labels that were mapped, biases that were missing, another
    /// device than before.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What is wrong, and did not keep the run from going on, a line each: damaged checkpoints and lines.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The highest pace of the device, where it has been measured.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Trains, and writes everything that a run writes. The observers are told in their order, after the run's own log; each
    /// may end the run, or ask for a checkpoint. A run that loses its device goes on once on another one, from its last
    /// checkpoint.
    ///
    /// # Errors
    /// [`Error::Diverged`], after which the last good weights and a summary are written; a file that cannot be written, an
    /// observer that fails, a device that is lost again, after which what was written before is still there.
    pub fn train(mut self, observers: &mut [&mut dyn Observer]) -> Result<Finished> {
        let dir = match &self.place {
            Place::Resume(dir) => dir.clone(),
            place => {
                let (dir, lock) = place.make()?;
                self.lock = Some(lock);
                dir
            }
        };
        let dataset = self.trainer.engine().setup().dataset.clone();
        match self.place {
            Place::Resume(_) => folder::reopen(&dir, &self.config, &dataset)?,
            _ => {
                // Whoever goes on before the next one has the first weights, whatever became of the file they are from.
                let has_checkpoints = !self.config.train.checkpoint_every.is_none();
                let first = has_checkpoints.then(|| self.take()).transpose()?;
                folder::begin(&dir, &self.config, &dataset, first)?;
            }
        }
        match self.attempt(&dir, observers) {
            // The other ranks would wait where the step ended.
            Err(Error::DeviceLost(reason)) if self.config.distributed.is_none() => {
                let mut recovered = self.recover(&dir, &reason)?;
                let (device, steps) = (recovered.trainer.engine().describe(), recovered.trainer.steps_taken());
                let event = Recovered { reason: &reason, device: &device, steps };
                for observer in observers.iter_mut() {
                    observer.on(&Event::Recovered(&event))?;
                }
                recovered.attempt(&dir, observers)
            }
            result => result,
        }
    }

    /// The run on a device that is opened anew, since its own was `lost`, with what its last checkpoint holds.
    fn recover(mut self, dir: &Path, lost: &str) -> Result<Self> {
        let setup = self.trainer.engine().setup().clone();
        // What the lost device held of memory is free then.
        drop(self.trainer);
        let (engine, reason) = self.config.engine(setup, self.measuring)?;
        let mut trainer = Trainer::new(engine, self.config.plan())?;
        let Some(checkpoint) = Checkpoint::newest(dir, &mut self.warnings)? else {
            return Err(Error::DeviceLost(format!("{lost}; the run has no checkpoint to go on from")));
        };
        let progress = checkpoint.restore(trainer.engine())?;
        trainer.resume(progress)?;
        let eigenvalue = Eigenvalue::begin(&mut trainer, &self.config.train)?;
        if let Some(eigenvalue) = &eigenvalue {
            eigenvalue.go_on(&mut trainer, &checkpoint)?;
        }
        Ok(Self { trainer, reason, is_resumed: true, newest: checkpoint.newest_steps(), eigenvalue, ..self })
    }

    /// Trains to the end, from where the trainer stands.
    fn attempt(&mut self, dir: &Path, observers: &mut [&mut dyn Observer]) -> Result<Finished> {
        let (epochs, steps) = (self.trainer.progress().epoch, self.trainer.steps_taken());
        let is_classification = self.trainer.engine().setup().dataset.is_classification();
        let progress = self.trainer.progress();
        let mut log = Log::open(dir, self.config.train.log_every, is_classification, steps, progress)?;
        let mut outcome = Outcome::so_far(&log::lines(dir, EPOCHS)?, &log::lines(dir, EVALUATIONS)?);
        (outcome.last.epoch, outcome.last.steps) = (epochs.saturating_sub(1), steps);

        let mut within = Highest::default();
        let mut timer = Timer::new(self.config.train.checkpoint_every);
        let board = TensorBoard::open(dir, &self.config, &mut self.trainer)?;
        let mut shown = &board;
        let mut all: Vec<&mut dyn Observer> = vec![&mut log, &mut within, &mut timer, &mut shown];
        all.extend(observers.iter_mut().map(|observer| &mut **observer as &mut dyn Observer));
        let mut result = self.epochs(dir, &mut outcome, &board, &mut all);
        if let Err(Error::Diverged { restored, .. }) = &mut result {
            *restored = restored.filter(|_| self.has_weights_to_leave());
        }
        let finished = |ended: Ended, outcome: Outcome| Finished { dir: dir.into(), ended, outcome };
        if let Ok(Ended::Interrupted) = result {
            return Ok(finished(Ended::Interrupted, outcome));
        }
        if result.is_ok() && outcome.last.train.is_empty() && steps > 0 {
            // Nothing was left to do but the end, which the last line tells.
            outcome.last = log::lines(dir, EPOCHS)?.last().map(logged).unwrap_or_default();
            if outcome.last.is_restored {
                self.trainer.engine().copy(Slot::Best, Slot::Live)?;
            }
        }
        outcome.rise(within.0.filter(|_| is_classification));
        outcome.best = Best::of(&self.config.stop, &self.trainer.progress().watch);
        let diverged = match &result {
            Err(error @ Error::Diverged { .. }) => Some(error.to_string()),
            // What the steps led to is not lost because nobody could be told of the last checkpoint.
            Err(_) if self.trainer.ended().is_none_or(|ended| ended == Ended::Failed) => {
                return result.map(|ended| finished(ended, outcome));
            }
            Err(_) | Ok(_) => None,
        };
        self.write_end(dir, &outcome, diverged)?;
        result.map(|ended| finished(ended, outcome))
    }

    /// The epochs, with their checkpoints.
    fn epochs(
        &mut self,
        dir: &Path,
        outcome: &mut Outcome,
        board: &TensorBoard,
        observers: &mut dyn Observer,
    ) -> Result<Ended> {
        let is_classification = self.trainer.engine().setup().dataset.is_classification();
        let mut saver = Saver::new(dir, self.config.train.keep_checkpoints, self.newest, observers);
        let every = self.config.train.trajectory_every;
        let mut trajectory = Trajectory::open(dir, every, self.trainer.steps_taken())?;
        trajectory.follow(&mut self.trainer)?;
        // A run that ended within an epoch, and was killed before it had written that, closes the epoch again.
        let mut is_over = self.trainer.is_over() && self.trainer.progress().within.steps == 0;
        while !is_over {
            if !self.trainer.is_over() {
                board.follow(&mut self.trainer)?;
                let mut most = self.steps_to_checkpoint().min(trajectory.to_next(&self.trainer));
                if let Some(eigenvalue) = &mut self.eigenvalue {
                    eigenvalue.follow(&mut self.trainer, &mut saver)?;
                    most = most.min(eigenvalue.to_next(&self.trainer));
                }
                self.trainer.take_steps(most, &mut saver)?;
                trajectory.follow(&mut self.trainer)?;
                let is_asked = self.trainer.is_saving_asked();
                // Before the evaluations that only the end of a run within an epoch asks for.
                if self.is_within_epoch() && (is_asked || self.is_checkpoint_due()) {
                    self.save(&mut saver, &mut trajectory)?;
                } else if is_asked {
                    self.trainer.ask(Control::Save);
                }
            }
            if let Some(epoch) = self.trainer.close(&mut saver)? {
                outcome.take(epoch, is_classification);
                let is_asked = self.trainer.is_saving_asked();
                if self.trainer.progress().within.steps == 0 && (is_asked || self.is_checkpoint_due()) {
                    self.save(&mut saver, &mut trajectory)?;
                }
            }
            is_over = self.trainer.is_over();
        }
        trajectory.follow(&mut self.trainer)?;
        trajectory.wait()?;
        board.finish(&mut self.trainer)?;
        saver.wait()?;
        Ok(self.trainer.ended().unwrap_or(Ended::Epochs))
    }

    /// Whether the steps end within an epoch, or are left before the epoch is closed.
    fn is_within_epoch(&self) -> bool {
        let (within, per_epoch) = (self.trainer.progress().within.steps, self.trainer.steps_per_epoch());
        within < per_epoch || self.trainer.ended() == Some(Ended::Interrupted)
    }

    /// Begins to write a checkpoint of where the trainer stands.
    fn save(&mut self, saver: &mut Saver, trajectory: &mut Trajectory) -> Result<()> {
        saver.on(&Event::Saving)?;
        // A run that goes on from the checkpoint writes no file before it.
        trajectory.wait()?;
        let taken = self.take()?;
        let answer = saver.save(taken)?;
        self.trainer.ask(answer);
        Ok(())
    }

    /// A checkpoint of where the trainer stands.
    fn take(&mut self) -> Result<Taken> {
        let (progress, steps) = (self.trainer.progress().clone(), self.trainer.steps_taken());
        let last = self.trainer.last_weights();
        let beside = self.eigenvalue.as_ref().map(|eigenvalue| eigenvalue.kept(steps));
        Taken::take(self.trainer.engine(), (last, beside), (&progress, steps), &self.config, &self.data)
    }

    /// The number of steps to the next checkpoint, where these are counted in steps.
    fn steps_to_checkpoint(&self) -> u64 {
        match self.config.train.checkpoint_every {
            Interval::Steps(every) if every > 0 => every - self.trainer.steps_taken() % every,
            _ => u64::MAX,
        }
    }

    /// Whether a checkpoint is written now, though nobody has asked for it.
    fn is_checkpoint_due(&self) -> bool {
        let Progress { epoch, within, .. } = self.trainer.progress();
        let every = self.config.train.checkpoint_every;
        let is_due = match every {
            Interval::Epochs(every) => within.steps == 0 && epoch.is_multiple_of(every),
            Interval::Steps(every) => self.trainer.steps_taken().is_multiple_of(every),
            Interval::Seconds(_) => false,
        };
        match self.trainer.ended() {
            Some(Ended::Interrupted) => true,
            ended => !every.is_none() && (is_due || ended.is_some()),
        }
    }

    /// Whether a run that diverged leaves its weights: those whose loss was never found to be finite take no other's place.
    fn has_weights_to_leave(&self) -> bool {
        !self.is_resumed || self.trainer.has_good_weights()
    }

    fn write_end(&mut self, dir: &Path, outcome: &Outcome, diverged: Option<String>) -> Result<()> {
        let mut means = self.trainer.means(outcome.last.steps);
        if self.config.stop.keeps_best() && self.trainer.progress().watch.best.is_some() {
            means.push(("best", vec![Slot::Best]));
        }
        let ended = self.trainer.ended().unwrap_or(Ended::Epochs);
        // The epochs before a resumed one may have had another device.
        let pace = if matches!(self.place, Place::Resume(_)) { Pace::default() } else { self.pace };
        let has_good_weights = diverged.is_none() || self.has_weights_to_leave();
        let engine = self.trainer.engine();
        let (replicas, is_classification) = (engine.setup().replicas, engine.setup().dataset.is_classification());
        let facts = Facts { device: engine.describe(), replicas, is_classification, pace };
        if has_good_weights {
            folder::write_weights(dir, engine, &means)?;
        }
        folder::write_summary(dir, &outcome.summary(&facts, ended, diverged))
    }
}
