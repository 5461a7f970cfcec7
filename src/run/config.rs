//! The configuration of a run: what can be set, and the defaults.

use std::path::PathBuf;

use serde::de;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;
use toml::{Table, Value};

use super::values::{Batch, Bytes, Every, Interval};
use crate::activation::Activation;
use crate::average::Average;
use crate::data::{Augment, Layout, Normalize, Order};
use crate::engine::{Forms, Precision};
use crate::error::{Error, Result};
use crate::loss::{ClassWeights, Loss};
use crate::model::{Init, Norm};
use crate::optimizer::{Decay, Optimizer};
use crate::sam::Sam;
use crate::schedule::{Schedule, Unit};
use crate::stop::Stop;

/// The configuration of a run: everything that decides it; as TOML, each field is a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    /// The data set, the table `[data]`.
    pub data: DataConfig,
    /// The augmentation, the table `[augment]`. Default none.
    pub augment: Augment,
    /// The network and its loss, the table `[model]`.
    pub model: ModelConfig,
    /// The optimizer, the table `[optimizer]`. Default AdamW, without an ascent.
    pub optimizer: OptimizerConfig,
    /// The schedule of the learning rate, the table `[schedule]`. Default constant.
    pub schedule: ScheduleConfig,
    /// The averages of the weights, the table `[average]`. Default none.
    pub average: Average,
    /// The end of the run, the table `[stop]`. Default after the last epoch.
    pub stop: Stop,
    /// The settings of the run itself, the table `[train]`.
    pub train: TrainConfig,
    /// The ranks that train the run together, the table `[distributed]`. Default none, and one process trains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distributed: Option<DistributedConfig>,
    /// The forms of the GPU's matrix products, which a run records, the table `[forms]`. Default none, so that they are
    /// chosen.
    #[serde(skip_serializing_if = "Forms::is_empty")]
    pub forms: Forms,
}

impl Config {
    /// Every setting, in the order of the file, by its key with dots, as `optimizer.lr`; an option that is not set is null.
    ///
    /// # Errors
    /// A setting that JSON cannot hold.
    pub fn flat(&self) -> Result<Vec<(String, Json)>> {
        let value = serde_json::to_value(self).map_err(|error| Error::config("config.toml", error.to_string()))?;
        let mut settings = Vec::new();
        spread("", value, &mut settings);
        Ok(settings)
    }

    /// Refuses settings of the run itself that make no sense, and an optimizer's constants out of range.
    ///
    /// # Errors
    /// The first of them.
    pub(crate) fn check_run(&self) -> Result<()> {
        if self.train.keep_checkpoints == 0 {
            return Err(Error::config("train.keep_checkpoints", "expected at least 1, found 0"));
        }
        let distances = [
            ("train.trajectory_every", self.train.trajectory_every),
            ("train.curvature_every", self.train.curvature_every),
        ];
        if let Some((key, _)) = distances.iter().find(|(_, every)| every.is_some_and(|every| every.count == 0)) {
            return Err(Error::config(*key, "expected at least 1, found 0"));
        }
        if self.train.curvature_samples == Some(0) {
            return Err(Error::config("train.curvature_samples", "expected at least 1, found 0"));
        }
        if self.train.curvature_every.is_some() && self.train.precision == Precision::Mixed {
            let found =
                "expected train.precision to be f32 or f64, in which second derivatives are computed, found mixed";
            return Err(Error::config("train.curvature_every", found));
        }
        if self.distributed.is_some() && !cfg!(feature = "mpi") {
            let found = "expected a build with the feature mpi, which trains on several ranks, found one without";
            return Err(Error::config("distributed", found));
        }
        if self.train.tensorboard && !cfg!(feature = "report") {
            let found = "expected a build with the feature report, which writes events, found one without";
            return Err(Error::config("train.tensorboard", found));
        }
        self.optimizer.check()
    }
}

/// Adds the values of nested tables by their keys, joined with dots.
fn spread(prefix: &str, value: Json, settings: &mut Vec<(String, Json)>) {
    match value {
        Json::Object(table) => {
            for (key, value) in table {
                let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                spread(&key, value, settings);
            }
        }
        value => settings.push((prefix.into(), value)),
    }
}

/// The table `[optimizer]`: the keys of the [`Optimizer`], and the ascent before it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OptimizerConfig {
    /// The ascent before each update, the table `sam` in it. Default none.
    pub sam: Option<Sam>,
    /// The optimizer, to which all other keys belong. Default AdamW.
    pub optimizer: Optimizer,
}

impl OptimizerConfig {
    /// Refuses constants out of range.
    ///
    /// # Errors
    /// The first of them.
    pub fn check(&self) -> Result<()> {
        self.sam.map_or(Ok(()), |sam| sam.check())?;
        self.optimizer.check()
    }
}

impl From<Optimizer> for OptimizerConfig {
    fn from(optimizer: Optimizer) -> Self {
        Self { sam: None, optimizer }
    }
}

