//! From a file, flags over it and `--set` over both to a configuration, or to an error that names the key.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::config::{BAD_EPOCHS, BAD_UNIT, Config};
use crate::error::{Error, Result};
use crate::schedule::Schedule;

/// A setting and its value: `("optimizer.lr", 0.1)`.
pub type Setting = (String, Value);

impl Config {
    /// The configuration of `file`, with `flags` over it and `sets` over both.
    ///
    /// A `set` of a whole table, such as `optimizer={name="adam"}`, replaces that table of the file, and flags fill it
    /// in. Naming another optimizer or schedule than the file's starts from the defaults of that one; the learning
    /// rate and the ascent stay.
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
                "distributed" => &mut config.distributed,
                "forms" => &mut config.forms,
                _ => {
                    let known = [
                        "data",
                        "augment",
                        "model",
                        "optimizer",
                        "schedule",
                        "average",
                        "stop",
                        "train",
                        "distributed",
                        "forms",
                    ];
                    return Err(Error::config(name.clone(), unknown(&name, &known)));
                }
            };
            slot.read(&name, value)?;
        }
        Ok(config)
    }
}

/// The settings that may change when a run is resumed: how long it goes on, where, and what it writes.
const RESUMABLE: [&str; 18] = [
    "data.source",
    "data.weights",
    "distributed",
    "forms",
    "schedule.epochs",
    "stop",
    "train.epochs",
    "train.device",
    "train.memory",
    "train.tune",
    "train.log_every",
    "train.eval_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.trajectory_every",
    "train.curvature_every",
    "train.curvature_samples",
    "train.tensorboard",
];

/// The settings that may differ between the ranks of a run: where each has the data and computes.
const OF_RANK: [&str; 6] = ["data.source", "data.weights", "forms", "model.init_from", "train.device", "train.memory"];

impl Config {
    /// Refuses a configuration that a checkpoint of a run with the configuration `own` does not fit.
    ///
    /// # Errors
    /// The first setting that differs and may not.
    pub fn check_resumes(&self, own: &Self) -> Result<()> {
        let (ranks, own_ranks) = (self.distributed.unwrap_or_default(), own.distributed.unwrap_or_default());
        if ranks != own_ranks {
            let found = format!("expected {own_ranks:?}, as the run has, found {ranks:?}");
            return Err(Error::config("distributed", found));
        }
        self.expect(own, &RESUMABLE, "as the run has", "")
    }

    /// Refuses the configuration of the rank with this number where that of rank 0 is `own`.
    ///
    /// # Errors
    /// The first setting that differs and may not.
    pub fn check_rank(&self, own: &Self, rank: usize) -> Result<()> {
        self.expect(own, &OF_RANK, "as rank 0 has", &format!(" on rank {rank}"))
    }

    /// Refuses settings that differ from `own`, but for some `free` ones.
    fn expect(&self, own: &Self, free: &[&str], whose: &str, place: &str) -> Result<()> {
        let table = |config: &Self| Table::try_from(config).map_err(|error| Error::config("config", error.to_string()));
        match difference("", free, &table(own)?, &table(self)?) {
            None => Ok(()),
            Some((key, own, found)) => {
                Err(Error::config(key, format!("expected {own}, {whose}, found {found}{place}")))
            }
        }
    }
}

