//! The configuration of a run: a file, flags over it, and `--set` over both.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

use crate::activation::Activation;
use crate::average::Average;
use crate::data::{Augment, Normalize, Order};
use crate::device::Precision;
use crate::error::{Error, Result};
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

const BAD_UNIT: &str = "expected step or epoch";

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

/// A setting and its value: `("optimizer.lr", 0.1)`.
pub type Setting = (String, Value);

impl Config {
    /// The configuration of `file`, with `flags` over it and `sets` over both.
    ///
    /// A `set` of a whole table, such as `optimizer={name="adam"}`, replaces that table of the file, and flags fill it
    /// in. Naming another optimizer or schedule than the file's starts from the defaults of that one; the learning
    /// rate stays.
    ///
    /// # Errors
    /// A key that is not known (with the nearest that is), or a value of the wrong kind.
    pub fn resolve(file: Table, flags: Vec<Setting>, sets: Vec<Setting>) -> Result<Self> {
        let mut table = file;
        let is_whole = |(key, value): &Setting| value.is_table() && !key.contains('.');
        let (whole, single): (Vec<_>, Vec<_>) = sets.into_iter().partition(is_whole);
        for (key, value) in whole {
            table.insert(key, value);
        }
        // The names come first, since another name forgets the keys set before.
        let (names, rest): (Vec<_>, Vec<_>) = flags
            .into_iter()
            .chain(single)
            .partition(|(key, _)| matches!(key.as_str(), "optimizer.name" | "schedule.name"));
        for (key, value) in names.into_iter().chain(rest) {
            apply(&mut table, &key, value)?;
        }
        let mut config = Self::default();
        for (name, value) in table {
            let slot: &mut dyn Section = match name.as_str() {
                "data" => &mut config.data,
                "augment" => &mut config.augment,
                "model" => &mut config.model,
                "optimizer" => &mut config.optimizer,
                "schedule" => &mut config.schedule,
                "average" => &mut config.average,
                "stop" => &mut config.stop,
                "train" => &mut config.train,
                _ => {
                    let known = ["data", "augment", "model", "optimizer", "schedule", "average", "stop", "train"];
                    return Err(Error::config(name.clone(), unknown(&name, &known)));
                }
            };
            slot.read(&name, value)?;
        }
        Ok(config)
    }
}

/// What may change when a run is resumed: how long it goes on, where, and what it writes.
const RESUMABLE: [&str; 9] = [
    "data.source",
    "stop",
    "train.epochs",
    "train.device",
    "train.memory",
    "train.tune",
    "train.log_every",
    "train.eval_every",
    "train.checkpoint_every",
];

impl Config {
    /// Refuses a configuration that a checkpoint of a run with the configuration `own` does not fit.
    ///
    /// # Errors
    /// The first setting that differs and may not.
    pub fn check_resumes(&self, own: &Self) -> Result<()> {
        let table = |config: &Self| Table::try_from(config).map_err(|error| Error::config("config", error.to_string()));
        match difference("", &table(own)?, &table(self)?) {
            None => Ok(()),
            Some((key, own, found)) => {
                Err(Error::config(key, format!("expected {own}, as the run has, found {found}")))
            }
        }
    }
}

/// The first key, not one of [`RESUMABLE`], whose values differ, and both of them.
fn difference(prefix: &str, own: &Table, other: &Table) -> Option<(String, String, String)> {
    let show = |value: Option<&Value>| value.map_or("nothing".into(), ToString::to_string);
    let mut keys: Vec<&String> = own.keys().chain(other.keys()).collect();
    keys.dedup();
    keys.into_iter().find_map(|name| {
        let key = format!("{prefix}{name}");
        match (own.get(name), other.get(name)) {
            _ if RESUMABLE.contains(&key.as_str()) => None,
            (Some(Value::Table(own)), Some(Value::Table(other))) => difference(&format!("{key}."), own, other),
            (own, other) => (own != other).then(|| (key, show(own), show(other))),
        }
    })
}

/// Reads one `--set TABLE.KEY=VALUE`; a value that is not TOML is taken for text, since shells eat quotes.
///
/// # Errors
/// No `=`, or no key before it.
pub fn setting(text: &str) -> Result<Setting> {
    let bad = || Error::config("--set", format!("expected TABLE.KEY=VALUE, found {text:?}"));
    let (key, value) = text.split_once('=').ok_or_else(bad)?;
    if key.split('.').any(|part| part.trim().is_empty()) {
        return Err(bad());
    }
    let value = format!("value = {value}")
        .parse::<Table>()
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(value.into()));
    Ok((key.trim().to_string(), value))
}

/// Puts a value into nested tables, making them where they are missing.
fn apply(table: &mut Table, key: &str, value: Value) -> Result<()> {
    if matches!(key, "optimizer.name" | "schedule.name") {
        rename(table, key, &value);
    }
    let mut parts: Vec<&str> = key.split('.').map(str::trim).collect();
    let last = parts.pop().unwrap_or_default();
    let mut place = table;
    for part in parts {
        let next = place.entry(part).or_insert_with(|| Value::Table(Table::new()));
        place = match next {
            Value::Table(next) => next,
            other => return Err(Error::config(key, format!("expected {part} to be a table, found {other}"))),
        };
    }
    place.insert(last.into(), value);
    Ok(())
}

/// Forgets what was set for an optimizer or schedule of another name, but for the learning rate and the schedule's unit.
fn rename(table: &mut Table, key: &str, name: &Value) {
    let section = key.split('.').next().unwrap_or_default();
    let default = Value::String(if section == "optimizer" { "adamw" } else { "constant" }.into());
    if let Some(Value::Table(inner)) = table.get_mut(section)
        && inner.get("name").unwrap_or(&default) != name
    {
        inner.retain(|key, _| key == "lr" || key == "unit");
    }
}

