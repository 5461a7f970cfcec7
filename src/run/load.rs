//! What a configuration names, before an engine is opened for it.

use std::sync::Arc;

use super::checkpoint;
use super::config::Config;
use super::folder::{self, Place};
use super::values::Batch;
use crate::data::{Dataset, Source, expand};
use crate::engine::Setup;
use crate::error::{Error, Result};

/// The data of a run, or of many runs, for which it is loaded once.
#[derive(Clone)]
pub struct Loaded {
    /// The data set.
    pub dataset: Arc<Dataset>,
    digest: String,
}

impl Loaded {
    /// Loads the data that `config` names, as a new run of it does.
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

    /// The data of a run at `place`.
    pub(super) fn load_at(config: &Config, place: &Place) -> Result<Self> {
        match place {
            Place::Resume(dir) => config.own_dataset(dir).map(Self::of),
            Place::Next | Place::New(_) | Place::Replace(_) => Self::load(config),
        }
    }

    fn of(dataset: Dataset) -> Self {
        Self { digest: checkpoint::digest(&dataset), dataset: Arc::new(dataset) }
    }
}

/// What a configuration comes to with its data.
pub(super) struct Resolved {
    /// The setup of the engine, with the data set.
    pub setup: Setup,
    /// The digest of the data.
    pub data: String,
    /// What the user should know of how files were read, a line each.
    pub notes: Vec<String>,
}

impl Config {
    /// Resolves the configuration of a run with the data that `load` gives, and writes into it what the data has decided.
    ///
    /// # Errors
    /// Settings that do not fit each other or the data; files that cannot be read.
    pub(super) fn resolve_with(&mut self, load: impl FnOnce(&Self) -> Result<Loaded>) -> Result<Resolved> {
        self.check_run()?;
        // The folder may be read from another one.
        for path in [&mut self.data.weights, &mut self.model.init_from].into_iter().flatten() {
            *path = std::path::absolute(expand(&path.to_string_lossy())).map_err(Error::io(&*path))?;
        }
        let Loaded { dataset, digest: data } = load(self)?;
        self.data.source = self.data.source.parse::<Source>()?.absolute()?.to_string();
        let notes = dataset.encoding.describe();
        self.data.classes = dataset.is_classification().then_some(dataset.outputs);
        let setup = self.setup(dataset)?;
        (self.train.batch, self.model.loss) = (Some(Batch::Size(setup.batch)), Some(setup.loss));
        Ok(Resolved { setup, data, notes })
    }
}