/// The first key, not one of `free`, whose values differ, and both of them.
fn difference(prefix: &str, free: &[&str], own: &Table, other: &Table) -> Option<(String, String, String)> {
    let show = |value: Option<&Value>| value.map_or("nothing".into(), ToString::to_string);
    let mut keys: Vec<&String> = own.keys().chain(other.keys()).collect();
    keys.dedup();
    keys.into_iter().find_map(|name| {
        let key = format!("{prefix}{name}");
        match (own.get(name), other.get(name)) {
            _ if free.contains(&key.as_str()) => None,
            (Some(Value::Table(own)), Some(Value::Table(other))) => difference(&format!("{key}."), free, own, other),
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

/// Forgets what was set for an optimizer or schedule of another name, but for the learning rate, the ascent, and the schedule's
/// unit and length.
fn rename(table: &mut Table, key: &str, name: &Value) {
    let section = key.split('.').next().unwrap_or_default();
    let default = Value::String(if section == "optimizer" { "adamw" } else { "constant" }.into());
    if let Some(Value::Table(inner)) = table.get_mut(section)
        && inner.get("name").unwrap_or(&default) != name
    {
        inner.retain(|key, _| matches!(key, "lr" | "sam" | "unit" | "epochs"));
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
    for (start, key) in [(BAD_UNIT, "unit"), (BAD_EPOCHS, "epochs")] {
        if text.starts_with(start) {
            return Error::config(format!("{section}.{key}"), text);
        }
    }
    if let Some(error) = blame_part(section, &table) {
        return error;
    }
    let (key, text) = if text.contains("unknown variant") && table.get("name").is_some_and(Value::is_str) {
        ("name", text.to_string())
    } else if let Some((key, text)) = errors.next() {
        (key, text)
    } else if let Some(key) = without() {
        (key.as_str(), text.to_string())
    } else if section == "schedule" && text.contains("missing field") {
        return Error::config(section, format!("{text}; thalweg schedule --list tells the arguments"));
    } else {
        return Error::config(section, text);
    };
    if text.contains("unknown field") || text.contains("there are no fields") {
        let list = text.split_once("expected").map_or("", |(_, list)| list);
        let known: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
        // The key may stand in a table within the table.
        let field = text.split('`').nth(1).unwrap_or(key);
        let path = if field == key { format!("{section}.{key}") } else { format!("{section}.{key}.{field}") };
        return Error::config(path, unknown(field, &known));
    }
    Error::config(format!("{section}.{key}"), format!("{text}, found {}", table[key]))
}

/// The error of the first part of a sequence that is no schedule.
fn blame_part(section: &str, table: &Table) -> Option<Error> {
    let parts = table.get("parts").filter(|_| section == "schedule")?.as_array()?;
    parts.iter().enumerate().find_map(|(i, part)| {
        let error = part.clone().try_into::<Schedule>().err()?;
        let section = format!("{section}.parts[{i}]");
        Some(match part {
            Value::Table(part) => blame::<Schedule>(&section, part.clone(), &error),
            other => Error::config(section, format!("expected a table, found {other}")),
        })
    })
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
    use crate::run::{Bytes, Every};
    use crate::sam::Sam;
    use crate::schedule::{Rate, Unit};

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    fn resolve(file: &str, flags: &[&str], sets: &[&str]) -> Result<Config> {
        let settings = |texts: &[&str]| texts.iter().map(|t| setting(t)).collect::<Result<Vec<_>>>();
        Config::resolve(table(file), settings(flags)?, settings(sets)?)
    }

    #[test]
    fn what_is_written_reads_back() {
        let flags = ["train.batch=\"full\"", "schedule.name=cosine", "schedule.epochs=7", "train.eval_every=200steps"];
        let sets = ["average={ema={start=2,start_unit=\"epoch\"},swa={at=\"minima\",start=1,unit=\"epoch\"}}"];
        let config = resolve("", &flags, &sets).unwrap();
        assert_eq!(
            (config.schedule.epochs, config.train.eval_every),
            (Some(7), Every { count: 200, unit: Unit::Step })
        );
        let text = toml::to_string(&config).unwrap();
        assert_eq!(resolve(&text, &[], &[]).unwrap(), config);
        let every = |text: &str| resolve("", &[&format!("train.eval_every={text}")], &[]).unwrap().train.eval_every;
        assert_eq!(every("3"), every("3epochs"));
    }

    #[test]
    fn flags_override_the_file_and_sets_override_both() {
        let file = "[optimizer]\nname = \"sgd\"\nlr = 0.1\nmomentum = 0.9\n";
        let config = resolve(file, &["optimizer.lr=0.2"], &["optimizer.momentum=0.5"]).unwrap();
        assert_eq!(config.optimizer.optimizer.rate(), Rate { lr: 0.2, momentum: 0.5 });
    }

    #[test]
    fn another_optimizer_starts_from_its_defaults() {
        let file = "[optimizer]\nname = \"sgd\"\nlr = 0.1\nmomentum = 0.9\n";
        let config = resolve(file, &["optimizer.name=adam"], &[]).unwrap();
        assert_eq!(config.optimizer.optimizer.rate(), Rate { lr: 0.1, momentum: 0.9 });
        let config = resolve(file, &["optimizer.lr=0.3"], &["optimizer={name=\"adam\",betas=[0.8,0.9]}"]).unwrap();
        assert_eq!(config.optimizer.optimizer.rate(), Rate { lr: 0.3, momentum: 0.8 });
    }

    /// The ascent goes with any optimizer: another name forgets it not, and a table that holds nothing has its defaults.
    #[test]
    fn an_ascent_goes_with_any_optimizer() {
        let file = "[optimizer]\nname = \"sgd\"\nmomentum = 0.9\nsam = { rho = 0.1 }\n";
        let sam = |file: &str, flags: &[&str], sets: &[&str]| {
            let config = resolve(file, flags, sets).unwrap();
            assert_eq!(resolve(&toml::to_string(&config).unwrap(), &[], &[]).unwrap(), config);
            config.optimizer.sam
        };
        let plain = |rho| Some(Sam { rho, adaptive: false });
        assert_eq!((sam("", &[], &[]), sam(file, &["optimizer.name=adam"], &[])), (None, plain(0.1)));
        assert_eq!(sam("", &["optimizer.sam.rho=0.2"], &["optimizer.sam.rho=1"]), plain(1.0));
        assert_eq!(sam("", &[], &["optimizer.sam={}"]), plain(0.05));
        let adaptive = sam(file, &["optimizer.sam.adaptive=true"], &[]);
        assert_eq!(adaptive, Some(Sam { rho: 0.1, adaptive: true }));

        let text = |set: &str| resolve("", &[], &[set]).unwrap_err().to_string();
        assert!(
            text("optimizer.sam.roh=1").starts_with("optimizer.sam.roh: unknown key"),
            "{}",
            text("optimizer.sam.roh=1")
        );
        assert_eq!(text("optimizer.sam=0.05"), "optimizer.sam: expected a table as { rho = 0.05 }, found 0.05");
        assert!(text("optimizer.sam.rho=\"far\"").starts_with("optimizer.sam: "));
        for rho in ["0", "-0.1", "nan", "inf", "1e-60", "1e60"] {
            let config = resolve("", &[&format!("optimizer.sam.rho={rho}")], &[]).unwrap();
            let error = config.optimizer.check().unwrap_err().to_string();
            assert!(error.starts_with("optimizer.sam.rho: expected a positive number"), "{rho}: {error}");
        }
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
        assert!(text(&["schedule.name=step"]).contains("step_size"));
        assert!(text(&["schedule.name=step"]).ends_with("thalweg schedule --list tells the arguments"));
        assert_eq!(resolve("", &["train.memory=2MiB"], &[]).unwrap().train.memory, Some(Bytes(2 << 20)));
    }
}