/// One table of the configuration.
trait Section {
    fn read(&mut self, name: &str, value: Value) -> Result<()>;
}

impl<T: DeserializeOwned + Default + Serialize> Section for T {
    fn read(&mut self, name: &str, value: Value) -> Result<()> {
        let Value::Table(mut table) = value else {
            return Err(Error::config(name, format!("expected a table, found {value}")));
        };
        // An optimizer or schedule without a name is the default one.
        if matches!(name, "optimizer" | "schedule")
            && !table.contains_key("name")
            && let Ok(Value::Table(default)) = Value::try_from(T::default())
            && let Some(default) = default.get("name")
        {
            table.insert("name".into(), default.clone());
        }
        *self =
            Value::Table(table.clone()).try_into().map_err(|error: toml::de::Error| blame::<T>(name, table, &error))?;
        Ok(())
    }
}

/// The error, with the key that caused it: one that cannot be read by itself, or without which the table can be read.
fn blame<T: DeserializeOwned>(section: &str, table: Table, error: &toml::de::Error) -> Error {
    let read = |keys: &dyn Fn(&str) -> bool| {
        let part: Table = table.iter().filter(|(key, _)| keys(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        Value::Table(part).try_into::<T>().map(|_| ())
    };
    let mut errors = table.keys().filter_map(|key| {
        let alone = read(&|other| other == key || other == "name").err()?;
        (!alone.message().contains("missing field")).then(|| (key.as_str(), alone.message().to_string()))
    });
    let without = || table.keys().find(|key| read(&|other| other != key.as_str()).is_ok());
    let text = error.message();
    if text.starts_with(BAD_UNIT) {
        return Error::config(format!("{section}.unit"), text);
    }
    let (key, text) = if text.contains("unknown variant") && table.get("name").is_some_and(Value::is_str) {
        ("name", text.to_string())
    } else if let Some((key, text)) = errors.next() {
        (key, text)
    } else if let Some(key) = without() {
        (key.as_str(), text.to_string())
    } else {
        return Error::config(section, text);
    };
    if text.contains("unknown field") || text.contains("there are no fields") {
        let list = text.split_once("expected").map_or("", |(_, list)| list);
        return Error::config(
            format!("{section}.{key}"),
            unknown(key, &list.split('`').skip(1).step_by(2).collect::<Vec<_>>()),
        );
    }
    Error::config(format!("{section}.{key}"), format!("{text}, found {}", table[key]))
}

fn unknown(key: &str, known: &[&str]) -> String {
    let nearest = known.iter().max_by(|a, b| strsim::jaro_winkler(key, a).total_cmp(&strsim::jaro_winkler(key, b)));
    if known.is_empty() {
        return "unknown key, expected none".into();
    }
    let hint = nearest.map_or(String::new(), |nearest| format!("; did you mean {nearest}?"));
    format!("unknown key, expected one of {}{hint}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    fn resolve(file: &str, flags: &[&str], sets: &[&str]) -> Result<Config> {
        let settings = |texts: &[&str]| texts.iter().map(|t| setting(t)).collect::<Result<Vec<_>>>();
        Config::resolve(table(file), settings(flags)?, settings(sets)?)
    }

    #[test]
    fn what_is_written_reads_back() {
        let config = resolve("", &["train.batch=\"full\"", "schedule.name=cosine"], &[]).unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(resolve(&text, &[], &[]).unwrap(), config);
    }

    #[test]
    fn flags_override_the_file_and_sets_override_both() {
        let file = "[optimizer]\nname = \"sgd\"\nlr = 0.1\nmomentum = 0.9\n";
        let config = resolve(file, &["optimizer.lr=0.2"], &["optimizer.momentum=0.5"]).unwrap();
        assert_eq!((config.optimizer.lr(), config.optimizer.momentum()), (0.2, 0.5));
    }

    #[test]
    fn another_optimizer_starts_from_its_defaults() {
        let file = "[optimizer]\nname = \"sgd\"\nlr = 0.1\nmomentum = 0.9\n";
        let config = resolve(file, &["optimizer.name=adam"], &[]).unwrap();
        assert_eq!((config.optimizer.lr(), config.optimizer.momentum()), (0.1, 0.9));
        let config = resolve(file, &["optimizer.lr=0.3"], &["optimizer={name=\"adam\",betas=[0.8,0.9]}"]).unwrap();
        assert_eq!((config.optimizer.lr(), config.optimizer.momentum()), (0.3, 0.8));
    }

    #[test]
    fn text_needs_no_quotes() {
        assert_eq!(setting("model.activation=gelu").unwrap().1, Value::String("gelu".into()));
        assert_eq!(setting("a.b=[1, 2]").unwrap().1, Value::Array(vec![1.into(), 2.into()]));
        assert!(setting("a.b").is_err());
        assert!(setting("=1").is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let text = |flags: &[&str]| resolve("", flags, &[]).unwrap_err().to_string();
        let error = text(&["optimizer.momentun=0.9", "optimizer.name=sgd"]);
        assert!(error.starts_with("optimizer.momentun: unknown key"), "{error}");
        assert!(error.ends_with("did you mean momentum?"), "{error}");
        assert!(text(&["trian.epochs=1"]).ends_with("did you mean train?"));
        let error = text(&["train.batch=half"]);
        assert_eq!(
            error,
            "train.batch: invalid value: string \"half\", expected a number of samples or \"full\", found \"half\""
        );
        assert!(text(&["train.epochs=-1"]).starts_with("train.epochs: "));
        assert!(text(&["schedule.name=cosin"]).contains("cosine"));
        assert_eq!(resolve("", &["train.memory=2MiB"], &[]).unwrap().train.memory, Some(Bytes(2 << 20)));
    }
}
