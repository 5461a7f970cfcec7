//! The configuration of a run: what can be set, and the defaults.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

use crate::activation::Activation;
use crate::average::Average;
use crate::data::{Augment, Normalize, Order};
use crate::engine::{Forms, Precision};
use crate::loss::Loss;
use crate::model::{Init, Norm};
use crate::optimizer::{Decay, Optimizer};
use crate::schedule::{Schedule, Unit};
use crate::stop::Stop;

/// Everything that decides a run; as TOML, each field is a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    /// `[data]`.
    pub data: DataConfig,
    /// `[augment]`; default none.
    pub augment: Augment,
    /// `[model]`.
    pub model: ModelConfig,
    /// `[optimizer]`; default AdamW.
    pub optimizer: Optimizer,
    /// `[schedule]`; default constant.
    pub schedule: ScheduleConfig,
    /// `[average]`; default none.
    pub average: Average,
    /// `[stop]`; default after the last epoch.
    pub stop: Stop,
    /// `[train]`.
    pub train: TrainConfig,
    /// `[forms]`: the forms of the GPU's matrix products, which a run records; default none, so that they are chosen.
    #[serde(skip_serializing_if = "Forms::is_empty")]
    pub forms: Forms,
}

/// `[data]`: what is learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// As [`Source`](crate::data::Source) reads it. Default `synthetic`.
    pub source: String,
    /// Default `channel`.
    pub normalize: Normalize,
    /// Fraction of the training part that is held out. Default 0.
    pub validation: f64,
    /// Number of classes, where the labels at hand do not show them all. Default: the largest label + 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Draws the synthetic set and what is held out. Default 0.
    pub seed: u64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { source: "synthetic".into(), normalize: Normalize::default(), validation: 0.0, classes: None, seed: 0 }
    }
}

/// `[model]`: the network and its loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Widths of the hidden layers; none for a linear model. Default `[256, 128]`.
    pub hidden: Vec<usize>,
    /// Default `relu`.
    pub activation: Activation,
    /// Default `pytorch`.
    pub init: Init,
    /// A safetensors file to start from instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
    /// Default: `cross_entropy` for labels, `mse` for other targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Loss>,
    /// Default 0.
    pub label_smoothing: f64,
    /// Default `none`.
    pub norm: Norm,
    /// Default false.
    pub residual: bool,
    /// Default 0.
    pub dropout: f64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            hidden: vec![256, 128],
            activation: Activation::default(),
            init: Init::default(),
            init_from: None,
            loss: None,
            label_smoothing: 0.0,
            norm: Norm::default(),
            residual: false,
            dropout: 0.0,
        }
    }
}

/// `[schedule]`: the keys of the [`Schedule`], and what it counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScheduleConfig {
    /// `unit`. Default `step`.
    pub unit: Unit,
    /// The rest.
    pub schedule: Schedule,
}

pub(super) const BAD_UNIT: &str = "expected step or epoch";

impl<'de> Deserialize<'de> for ScheduleConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut table = Table::deserialize(deserializer)?;
        let text = |error: toml::de::Error| de::Error::custom(error.message());
        let bad_unit = |unit| de::Error::custom(format!("{BAD_UNIT}, found {unit}"));
        let unit = match table.remove("unit") {
            Some(unit) => unit.clone().try_into().map_err(|_| bad_unit(unit))?,
            None => Unit::default(),
        };
        Ok(Self { unit, schedule: Value::Table(table).try_into().map_err(text)? })
    }
}

impl Serialize for ScheduleConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut table = Table::try_from(&self.schedule).map_err(serde::ser::Error::custom)?;
        if self.unit != Unit::default() {
            table.insert("unit".into(), Value::try_from(self.unit).map_err(serde::ser::Error::custom)?);
        }
        table.serialize(serializer)
    }
}

/// `[train]`: the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Samples of a step, or `"full"`. Default 128, or as many as there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// Default 10.
    pub epochs: u64,
    /// Draws first weights, orders, dropout and augmentation; replica r uses seed + r. Default 0.
    pub seed: u64,
    /// Models trained side by side. Default 1.
    pub replicas: usize,
    /// Default `shuffle`.
    pub order: Order,
    /// Leaves out an epoch's last batch if it is short. Default false.
    pub drop_last: bool,
    /// What the optimizer's weight decay acts on. Default `all`.
    pub decay: Decay,
    /// Largest norm of the whole gradient. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// `f32`, `f64` on the CPU engine, or `mixed` on a GPU. Default `f32`.
    pub precision: Precision,
    /// As [`Device`](crate::device::Device) reads it. Default `auto`.
    pub device: String,
    /// Bytes of device memory that may be taken: a number, or text such as `"512MiB"`. Default: what there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Chooses the forms of the matrix products by measuring them on the adapter, once. Default true.
    pub tune: bool,
    /// Writes every so many steps a line to `metrics.jsonl`; 0 for none. Default 10.
    pub log_every: u64,
    /// Evaluates after every so many epochs, and after the last. Default 1.
    pub eval_every: u64,
    /// Writes a checkpoint after every so many epochs, from which the run can be resumed; 0 for none. Default 1.
    pub checkpoint_every: u64,
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
            eval_every: 1,
            checkpoint_every: 1,
        }
    }
}

/// Samples of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// So many.
    Size(usize),
    /// The whole training part: batch gradient descent.
    Full,
}

impl Batch {
    /// Samples of a step over a training part of `samples`.
    fn of(self, samples: usize) -> usize {
        match self {
            Self::Size(size) => size,
            Self::Full => samples,
        }
    }
}

impl TrainConfig {
    /// Samples of a step over a training part of `samples`.
    pub fn batch_of(&self, samples: usize) -> usize {
        self.batch.map_or(samples.min(128), |batch| batch.of(samples))
    }
}

/// A number of bytes, also written with a unit of KiB, MiB or GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// Reads a whole number, or a text through `parse`.
struct NumberOr<T> {
    expected: &'static str,
    number: fn(u64) -> T,
    parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for NumberOr<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<T, E> {
        let number = u64::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))?;
        Ok((self.number)(number))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> std::result::Result<T, E> {
        Ok((self.number)(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOr {
            expected: "a number of samples or \"full\"",
            number: |n| Self::Size(n as usize),
            parse: |text| (text == "full").then_some(Self::Full),
        })
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Size(size) => serializer.serialize_u64(*size as u64),
            Self::Full => serializer.serialize_str("full"),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOr {
            expected: "a number of bytes, as 536870912 or \"512MiB\"",
            number: Self,
            parse: |text| {
                let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
                let number: u64 = text[..text.len() - unit.len()].parse().ok()?;
                let factor = match unit.trim() {
                    "" | "B" => 1,
                    "KiB" => 1 << 10,
                    "MiB" => 1 << 20,
                    "GiB" => 1 << 30,
                    _ => return None,
                };
                number.checked_mul(factor).map(Self)
            },
        })
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}
