//! A run as a folder: its configuration, metrics, summary and weights.
//!
//! | file | holds |
//! | --- | --- |
//! | `config.toml` | every setting of the run, resolved, and the forms of the matrix products, with which it repeats its bits |
//! | `normalization.json` | `scale` and `shift` of each channel: the network sees `raw · scale + shift`; where they are standardised, `targets` with their `mean` and `deviation` |
//! | `encoding.json` | how the data's files were read: shape, labels, categories, names of classes; and its `fingerprint` |
//! | `metrics.jsonl` | a line every `log_every` steps: `step`, `epoch`, `lr`, `momentum`, `loss`, `accuracy`; and wherever it is measured `curvature`, the Hessian's largest eigenvalue |
//! | `epochs.jsonl` | a line an epoch: losses and accuracies of the parts, seconds, samples per second |
//! | `evaluations.jsonl` | a line an evaluation within an epoch, where `eval_every` counts steps |
//! | `summary.json` | the last evaluation, mean, deviation and each replica's; which was the best; what ended the run |
//! | `weights.safetensors` | the weights; with several replicas `weights.0.safetensors` and so on |
//! | `weights.swa.safetensors` | those of SWA, where it is asked for, and likewise `ema`, `best` and `snapshot` |
//! | `trajectory.STEPS.safetensors` | the weights after so many steps, where `trajectory_every` asks for them |
//! | `events.out.tfevents.SECONDS.thalweg` | events for TensorBoard, where `tensorboard` asks for them; those of one replica of several lie in `replica.R` |
//! | `checkpoint.safetensors` | all that the run needs to go on; `checkpoint.STEPS.safetensors` are the ones before it |
//! | `.lock` | nothing; a process that trains the run holds its lock |
//!
//! Every file appears whole or not at all. All but the summary, which nothing depends on, carry a checksum by which a damaged one
//! is told; so does every line of those of lines.

mod cache;
mod checkpoint;
mod config;
mod data;
mod eigenvalue;
mod folder;
pub(crate) mod lines;
mod load;
mod lock;
mod log;
mod open;
#[cfg(feature = "mpi")]
mod ranks;
mod resolve;
mod resume;
mod saver;
mod seen;
mod side_by_side;
mod start;
mod summary;
#[cfg_attr(not(feature = "report"), path = "no_tensorboard.rs")]
mod tensorboard;
mod timer;
mod train;
mod trained;
mod trajectory;
mod values;
mod writer;

use std::path::Path;
use std::sync::Arc;

use toml::Table;

use crate::data::{Dataset, Hints, Source, TargetKind, read_numbers};
use crate::device::Device;
use crate::engine::{Engine, Setup};
use crate::error::{Error, Result};
use crate::gpu::{Measuring, Options};
use crate::loss::Loss;
use crate::model::Mlp;
use crate::plan::Plan;

pub use cache::{remember_limits, remembered_limits};
pub use checkpoint::Checkpoint;
pub use config::{
    Config, DataConfig, DistributedConfig, DistributedMode, ModelConfig, OptimizerConfig, ScheduleConfig, TrainConfig,
};
pub use folder::{Place, is_interrupted, read_config, read_edited_config, read_summary, weight_file};
pub(crate) use folder::{forget_checkpoints, forget_weights, free_dir, has_ended};
pub use load::Loaded;
pub(crate) use lock::Lock;
pub(crate) use log::epochs;
pub use log::{Lines, Log, Logged, each_line, logged_curves, read_metrics};
#[cfg(feature = "mpi")]
pub use ranks::follow;
pub use resolve::{Setting, setting};
pub use seen::seen_weights;
pub use side_by_side::SideBySide;
pub use start::{checkpoint_weights, first_weights};
pub use summary::{Best, Outcome, Pace, machine, number, real, statistic, statistics};
pub use train::{Finished, Prepared, train};
pub use trained::{Position, Trained, Which, picture_shape};
pub use trajectory::trajectory;
pub use values::{Batch, Bytes, Every, Interval};

impl Config {
    /// Loads and splits the data set, and scales features and targets by its own statistics. What its files leave open is as
    /// `data.classes`, `data.layout` and `model.loss` say.
    ///
    /// # Errors
    /// What [`Source::load_with`], [`Dataset::hold_out`] and [`Dataset::standardize_targets`] refuse.
    pub fn dataset(&self) -> Result<Dataset> {
        let data = &self.data;
        let targets = match (data.classes, self.model.loss) {
            (None, None) => None,
            (Some(_), _) | (None, Some(Loss::CrossEntropy)) => Some(TargetKind::Labels),
            (None, Some(Loss::Mse)) => Some(TargetKind::Values),
        };
        let hints = Hints { targets, classes: data.classes, layout: data.layout };
        let dataset = data.source.parse::<Source>()?.load_with(data.seed, &hints)?;
        let dataset = self.split(dataset)?.normalize(data.normalize);
        if data.standardize_targets { dataset.standardize_targets() } else { Ok(dataset) }
    }

    /// The data set to train on: with the weights of its training samples, and without those that are held out.
    fn split(&self, dataset: Dataset) -> Result<Dataset> {
        self.weighted(dataset)?.hold_out(self.data.validation, self.data.seed)
    }

    /// The data set with the weights of its training samples.
    fn weighted(&self, dataset: Dataset) -> Result<Dataset> {
        match &self.data.weights {
            None => Ok(dataset),
            Some(path) if !path.exists() => {
                let text =
                    format!("found nothing at {}; --sample-weights FILE names where they lie now", path.display());
                Err(Error::config("data.weights", text))
            }
            Some(path) => {
                let (weights, samples) = (read_numbers(path)?, dataset.train.len());
                if weights.len() != samples {
                    let found = weights.len();
                    let text = format!("expected {samples} weights, one a training sample, found {found}");
                    return Err(Error::data(path, text));
                }
                dataset.weighted(weights)
            }
        }
    }

    /// The setup that the engine is built for.
    ///
    /// # Errors
    /// A model that is too large.
    pub fn setup(&self, dataset: impl Into<Arc<Dataset>>) -> Result<Setup> {
        let dataset = dataset.into();
        let ModelConfig { hidden, activation, norm, residual, dropout, .. } = &self.model;
        let model = Mlp::new(dataset.width(), dataset.outputs).hidden(hidden.as_slice()).activation(*activation);
        let model = Mlp { norm: *norm, residual: *residual, dropout: *dropout, ..model };
        model.check()?;
        let batch = self.train.batch_of(dataset.train.len());
        let counts = dataset.train.histogram(dataset.outputs);
        let class_weights = self.model.class_weights.as_ref().map(|weights| weights.of(&counts));
        let setup = Setup::new(model, dataset);
        Ok(Setup {
            class_weights: class_weights.unwrap_or_default(),
            loss: self.model.loss.unwrap_or(setup.loss),
            label_smoothing: self.model.label_smoothing,
            augment: self.augment.clone(),
            optimizer: self.optimizer.optimizer,
            sam: self.optimizer.sam,
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
            schedule_epochs: self.schedule.epochs,
            stop: self.stop.clone(),
            eval_every: self.train.eval_every.count,
            eval_unit: self.train.eval_every.unit,
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
    parse_table(path, &text)
}

/// The tables of `text`, which the file has.
fn parse_table(path: &Path, text: &str) -> Result<Table> {
    text.parse().map_err(|error: toml::de::Error| Error::data(path, error.to_string()))
}