impl<'de> Deserialize<'de> for OptimizerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut table = Table::deserialize(deserializer)?;
        let text = |error: toml::de::Error| de::Error::custom(error.message());
        let sam = match table.remove("sam") {
            None => None,
            Some(Value::Table(sam)) => Some(Value::Table(sam).try_into().map_err(text)?),
            Some(_) => return Err(de::Error::custom("expected a table as { rho = 0.05 }")),
        };
        Ok(Self { sam, optimizer: Value::Table(table).try_into().map_err(text)? })
    }
}

impl Serialize for OptimizerConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut table = Table::try_from(self.optimizer).map_err(serde::ser::Error::custom)?;
        if let Some(sam) = self.sam {
            table.insert("sam".into(), Value::try_from(sam).map_err(serde::ser::Error::custom)?);
        }
        table.serialize(serializer)
    }
}

/// The table `[data]`: what is learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// The source of the data set, as [`Source`](crate::data::Source) reads it; a run keeps its paths absolute. Default
    /// `synthetic`.
    pub source: String,
    /// The normalisation of the features. Default `channel`.
    pub normalize: Normalize,
    /// The fraction of the training part that is held out. Default 0.
    pub validation: f64,
    /// The `.npy` file with the weight of each training sample (of those held out too) in the loss of training. Default: all
    /// count alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Whether regression targets are scaled to a mean of 0 and a deviation of 1. Default false.
    pub standardize_targets: bool,
    /// The number of classes, where the labels at hand do not show them all. Default: the largest label + 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// The order of the dimensions of images, `nchw` or `nhwc`. Default: channels first, where the shape does not speak
    /// against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// The seed that draws the synthetic set and what is held out. Default 0.
    pub seed: u64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            source: "synthetic".into(),
            normalize: Normalize::default(),
            validation: 0.0,
            weights: None,
            standardize_targets: false,
            classes: None,
            layout: None,
            seed: 0,
        }
    }
}

/// The table `[model]`: the network and its loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// The widths of the hidden layers; none for a linear model. Default `[256, 128]`.
    pub hidden: Vec<usize>,
    /// The activation of the hidden layers. Default `relu`.
    pub activation: Activation,
    /// The rule that draws the first weights. Default `pytorch`.
    pub init: Init,
    /// The safetensors file to start from instead of drawn weights. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
    /// The names of the layers in that file, in the order of the network: `fc1,fc2`, or each with the number it has here:
    /// `fc1=0,fc2=2`. Default: numbers that ascend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_map: Option<String>,
    /// The loss. Default: `cross_entropy` for labels, `mse` for other targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// The label smoothing ε of the cross-entropy, in `[0, 1)`. Default 0.
    pub label_smoothing: f64,
    /// The weights of the classes in the loss of training: a list, or `balanced`. Default: all count alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// The normalisation before each activation. Default `none`.
    pub norm: Norm,
    /// Whether hidden layers have residual connections, where both widths are one. Default false.
    pub residual: bool,
    /// The probability of dropping an output of a hidden layer, in `[0, 1)`. Default 0.
    pub dropout: f64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            hidden: vec![256, 128],
            activation: Activation::default(),
            init: Init::default(),
            init_from: None,
            init_map: None,
            loss: None,
            label_smoothing: 0.0,
            class_weights: None,
            norm: Norm::default(),
            residual: false,
            dropout: 0.0,
        }
    }
}

/// The table `[schedule]`: the keys of the [`Schedule`], and what it counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScheduleConfig {
    /// The unit that the schedule counts in, the key `unit`. Default `step`.
    pub unit: Unit,
    /// The number of epochs that the schedule is made for, after which its last rate holds, the key `epochs`. Default: those
    /// of the run.
    pub epochs: Option<u64>,
    /// The schedule, to which all other keys belong. Default constant.
    pub schedule: Schedule,
}

pub(super) const BAD_UNIT: &str = "expected step or epoch";
pub(super) const BAD_EPOCHS: &str = "expected a number of epochs";

impl<'de> Deserialize<'de> for ScheduleConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut table = Table::deserialize(deserializer)?;
        let text = |error: toml::de::Error| de::Error::custom(error.message());
        let bad_unit = |unit| de::Error::custom(format!("{BAD_UNIT}, found {unit}"));
        let unit = match table.remove("unit") {
            Some(unit) => unit.clone().try_into().map_err(|_| bad_unit(unit))?,
            None => Unit::default(),
        };
        let bad_epochs = |epochs| de::Error::custom(format!("{BAD_EPOCHS}, found {epochs}"));
        let epochs = table.remove("epochs").map(|epochs| epochs.clone().try_into().map_err(|_| bad_epochs(epochs)));
        Ok(Self { unit, epochs: epochs.transpose()?, schedule: Value::Table(table).try_into().map_err(text)? })
    }
}

