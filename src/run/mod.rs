//! A run as a folder: its configuration, metrics, summary and weights.
//!
//! | file | holds |
//! | --- | --- |
//! | `config.toml` | every setting of the run, resolved, and the forms of the matrix products, with which it repeats its bits |
//! | `normalization.json` | `scale` and `shift` of each channel: the network sees `raw · scale + shift` |
//! | `metrics.jsonl` | a line every `log_every` steps: `step`, `epoch`, `lr`, `momentum`, `loss`, `accuracy` |
//! | `epochs.jsonl` | a line an epoch: losses and accuracies of the parts, seconds, samples per second |
//! | `summary.json` | the last evaluation, mean, deviation and each replica's; what ended the run |
//! | `weights.safetensors` | the weights; with several replicas `weights.0.safetensors` and so on |
//! | `weights.swa.safetensors` | those of SWA, where it is asked for, and likewise `ema`, `best` and `snapshot` |
//! | `checkpoint.safetensors` | all that the run needs to go on |

mod cache;
mod checkpoint;
mod config;
mod folder;
mod log;
mod resolve;
mod summary;
mod train;

use std::path::Path;
use std::sync::Arc;

use toml::Table;

use crate::data::{Dataset, Source};
use crate::device::Device;
use crate::engine::{Engine, Setup};
use crate::error::{Error, Result};
use crate::gpu::{Measuring, Options};
use crate::model::Mlp;
use crate::plan::Plan;

pub use cache::{remember_limits, remembered_limits};
pub use checkpoint::Checkpoint;
pub use config::{Batch, Bytes, Config, DataConfig, ModelConfig, ScheduleConfig, TrainConfig};
pub use folder::{Place, normalization, read_config, weight_file};
pub use log::Log;
pub use resolve::{Setting, setting};
pub use summary::{Outcome, Pace, deviation, mean, statistics};
pub use train::{Finished, Prepared, train};

impl Config {
    /// Loads, splits and normalises the data set.
    ///
    /// # Errors
    /// What [`Source::load`] and [`Dataset::hold_out`] refuse.
    pub fn dataset(&self) -> Result<Dataset> {
        let data = &self.data;
        let mut dataset = data.source.parse::<Source>()?.load(data.seed)?;
        if let Some(classes) = data.classes {
            dataset = dataset.with_classes(classes)?;
        }
        Ok(dataset.hold_out(data.validation, data.seed)?.normalize(data.normalize))
    }

    /// The setup that the engine is built for.
    ///
    /// # Errors
    /// A model that is too large.
    pub fn setup(&self, dataset: Dataset) -> Result<Setup> {
        let ModelConfig { hidden, activation, norm, residual, dropout, .. } = &self.model;
        let model = Mlp::new(dataset.width(), dataset.outputs).hidden(hidden.as_slice()).activation(*activation);
        let model = Mlp { norm: *norm, residual: *residual, dropout: *dropout, ..model };
        model.check()?;
        let batch = self.train.batch_of(dataset.train.len());
        let setup = Setup::new(model, Arc::new(dataset));
        Ok(Setup {
            loss: self.model.loss.unwrap_or(setup.loss),
            label_smoothing: self.model.label_smoothing,
            augment: self.augment.clone(),
            optimizer: self.optimizer,
            decay: self.train.decay,
            clip_norm: self.train.clip_norm,
            average: self.average.clone(),
            seed: self.train.seed,
            replicas: self.train.replicas,
            batch,
            precision: self.train.precision,
            ..setup
        })
    }

    /// The plan of the trainer.
    pub fn plan(&self) -> Plan {
        Plan {
            epochs: self.train.epochs,
            drop_last: self.train.drop_last,
            order: self.train.order,
            schedule: self.schedule.schedule.clone(),
            schedule_unit: self.schedule.unit,
            stop: self.stop.clone(),
            eval_every: self.train.eval_every,
        }
    }

    /// Opens the engine, and says in words why it is this one.
    ///
    /// Its matrix products have the forms that [`forms`](Self::forms) records for the adapter; those it lacks have the ones
    /// that were once measured there, and `measuring` is told of each that is measured now; without `train.tune`, the
    /// built-in ones. It is told as well of forms that do not work there.
    ///
    /// # Errors
    /// What [`Device::open`] refuses.
    pub fn engine(&self, setup: Setup, measuring: Measuring) -> Result<(Box<dyn Engine>, String)> {
        let (gpu, reason) = self.train.device.parse::<Device>()?.find(self.train.precision)?;
        let memory = self.train.memory.map(|bytes| bytes.0);
        let mut options = Options { memory, measure: self.train.tune, tell: Some(measuring), ..Options::default() };
        let name = gpu.as_ref().map(|gpu| gpu.description.to_string());
        if let Some(name) = &name {
            if self.train.tune {
                options.forms = cache::forms(name);
            }
            if self.forms.adapter == *name {
                options.forms.products.extend(self.forms.products.clone());
            }
        }
        let engine = Device::build(gpu, setup, options)?;
        if name.is_some() && self.train.tune {
            cache::add_forms(&engine.forms());
        }
        Ok((engine, reason))
    }
}

/// The tables of a configuration file.
///
/// # Errors
/// The file cannot be read, or is no TOML.
pub fn read_table(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    text.parse().map_err(|error: toml::de::Error| Error::data(path, error.to_string()))
}
