//! A run as a function of a configuration and its observers: all that `thalweg train` does but for what it prints.

use std::path::PathBuf;

use super::checkpoint::{self, Checkpoint};
use super::config::{Batch, Config};
use super::data::ENCODING;
use super::folder::{self, EPOCHS, EVALUATIONS, Place};
use super::log::{Log, logged};
use super::resume;
use super::start::first_weights;
use super::summary::{Best, Facts, Highest, Outcome, Pace};
use crate::data::{Source, expand};
use crate::engine::Slot;
use crate::error::{Error, Result};
use crate::event::{Control, Ended, Event, Observer, Written};
use crate::gpu::Measuring;
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
    config: Config,
    place: Place,
    trainer: Trainer,
    reason: String,
    notes: Vec<String>,
    pace: Pace,
}

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The folder of the run.
    pub dir: PathBuf,
    /// The reason why the run ended.
    pub ended: Ended,
    /// The outcome of the run: what its epochs left.
    pub outcome: Outcome,
}

impl Prepared {
    /// Resolves a configuration: loads the data, opens the engine, and gives it first weights, or those of the checkpoint
    /// where a run goes on. `measuring` is told of each matrix product whose forms are measured on the adapter.
    ///
    /// # Errors
    /// A folder that holds a run, settings that do not fit each other, the data, or the run that is to go on; no such device.
    pub fn open(mut config: Config, place: Place, measuring: Measuring) -> Result<Self> {
        let own = match &place {
            Place::Resume(dir) => Some(Config::resolve(folder::read_config(dir)?, Vec::new(), Vec::new())?),
            _ => None,
        };
        if let Some(own) = &own {
            // What the data decided when the run began is decided.
            config.data.classes = config.data.classes.or(own.data.classes);
            config.train.batch = config.train.batch.or(own.train.batch);
            config.model.loss = config.model.loss.or(own.model.loss);
            config.check_resumes(own)?;
        }
        place.check()?;
        config.optimizer.check()?;
        // The folder may be read from another one.
        for path in [&mut config.data.weights, &mut config.model.init_from].into_iter().flatten() {
            *path = std::path::absolute(expand(&path.to_string_lossy())).map_err(Error::io(&*path))?;
        }
        let dataset = match &place {
            Place::Resume(dir) => config.own_dataset(dir)?,
            Place::Next | Place::New(_) | Place::Replace(_) => match &config.model.init_from {
                Some(run) if run.join(ENCODING).exists() => config.dataset_after(run)?,
                _ => config.dataset()?,
            },
        };
        config.data.source = config.data.source.parse::<Source>()?.absolute()?.to_string();
        let notes = dataset.encoding.describe();
        // What the data decided is part of the resolved configuration.
        config.data.classes = dataset.is_classification().then_some(dataset.outputs);
        let setup = config.setup(dataset)?;
        (config.train.batch, config.model.loss) = (Some(Batch::Size(setup.batch)), Some(setup.loss));
        let (engine, reason) = config.engine(setup, measuring)?;
        // So is what was measured on the adapter.
        config.forms = engine.forms();
        let pace = Pace::of(engine.as_ref());
        let trainer = Trainer::new(engine, config.plan())?;
        let mut prepared = Self { config, place, trainer, reason, notes, pace };
        match own {
            Some(own) => prepared.restore(&own)?,
            None => prepared.init()?,
        }
        Ok(prepared)
    }

    /// Gives the engine what the run's last checkpoint holds.
    fn restore(&mut self, own: &Config) -> Result<()> {
        let Place::Resume(dir) = &self.place else { return Ok(()) };
        let mut checkpoint = Checkpoint::read(dir, self.trainer.engine())?;
        let has_ended = !folder::is_interrupted(dir);
        resume::fit(&mut checkpoint.progress, &self.config, own, self.trainer.engine().setup(), has_ended)?;
        checkpoint.restore(self.trainer.engine())?;
        self.trainer.resume(checkpoint.progress)
    }

    /// Gives the engine first weights: those of a file or of another run, or drawn ones.
    fn init(&mut self) -> Result<()> {
        self.notes.extend(first_weights(self.trainer.engine(), &self.config.model)?);
        Ok(())
    }

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

