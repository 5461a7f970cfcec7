//! A run before its first step: data, engine and first weights.

use super::config::Config;
use super::eigenvalue::Eigenvalue;
use super::folder::{self, Place};
use super::load::{Loaded, Resolved};
use super::log;
use super::resume::{self, Resumed};
use super::start::first_weights;
use super::summary::Pace;
use super::train::Prepared;
use crate::engine::{Engine, Setup};
use crate::error::{Error, Result};
use crate::gpu::Measuring;
use crate::train::Trainer;

/// An engine, and in words why it is this one.
pub(super) type Opened = Result<(Box<dyn Engine>, String)>;

impl Prepared {
    /// Resolves a configuration: loads the data, opens the engine, and gives it first weights, or those of the newest intact
    /// checkpoint where a run goes on. `measuring` is told of each matrix product whose forms are measured on the adapter.
    ///
    /// # Errors
    /// A folder that holds a run, or one that another process trains; settings that do not fit each other, the data, or the run
    /// that is to go on; no such device.
    pub fn open(config: Config, place: Place, measuring: Measuring) -> Result<Self> {
        if config.distributed.is_some() {
            config.check_run()?;
            let found =
                "expected none in a run of one process, found some; thalweg train under mpirun opens one of several";
            return Err(Error::config("distributed", found));
        }
        Self::open_with(config, place, measuring, Loaded::load_at, |config, setup, _| config.engine(setup, measuring))
    }

    /// Resolves a configuration as [`open`](Self::open) does, with data that is loaded, and on an engine that `engine` makes for the
    /// run's setup: that of a [population](crate::population), say.
    ///
    /// # Errors
    /// What [`open`](Self::open) refuses, and `engine`.
    pub fn open_shared(
        config: Config,
        place: Place,
        loaded: &Loaded,
        engine: impl FnOnce(Setup) -> Result<Box<dyn Engine>>,
    ) -> Result<Self> {
        let engine = |_: &Config, setup, _: &str| Ok((engine(setup)?, "shared with other runs".to_string()));
        Self::open_with(config, place, |_| (), |_, _| Ok(loaded.clone()), engine)
    }

    /// Resolves a configuration as [`open`](Self::open) does, with the data that `load` gives; `engine` opens one, for the setup and
    /// the data's digest, and says why it is where it is.
    pub(super) fn open_with(
        mut config: Config,
        place: Place,
        measuring: Measuring,
        load: impl FnOnce(&Config, &Place) -> Result<Loaded>,
        engine: impl FnOnce(&Config, Setup, &str) -> Opened,
    ) -> Result<Self> {
        let mut warnings = Vec::new();
        let resumed = match &place {
            Place::Resume(dir) => Some(Resumed::open(dir, &mut config, &mut warnings)?),
            _ => None,
        };
        place.check()?;
        // What the data decided is part of the resolved configuration.
        let Resolved { setup, data, notes } = config.resolve_with(|config| load(config, &place))?;
        let (engine, reason) = engine(&config, setup, &data)?;
        // So is what was measured on the adapter.
        config.forms = engine.forms();
        let pace = Pace::of(engine.as_ref());
        let mut trainer = Trainer::new(engine, config.plan())?;
        let eigenvalue = Eigenvalue::begin(&mut trainer, &config.train)?;
        let prepared = Self {
            config,
            place,
            lock: None,
            trainer,
            reason,
            notes,
            warnings,
            pace,
            measuring,
            data,
            is_resumed: false,
            newest: None,
            eigenvalue,
        };
        match resumed {
            Some(resumed) => prepared.resume(resumed),
            None => prepared.init(),
        }
    }

    /// Gives the engine what the run's checkpoint holds.
    fn resume(mut self, Resumed { lock, checkpoint }: Resumed) -> Result<Self> {
        let Place::Resume(dir) = &self.place else { return Ok(self) };
        self.lock = Some(lock);
        let engine = self.trainer.engine();
        self.notes.extend(resume::differences(&checkpoint, &self.data, engine)?);
        self.warnings.extend(log::complaints(dir, checkpoint.steps)?);
        let mut progress = checkpoint.restore(engine)?;
        resume::fit(&mut progress, &self.config, &checkpoint.config, engine.setup(), folder::has_ended(dir))?;
        self.trainer.resume(progress)?;
        if let Some(eigenvalue) = &self.eigenvalue {
            eigenvalue.go_on(&mut self.trainer, &checkpoint)?;
        }
        (self.is_resumed, self.newest) = (true, checkpoint.newest_steps());
        Ok(self)
    }

    /// Gives the engine first weights: those of a file or of another run, or drawn ones.
    fn init(mut self) -> Result<Self> {
        self.notes.extend(first_weights(self.trainer.engine(), &self.config.model)?);
        Ok(self)
    }
}