impl Serialize for ScheduleConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut table = Table::try_from(&self.schedule).map_err(serde::ser::Error::custom)?;
        if self.unit != Unit::default() {
            table.insert("unit".into(), Value::try_from(self.unit).map_err(serde::ser::Error::custom)?);
        }
        if let Some(epochs) = self.epochs {
            table.insert("epochs".into(), Value::try_from(epochs).map_err(serde::ser::Error::custom)?);
        }
        table.serialize(serializer)
    }
}

/// The table `[distributed]`: how several ranks train a run, with the feature `mpi`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistributedConfig {
    /// What the ranks share. Default `data`.
    pub mode: DistributedMode,
    /// The steps of `local` from one mean of the ranks' weights to the next; there is one at the end of an epoch, and wherever
    /// steps are counted to an evaluation or a checkpoint, too. At least 1; default 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// The epochs in which the ranks of `local` share the samples of every step first, as `data`. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
}

/// What the ranks of a run share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistributedMode {
    /// The samples of every step: each rank makes the gradient of its share, and all update the weights by the sum.
    #[default]
    Data,
    /// Local SGD (Lin et al., 2020): each rank takes steps by its share of their samples alone, and every so many the mean of the
    /// ranks' weights, and of the optimizer's state, takes their place.
    Local,
    /// The second phase of SWAP (Gupta et al., 2020): from the same weights each rank trains alone, in the order of seed + rank, and
    /// SWA's mean is that over the ranks too.
    Swap,
}

/// The table `[train]`: the settings of the run itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// The number of samples of a step, or `"full"`. Default 128, or as many as there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// The number of epochs. Default 10.
    pub epochs: u64,
    /// The seed that draws first weights, orders, dropout and augmentation; replica r uses seed + r. Default 0.
    pub seed: u64,
    /// The number of models trained side by side. Default 1.
    pub replicas: usize,
    /// The order of the samples in an epoch. Default `shuffle`.
    pub order: Order,
    /// Whether an epoch's last batch is left out if it is short. Default false.
    pub drop_last: bool,
    /// The parameters that the optimizer's weight decay acts on. Default `all`.
    pub decay: Decay,
    /// The largest norm of the whole gradient, to which larger ones are scaled. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// The precision of the engine: `f32`, `f64` on the CPU engine, or `mixed` on a GPU. Default `f32`.
    pub precision: Precision,
    /// The device, as [`Device`](crate::device::Device) reads it. Default `auto`.
    pub device: String,
    /// The bytes of device memory that may be taken: a number, or text such as `"512MiB"`. Default: what there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Whether the forms of the matrix products are chosen by measuring them on the adapter, once. Default true.
    pub tune: bool,
    /// The number of steps from one line of `metrics.jsonl` to the next; 0 for no lines. Default 10.
    pub log_every: u64,
    /// The number of epochs, or of steps, as `"200steps"`, from one evaluation to the next; there is one at the end of the run
    /// as well. Default 1 epoch.
    pub eval_every: Every,
    /// The epochs from one checkpoint, from which the run can be resumed, to the next; or steps, as `"500steps"`, or seconds, as
    /// `"30s"`; 0 for none but where an observer asks. Default 1 epoch.
    pub checkpoint_every: Interval,
    /// The number of checkpoints that are kept, the newest ones: if one is damaged, the run goes on from the one before. At
    /// least 1, default 2.
    pub keep_checkpoints: usize,
    /// The number of epochs, or of steps, as `"20steps"`, from one file of the weights on their way to the next; the first and
    /// the last weights are written too. At least 1; default: none are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trajectory_every: Option<Every>,
    /// The number of epochs, or of steps, as `"10steps"`, from one measurement of the Hessian's largest eigenvalue to the next, the
    /// first before the first step. At least 1; default: it is not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curvature_every: Option<Every>,
    /// The number of training samples, drawn with the run's seed, over whose loss it is measured. At least 1; default 1000, or as
    /// many as there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curvature_samples: Option<usize>,
    /// Whether the run writes event files, as TensorBoard reads them; with the feature `report`. Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tensorboard: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch: None,
            epochs: 10,
            seed: 0,
            replicas: 1,
            order: Order::default(),
            drop_last: false,
            decay: Decay::default(),
            clip_norm: None,
            precision: Precision::default(),
            device: "auto".into(),
            memory: None,
            tune: true,
            log_every: 10,
            eval_every: Every { count: 1, unit: Unit::Epoch },
            checkpoint_every: Interval::Epochs(1),
            keep_checkpoints: 2,
            trajectory_every: None,
            curvature_every: None,
            curvature_samples: None,
            tensorboard: false,
        }
    }
}

impl TrainConfig {
    /// The number of samples of a step over a training part of `samples`.
    pub fn batch_of(&self, samples: usize) -> usize {
        self.batch.map_or(samples.min(128), |batch| batch.of(samples))
    }
}
