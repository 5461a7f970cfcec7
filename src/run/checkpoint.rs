//! Everything that a run needs to go on as if it had not been interrupted.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ::safetensors::tensor::SafeTensors;
use toml::Table;

use super::config::Config;
use crate::data::Dataset;
use crate::disk::cannot_write;
use crate::engine::{Capture, Engine, LossScale, Precision, Slot};
use crate::error::{Error, Result};
use crate::export::safetensors::{decode, stored, values};
use crate::export::sealed::{self, Metadata, Named};
use crate::progress::Progress;

/// The name of the newest checkpoint in the run's folder; older ones, and that of the first weights, have the number of their
/// steps before the extension.
pub(super) const FILE: &str = "checkpoint.safetensors";
/// The name of that of the first weights.
pub(super) const FIRST: &str = "checkpoint.0.safetensors";
/// The keys of the file's metadata: the progress of the loop, the loss scales, the run's configuration, the device, the data,
/// and the number of steps.
const PROGRESS: &str = "progress";
const LOSS_SCALES: &str = "loss_scales";
const CONFIG: &str = "config";
const DEVICE: &str = "device";
const DATA: &str = "data";
const STEPS: &str = "steps";

/// A checkpoint of a run: the engine's vectors (weights, optimizer state, averages and snapshots of every replica), its
/// loss scales, the trainer's progress within an epoch too, and what tells whether a run that goes on is the same.
///
/// Orders, dropout and augmentation are functions of the step, so that nothing else is needed.
pub struct Checkpoint {
    /// The progress of the run: how far it had come.
    pub progress: Progress,
    /// The number of its steps.
    pub steps: u64,
    /// The path of the file that it was read from.
    pub path: PathBuf,
    /// The configuration of the run that wrote it.
    pub config: Config,
    /// The device of that run, in words.
    pub device: String,
    /// The digest of its data.
    pub data: String,
    /// The version of the program that wrote it.
    pub version: String,
    loss_scales: Vec<LossScale>,
    bytes: Vec<u8>,
}

