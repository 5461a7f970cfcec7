//! A run before its first step: data, engine and first weights.

use std::sync::Arc;

use super::checkpoint;
use super::config::Config;
use super::eigenvalue::Eigenvalue;
use super::folder::{self, Place};
use super::log;
use super::resume::{self, Resumed};
use super::start::first_weights;
use super::summary::Pace;
use super::train::Prepared;
use super::values::Batch;
use crate::data::{Dataset, Source, expand};
use crate::engine::{Engine, Setup};
use crate::error::{Error, Result};
use crate::gpu::Measuring;
use crate::train::Trainer;

/// The data of runs, loaded once for many of them.
pub struct Loaded {
    /// The data set.
    pub dataset: Arc<Dataset>,
    digest: String,
}

impl Loaded {
    /// Loads the data that `config` names, as a run of it does.
    ///
    /// # Errors
    /// What [`Config::dataset`] refuses, and another run's folder (`model.init_from`) that is damaged.
    pub fn load(config: &Config) -> Result<Self> {
        let dataset = match &config.model.init_from {
            Some(run) if folder::is_run(run) => config.dataset_after(run)?,
            _ => config.dataset()?,
        };
        Ok(Self::of(dataset))
    }

    fn of(dataset: Dataset) -> Self {
        Self { digest: checkpoint::digest(&dataset), dataset: Arc::new(dataset) }
    }
}

impl Prepared {
    /// Resolves a configuration: loads the data, opens the engine, and gives it first weights, or those of the newest intact
    /// checkpoint where a run goes on. `measuring` is told of each matrix product whose forms are measured on the adapter.
    ///
    /// # Errors
    /// A folder that holds a run, or one that another process trains; settings that do not fit each other, the data, or the run
    /// that is to go on; no such device.
    pub fn open(config: Config, place: Place, measuring: Measuring) -> Result<Self> {
        let load = |config: &Config, place: &Place| match place {
            Place::Resume(dir) => config.own_dataset(dir).map(Loaded::of),
            Place::Next | Place::New(_) | Place::Replace(_) => Loaded::load(config),
        };
        Self::open_with(config, place, load, |config, setup| config.engine(setup, measuring), measuring)
    }

    /// Resolves a configuration as [`open`](Self::open) does, with data that is loaded, and on an engine that `engine` makes for the
    /// run's setup: that of a [population](crate::population), say.
    ///
    /// # Errors
    /// What [`open`](Self::open) refuses, and `engine`.
    pub fn open_on(
        config: Config,
        place: Place,
        loaded: &Loaded,
        engine: impl FnOnce(Setup) -> Result<Box<dyn Engine>>,
    ) -> Result<Self> {
        let load =
            |_: &Config, _: &Place| Ok(Loaded { dataset: loaded.dataset.clone(), digest: loaded.digest.clone() });
        let engine = |_: &Config, setup| Ok((engine(setup)?, "shared with other runs".to_string()));
        Self::open_with(config, place, load, engine, |_| ())
    }

    fn open_with(
        mut config: Config,
        place: Place,
        load: impl FnOnce(&Config, &Place) -> Result<Loaded>,
        engine: impl FnOnce(&Config, Setup) -> Result<(Box<dyn Engine>, String)>,
        measuring: Measuring,
    ) -> Result<Self> {
        let mut warnings = Vec::new();
        let resumed = match &place {
            Place::Resume(dir) => Some(Resumed::open(dir, &mut config, &mut warnings)?),
            _ => None,
        };
        place.check()?;
        config.check_run()?;
        // The folder may be read from another one.
        for path in [&mut config.data.weights, &mut config.model.init_from].into_iter().flatten() {
            *path = std::path::absolute(expand(&path.to_string_lossy())).map_err(Error::io(&*path))?;
        }
        let Loaded { dataset, digest: data } = load(&config, &place)?;
        config.data.source = config.data.source.parse::<Source>()?.absolute()?.to_string();
        let notes = dataset.encoding.describe();
        // What the data decided is part of the resolved configuration.
        config.data.classes = dataset.is_classification().then_some(dataset.outputs);
        let setup = config.setup(dataset)?;
        (config.train.batch, config.model.loss) = (Some(Batch::Size(setup.batch)), Some(setup.loss));
        let (engine, reason) = engine(&config, setup)?;
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