    /// What the user should know of how files were read, a line each: labels that were mapped, biases that were missing.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The highest pace of the device, where it has been measured.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Trains, and writes everything that a run writes. The observers are told in their order, after the run's own log; each
    /// may end the run.
    ///
    /// # Errors
    /// [`Error::Diverged`], after which the last good weights and a summary are written; a file that cannot be written, an
    /// observer that fails, a lost device, after which what was written before is still there.
    pub fn train(mut self, observers: &mut [&mut dyn Observer]) -> Result<Finished> {
        let dir = self.place.make()?;
        let dataset = self.trainer.engine().setup().dataset.clone();
        match self.place {
            Place::Resume(_) => folder::reopen(&dir, &self.config)?,
            _ => folder::begin(&dir, &self.config, &dataset)?,
        }
        let (epochs, steps) = (self.trainer.progress().epoch, self.trainer.steps_taken());
        let is_classification = dataset.is_classification();
        let mut log = Log::open(&dir, self.config.train.log_every, is_classification, steps, epochs)?;
        let mut outcome = Outcome::so_far(&folder::lines(&dir, EPOCHS)?, &folder::lines(&dir, EVALUATIONS)?);
        (outcome.last.epoch, outcome.last.steps) = (epochs.saturating_sub(1), steps);

        let mut within = Highest::default();
        let mut all: Vec<&mut dyn Observer> = vec![&mut log, &mut within];
        all.extend(observers.iter_mut().map(|observer| &mut **observer as &mut dyn Observer));
        let result = self.epochs(&dir, &mut outcome, &mut all);
        if result.is_ok() && self.trainer.steps_taken() == steps && steps > 0 {
            // Nothing was left to do but the end, which the last line tells.
            outcome.last = folder::lines(&dir, EPOCHS)?.last().map(logged).unwrap_or_default();
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
                return result.map(|ended| Finished { dir, ended, outcome });
            }
            Err(_) => None,
            Ok(_) => None,
        };
        self.write_end(&dir, &outcome, diverged)?;
        result.map(|ended| Finished { dir, ended, outcome })
    }

    /// The epochs, with their checkpoints.
    fn epochs(&mut self, dir: &std::path::Path, outcome: &mut Outcome, observers: &mut dyn Observer) -> Result<Ended> {
        let is_classification = self.trainer.engine().setup().dataset.is_classification();
        while let Some(epoch) = self.trainer.epoch_with(observers)? {
            outcome.take(epoch, is_classification);
            if !self.is_checkpoint_due(outcome.last.epoch) {
                continue;
            }
            let progress = self.trainer.progress().clone();
            let last = self.trainer.last_weights();
            Checkpoint::write(dir, self.trainer.engine(), last, &progress)?;
            let path = dir.join(checkpoint::FILE);
            let written = Event::Checkpoint(&Written { path: &path, epochs: progress.epoch });
            if observers.on(&written)? == Control::Stop {
                self.trainer.stop_soon();
            }
        }
        Ok(self.trainer.ended().unwrap_or(Ended::Epochs))
    }

    /// Whether a checkpoint is written after the epoch `last`: not in the middle of one.
    fn is_checkpoint_due(&self, last: u64) -> bool {
        let (every, done, ended) =
            (self.config.train.checkpoint_every, self.trainer.progress().epoch, self.trainer.ended());
        let is_whole = done > last;
        every > 0 && is_whole && (done.is_multiple_of(every) || ended.is_some())
    }

    fn write_end(&mut self, dir: &std::path::Path, outcome: &Outcome, diverged: Option<String>) -> Result<()> {
        let mut means = self.trainer.means(outcome.last.steps);
        if self.config.stop.keeps_best() && self.trainer.progress().watch.best.is_some() {
            means.push(("best", vec![Slot::Best]));
        }
        let ended = self.trainer.ended().unwrap_or(Ended::Epochs);
        // The epochs before a resumed one may have had another device.
        let pace = if matches!(self.place, Place::Resume(_)) { Pace::default() } else { self.pace };
        let engine = self.trainer.engine();
        let (replicas, is_classification) = (engine.setup().replicas, engine.setup().dataset.is_classification());
        let facts = Facts { device: engine.describe(), replicas, is_classification, pace };
        folder::end(dir, engine, &means, &outcome.summary(&facts, ended, diverged))
    }
}