impl Checkpoint {
    /// Reads the newest intact checkpoint of the run in `dir`; none where there is none. `warnings` gets a line for each that is
    /// damaged and passed over.
    ///
    /// # Errors
    /// There are some, and all are damaged; the folder cannot be read.
    pub fn newest(dir: &Path, warnings: &mut Vec<String>) -> Result<Option<Self>> {
        let mut damaged = None;
        for path in newest_first(dir) {
            match Self::read(&path) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => {
                    warnings.push(format!("{error}; it is passed over"));
                    damaged = damaged.or(Some(error));
                }
            }
        }
        let none_left = |error: Error| match error {
            Error::Weights { path, message } => Error::Weights {
                path,
                message: message + ", and no other is left; its config.toml begins the run anew",
            },
            other => other,
        };
        damaged.map_or(Ok(None), |error| Err(none_left(error)))
    }

    /// Reads the checkpoint in a file.
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        let bad = |found: String| Error::weights(path, format!("expected a checkpoint of this run, found {found}"));
        let (_, mut metadata) = sealed::read(&bytes).map_err(bad)?;
        let mut entry = |key: &str| metadata.remove(key).ok_or_else(|| bad(format!("none of its {key}")));
        let [progress, scales, config] = [entry(PROGRESS)?, entry(LOSS_SCALES)?, entry(CONFIG)?];
        let [device, data, version] = [entry(DEVICE)?, entry(DATA)?, entry("thalweg")?];
        let steps = entry(STEPS)?.parse().map_err(|_| bad("no number of steps".into()))?;
        let progress = serde_json::from_str(&progress).map_err(|error| bad(error.to_string()))?;
        let loss_scales = serde_json::from_str(&scales).map_err(|error| bad(error.to_string()))?;
        let config: Table = config.parse().map_err(|error: toml::de::Error| bad(error.message().to_string()))?;
        let config = Config::resolve(config, Vec::new(), Vec::new())?;
        Ok(Self { progress, steps, path: path.into(), config, device, data, version, loss_scales, bytes })
    }

    /// The number of its steps, if it is the newest one and not one before.
    pub(super) fn newest_steps(&self) -> Option<u64> {
        self.path.ends_with(FILE).then_some(self.steps)
    }

    /// The weights of one replica, `len` values.
    ///
    /// # Errors
    /// It holds none, or of another length.
    pub(super) fn weights(&self, replica: usize, len: usize) -> Result<Vec<f64>> {
        let (file, _) = sealed::read(&self.bytes).map_err(|found| self.bad(found))?;
        self.vector(&file, Slot::Live, replica, len)
    }

    fn vector(&self, file: &SafeTensors, slot: Slot, replica: usize, len: usize) -> Result<Vec<f64>> {
        let name = name(slot, replica);
        let view = file.tensor(&name).map_err(|_| self.bad(format!("no vector {name:?}")))?;
        let found = || format!("vector {name:?} of {:?} values, not {len}", view.shape());
        values(&view).filter(|values| values.len() == len).ok_or_else(|| self.bad(found()))
    }

    fn bad(&self, found: String) -> Error {
        Error::weights(&self.path, format!("expected a checkpoint of this run, found {found}"))
    }

    /// Gives `engine` what the checkpoint holds, one for evaluation alone weights and averages. Returns the progress, which knows
    /// no best evaluation where its weights were not kept but now are.
    ///
    /// # Errors
    /// One that was written for another setup; the device is lost.
    pub fn restore(&self, engine: &mut dyn Engine) -> Result<Progress> {
        let setup = engine.setup();
        let (replicas, len, evaluation_only) = (setup.replicas, engine.layout().len, setup.evaluation_only);
        let expected = if setup.is_mixed() { replicas } else { 0 };
        if self.loss_scales.len() != expected && !evaluation_only {
            return Err(self.bad(format!("{} loss scales, not {expected}", self.loss_scales.len())));
        }
        let (file, _) = sealed::read(&self.bytes).map_err(|found| self.bad(found))?;
        let mut progress = self.progress.clone();
        let mut vectors = Vec::new();
        for (slot, r) in places(&engine.slots(), replicas) {
            if slot == Slot::Best && file.tensor(&name(slot, r)).is_err() {
                progress.watch = progress.watch.without_best(progress.epoch);
                continue;
            }
            vectors.push((slot, r, self.vector(&file, slot, r, len)?));
        }
        if !evaluation_only {
            engine.set_loss_scales(&self.loss_scales)?;
        }
        vectors.iter().try_for_each(|(slot, r, values)| engine.upload(*slot, *r, values))?;
        Ok(progress)
    }

    /// The vectors that were kept beside those of the engine, one a replica; none where there are none.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn beside(&self) -> Result<Option<Vec<Vec<f64>>>> {
        let bad =
            |found: String| Error::weights(&self.path, format!("expected a checkpoint of this run, found {found}"));
        let (file, _) = sealed::read(&self.bytes).map_err(bad)?;
        let all = (0..self.config.train.replicas).map(|r| values(&file.tensor(&name(Slot::Scratch(0), r)).ok()?));
        Ok(all.collect())
    }
}

/// A checkpoint that was taken, and is to be written by another thread.
pub(super) struct Taken {
    pub progress: Progress,
    pub steps: u64,
    metadata: Metadata,
    slots: Vec<Slot>,
    replicas: usize,
    precision: Precision,
    capture: Capture,
}

impl Taken {
    /// Takes a checkpoint of what `engine` holds, in `last` the weights of the last step and in `beside` what is not the engine's
    /// own, and of `progress` after so many steps.
    ///
    /// # Errors
    /// The device is lost.
    pub fn take(
        engine: &mut dyn Engine,
        (last, beside): (Slot, Option<Slot>),
        (progress, steps): (&Progress, u64),
        config: &Config,
        data: &str,
    ) -> Result<Self> {
        let slots = [engine.slots(), beside.into_iter().collect()].concat();
        let captured: Vec<Slot> = slots.iter().map(|&slot| if slot == Slot::Live { last } else { slot }).collect();
        let text =
            |result: serde_json::Result<String>| result.map_err(|error| Error::config("checkpoint", error.to_string()));
        let config = toml::to_string(config).map_err(|error| Error::config("config", error.to_string()))?;
        let entries = [
            (PROGRESS, text(serde_json::to_string(progress))?),
            (LOSS_SCALES, text(serde_json::to_string(&engine.loss_scales()?))?),
            (CONFIG, config),
            (DEVICE, engine.describe()),
            (DATA, data.into()),
            (STEPS, steps.to_string()),
        ];
        Ok(Self {
            progress: progress.clone(),
            steps,
            metadata: entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect(),
            slots,
            replicas: engine.setup().replicas,
            precision: engine.setup().precision,
            capture: engine.capture(&captured)?,
        })
    }

