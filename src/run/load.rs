//! What a configuration names, before an engine is opened for it.

use super::checkpoint;
use super::config::Config;
use super::folder::{self, Place};
use super::values::Batch;
use crate::data::{Source, expand};
use crate::engine::{Engine, Setup};
use crate::error::{Error, Result};

/// An engine, and in words why it is this one.
pub(super) type Opened = Result<(Box<dyn Engine>, String)>;

/// What a configuration names, loaded.
pub(super) struct Loaded {
    /// The setup of the engine, with the data set.
    pub setup: Setup,
    /// The digest of the data.
    pub data: String,
    /// What the user should know of how files were read, a line each.
    pub notes: Vec<String>,
}

impl Config {
    /// Loads what the configuration of a run at `place` names, and writes into it what the data has decided.
    ///
    /// # Errors
    /// Settings that do not fit each other or the data; files that cannot be read.
    pub(super) fn load(&mut self, place: &Place) -> Result<Loaded> {
        self.check_run()?;
        // The folder may be read from another one.
        for path in [&mut self.data.weights, &mut self.model.init_from].into_iter().flatten() {
            *path = std::path::absolute(expand(&path.to_string_lossy())).map_err(Error::io(&*path))?;
        }
        let dataset = match place {
            Place::Resume(dir) => self.own_dataset(dir)?,
            Place::Next | Place::New(_) | Place::Replace(_) => match &self.model.init_from {
                Some(run) if folder::is_run(run) => self.dataset_after(run)?,
                _ => self.dataset()?,
            },
        };
        self.data.source = self.data.source.parse::<Source>()?.absolute()?.to_string();
        let notes = dataset.encoding.describe();
        let data = checkpoint::digest(&dataset);
        self.data.classes = dataset.is_classification().then_some(dataset.outputs);
        let setup = self.setup(dataset)?;
        (self.train.batch, self.model.loss) = (Some(Batch::Size(setup.batch)), Some(setup.loss));
        Ok(Loaded { setup, data, notes })
    }
}