    /// Writes the first checkpoint of a run, of its first weights, under the name that it has once there is another.
    ///
    /// # Errors
    /// The device is lost, or the file cannot be written.
    pub fn write_first(self, dir: &Path) -> Result<()> {
        self.write_to(&dir.join(FIRST)).map(drop)
    }

    /// Waits for the vectors and writes them to `dir` as the newest checkpoint; `keep` are kept, with that of so many steps which
    /// was the newest, if one is intact. Returns whether they were written: weights that are not finite take no other's place.
    ///
    /// # Errors
    /// The device is lost, or the file cannot be written; the checkpoint that was the newest still is.
    pub fn write(self, dir: &Path, keep: usize, newest: Option<u64>) -> Result<bool> {
        let path = dir.join(FILE);
        if let Some(steps) = newest.filter(|&steps| keep > 1 && steps != self.steps) {
            keep_older(&path, steps)?;
        }
        let is_written = self.write_to(&path)?;
        older(dir).into_iter().skip(keep.saturating_sub(1)).for_each(|(_, path)| drop(fs::remove_file(path)));
        Ok(is_written)
    }

    fn write_to(self, path: &Path) -> Result<bool> {
        let vectors = (self.capture)()?;
        let places = places(&self.slots, self.replicas);
        let mut live = places.iter().zip(&vectors).filter(|((slot, _), _)| *slot == Slot::Live);
        if !live.all(|(_, bytes)| decode(bytes, self.precision).iter().all(|w| w.is_finite())) {
            return Ok(false);
        }
        let tensor = |((slot, r), bytes): ((Slot, usize), Vec<u8>)| {
            let (dtype, size) = stored(self.precision);
            (name(slot, r), dtype, vec![bytes.len() / size], bytes)
        };
        let tensors: Vec<Named> = places.into_iter().zip(vectors).map(tensor).collect();
        sealed::write(path, tensors, self.metadata)?;
        Ok(true)
    }
}

/// Gives the newest checkpoint, of so many steps, a second name, so that it outlives the next one.
fn keep_older(path: &Path, steps: u64) -> Result<()> {
    let second = path.with_file_name(older_name(steps));
    match fs::remove_file(&second) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(cannot_write(path, error)),
        _ => {}
    }
    // Some file systems know no second names.
    fs::hard_link(path, &second)
        .or_else(|_| fs::copy(path, &second).map(drop))
        .map_err(|error| cannot_write(path, error))
}

fn older_name(steps: u64) -> String {
    format!("checkpoint.{steps}.safetensors")
}

/// Whether a file of this name is a checkpoint's, and which one: none for the newest.
pub(super) fn parse_name(name: &str) -> Option<Option<u64>> {
    let inner = name.strip_prefix("checkpoint")?.strip_suffix("safetensors")?;
    match inner {
        "." => Some(None),
        _ => inner.strip_prefix('.')?.strip_suffix('.')?.parse().ok().map(Some),
    }
}

/// The checkpoints but for the newest, the later ones first, each with its number of steps.
fn older(dir: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut all: Vec<(u64, PathBuf)> =
        entries.filter_map(|entry| Some((parse_name(entry.file_name().to_str()?)??, entry.path()))).collect();
    all.sort_by(|a, b| b.cmp(a));
    all
}

/// The files of all checkpoints, the newest first.
pub(super) fn newest_first(dir: &Path) -> Vec<PathBuf> {
    let newest = Some(dir.join(FILE)).filter(|path| path.exists());
    newest.into_iter().chain(older(dir).into_iter().map(|(_, path)| path)).collect()
}

/// Whether the run in `dir` has a checkpoint.
pub(super) fn exists(dir: &Path) -> bool {
    !newest_first(dir).is_empty()
}

/// The digest of the data, by which a run that goes on knows them again: those of all parts, and the weights of samples.
pub(super) fn digest(dataset: &Dataset) -> String {
    let [channels, height, width] = dataset.shape;
    format!("{channels}x{height}x{width}, {} outputs, {}", dataset.outputs, dataset.digest())
}

/// Every slot of every replica.
fn places(slots: &[Slot], replicas: usize) -> Vec<(Slot, usize)> {
    slots.iter().flat_map(|&slot| (0..replicas).map(move |r| (slot, r))).collect()
}

/// The name of a vector. One of the caller's own has the same name wherever it lay.
fn name(slot: Slot, replica: usize) -> String {
    let slot = if matches!(slot, Slot::Scratch(_)) { "beside".into() } else { slot.name() };
    format!("{slot}/{replica}")
}
