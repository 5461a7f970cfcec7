//! The folder of a run: which files it has, and how they are written.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::checkpoint::{self, Taken};
use super::config::Config;
use super::data::{self, ENCODING, NORMALIZATION};
use super::lock::{self, Lock};
use crate::data::Dataset;
use crate::disk::{read_sealed, remove_parts, seal_lines, write_whole};
use crate::engine::{Engine, Slot};
use crate::error::{Error, Result};
use crate::export::{event_seconds, safetensors};

pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const EPOCHS: &str = "epochs.jsonl";
pub(super) const EVALUATIONS: &str = "evaluations.jsonl";
const CONFIG: &str = "config.toml";
const SUMMARY: &str = "summary.json";
/// The picture that the program draws of a run whose curvature was measured.
const CURVATURE: &str = "curvature.svg";
/// What the name of a folder for the events of one replica begins with.
const REPLICA: &str = "replica.";
/// The page that the program makes of a run.
const REPORT: &str = "report.html";

/// The files that a run writes beside its weights.
const FILES: [&str; 9] = [CONFIG, NORMALIZATION, ENCODING, METRICS, EPOCHS, EVALUATIONS, SUMMARY, CURVATURE, REPORT];

/// Those that it writes before the one with which it has begun.
const TRACES: [&str; 5] = [NORMALIZATION, ENCODING, METRICS, EPOCHS, checkpoint::FIRST];

/// The place of a run's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// The first free folder of `runs/1`, `runs/2`, ...
    #[default]
    Next,
    /// This folder, which holds no run yet.
    New(PathBuf),
    /// This folder; the run that it holds is replaced.
    Replace(PathBuf),
    /// The folder of a run which goes on from its last checkpoint.
    Resume(PathBuf),
}

impl Place {
    /// Refuses a folder that holds a run which is not to be replaced.
    ///
    /// # Errors
    /// A folder that holds such a run, or a file in its place.
    pub(super) fn check(&self) -> Result<()> {
        let (Self::New(dir) | Self::Replace(dir)) = self else { return Ok(()) };
        if dir.exists() && !dir.is_dir() {
            return Err(Error::config("--run", format!("expected a folder, found a file at {}", dir.display())));
        }
        let files = run_files(dir);
        // What is written before the configuration is no run yet, but the trace of one that was killed as it began.
        let is_trace = files.iter().all(|path| path.file_name().is_some_and(|name| TRACES.iter().any(|&t| t == name)));
        match files.first() {
            Some(file) if matches!(self, Self::New(_)) && !is_trace => Err(Error::config(
                "--run",
                format!("expected a folder without a run, found {}; --overwrite replaces it", file.display()),
            )),
            _ => Ok(()),
        }
    }

    /// Makes the folder, or takes the one that is there, without the run that it held, and locks it.
    ///
    /// # Errors
    /// It cannot be made or emptied, or another process writes a run to it.
    pub(super) fn make(&self) -> Result<(PathBuf, Lock)> {
        let dir = match self {
            Self::Next => free_dir(Path::new("runs"))?,
            Self::New(dir) | Self::Replace(dir) | Self::Resume(dir) => {
                fs::create_dir_all(dir).map_err(Error::io(dir))?;
                dir.clone()
            }
        };
        let lock = Lock::take(&dir)?;
        // Another process may have begun a run since it was looked.
        self.check()?;
        remove_parts(&dir);
        run_files(&dir).iter().try_for_each(|path| fs::remove_file(path).map_err(Error::io(path)))?;
        // One that holds something else stays.
        replica_dirs(&dir).iter().for_each(|dir| drop(fs::remove_dir(dir)));
        Ok((dir, lock))
    }
}

/// Makes the first of `1`, `2`, ... in `runs` that is not there, so that two that start together get one each.
///
/// # Errors
/// It cannot be made.
pub(crate) fn free_dir(runs: &Path) -> Result<PathBuf> {
    fs::create_dir_all(runs).map_err(Error::io(runs))?;
    for i in 1u64.. {
        let dir = runs.join(i.to_string());
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => return result.map_err(Error::io(&dir)).map(|()| dir),
        }
    }
    Err(Error::config("--run", format!("expected a number that is free in {}, found none", runs.display())))
}

/// Whether a run writes weights under this name.
fn has_weights(name: &str) -> bool {
    let inner = name.strip_prefix("weights").or_else(|| name.strip_prefix("trajectory"));
    let inner = inner.and_then(|name| name.strip_suffix(".safetensors"));
    inner.is_some_and(|inner| {
        let mut parts = inner.split('.');
        parts.next() == Some("")
            && parts.all(|part| matches!(part, "swa" | "ema" | "best" | "snapshot") || part.parse::<usize>().is_ok())
    })
}

/// Whether a run writes a checkpoint under this name.
fn is_checkpoint(name: &str) -> bool {
    checkpoint::parse_name(name).is_some()
}

/// Removes the checkpoints of the run in `dir`, which does not go on.
///
/// # Errors
/// A file cannot be removed.
pub(crate) fn forget_checkpoints(dir: &Path) -> Result<()> {
    paths(dir, is_checkpoint).iter().try_for_each(|path| fs::remove_file(path).map_err(Error::io(path)))
}

/// Removes the weights of the run in `dir`.
///
/// # Errors
/// A file cannot be removed.
pub(crate) fn forget_weights(dir: &Path) -> Result<()> {
    paths(dir, has_weights).iter().try_for_each(|path| fs::remove_file(path).map_err(Error::io(path)))
}

/// The files of a run that lie in `dir`.
fn run_files(dir: &Path) -> Vec<PathBuf> {
    let is_events = |name: &str| event_seconds(name).is_some();
    let mut files =
        paths(dir, |name| FILES.contains(&name) || has_weights(name) || is_checkpoint(name) || is_events(name));
    files.extend(replica_dirs(dir).iter().flat_map(|dir| paths(dir, is_events)));
    files
}

/// The folders in `dir` that hold the events of one replica each.
fn replica_dirs(dir: &Path) -> Vec<PathBuf> {
    let is_replica = |name: &str| name.strip_prefix(REPLICA).is_some_and(|r| r.parse::<usize>().is_ok());
    paths(dir, is_replica)
}

/// The folder for the events of one replica of several.
#[cfg(feature = "report")]
pub(super) fn replica_dir(dir: &Path, r: usize) -> PathBuf {
    dir.join(format!("{REPLICA}{r}"))
}

/// What lies in `dir` under such names.
fn paths(dir: &Path, is_such: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_str().is_some_and(&is_such)).map(|entry| entry.path()).collect()
}

/// Writes what is known before the first step, with the first checkpoint if there is to be one; a folder in which that fails is
/// left without a run.
///
/// # Errors
/// A file cannot be written.
pub(super) fn begin(dir: &Path, config: &Config, dataset: &Dataset, first: Option<Taken>) -> Result<()> {
    let write = || -> Result<()> {
        data::write(dir, dataset)?;
        first.map_or(Ok(()), |first| first.write_first(dir))?;
        [METRICS, EPOCHS].iter().try_for_each(|name| {
            let path = dir.join(name);
            File::create(&path).map(drop).map_err(Error::io(&path))
        })?;
        // With it the run has begun.
        write_config(dir, config)
    };
    write().inspect_err(|_| {
        // That the rest of a failed start cannot be removed either is less telling than why it failed.
        run_files(dir).iter().chain([&dir.join(lock::FILE)]).for_each(|path| drop(fs::remove_file(path)));
        let _ = fs::remove_dir(dir);
    })
}

/// Opens the folder of a run that goes on: it has another configuration, and no summary until it has ended again.
///
/// # Errors
/// A file cannot be written or removed.
pub(super) fn reopen(dir: &Path, config: &Config, dataset: &Dataset) -> Result<()> {
    remove_parts(dir);
    data::write(dir, dataset)?;
    write_config(dir, config)?;
    let path = dir.join(SUMMARY);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&path)(error)),
        _ => Ok(()),
    }
}

/// Whether `dir` is the folder of a run that has begun.
pub(super) fn is_run(dir: &Path) -> bool {
    dir.join(CONFIG).exists()
}

/// Whether the run in `dir` was interrupted, or goes on: it has a checkpoint, and has not come to its end.
pub fn is_interrupted(dir: &Path) -> bool {
    checkpoint::exists(dir) && !has_ended(dir)
}

/// Whether the run in `dir` has come to its end, and has written it.
pub(crate) fn has_ended(dir: &Path) -> bool {
    dir.join(SUMMARY).exists()
}

/// Writes the resolved configuration.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_config(dir: &Path, config: &Config) -> Result<()> {
    let text = toml::to_string(config).map_err(|error| Error::config("config", error.to_string()))?;
    write_whole(&dir.join(CONFIG), seal_lines(&text).as_bytes())
}

/// The tables of the configuration of the run in `dir`, as the run wrote them.
///
/// # Errors
/// The file is missing, damaged or altered.
pub fn read_config(dir: &Path) -> Result<toml::Table> {
    let path = config_path(dir)?;
    let text = read_sealed(&path)?;
    super::parse_table(&path, &text)
}

/// The tables of the configuration of the run in `dir`, as they may have been edited since; whether a run goes on with them, its
/// checkpoint says.
///
/// # Errors
/// The file is missing, or no TOML.
pub fn read_edited_config(dir: &Path) -> Result<toml::Table> {
    super::read_table(&config_path(dir)?)
}

fn config_path(dir: &Path) -> Result<PathBuf> {
    let path = dir.join(CONFIG);
    if path.exists() {
        return Ok(path);
    }
    Err(Error::data(dir, format!("expected the folder of a run, found no {CONFIG} in it")))
}

/// The summary of the run in `dir`; none if the run is unfinished.
///
/// # Errors
/// The file cannot be read, or holds something else than an object.
pub fn read_summary(dir: &Path) -> Result<Option<serde_json::Map<String, Value>>> {
    let path = dir.join(SUMMARY);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::data(&path, format!("expected an object: {error}")))
}

/// Writes the weights of all replicas and those of `means`. Means that are not finite, as those of a diverged run may be, are
/// left out.
///
/// # Errors
/// A file cannot be written, or the device is lost.
pub(super) fn write_weights(dir: &Path, engine: &mut dyn Engine, means: &[(&str, Vec<Slot>)]) -> Result<()> {
    let (replicas, precision) = (engine.setup().replicas, engine.setup().precision);
    for slot in means.iter().flat_map(|(_, slots)| slots).chain(&[Slot::Live]) {
        for r in 0..replicas {
            let values = engine.download(*slot, r)?;
            let path = weight_file(dir, *slot, r, replicas);
            if values.iter().all(|w| w.is_finite()) {
                safetensors::write(&path, engine.layout(), &values, precision)?;
            } else if path.exists() {
                fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
    }
    Ok(())
}

/// Writes the summary, with which the run has come to its end.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_summary(dir: &Path, summary: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(summary).unwrap_or_default() + "\n";
    write_whole(&dir.join(SUMMARY), text.as_bytes())
}

/// The path of one replica's weights in `slot`: `weights.safetensors`, `weights.0.safetensors`,
/// `weights.swa.safetensors`, `weights.snapshot.3.0.safetensors`; the last number is the replica's, where there are
/// several.
pub fn weight_file(dir: &Path, slot: Slot, r: usize, replicas: usize) -> PathBuf {
    let slot = if slot == Slot::Live { String::new() } else { format!(".{}", slot.name()) };
    dir.join(of_replica(&format!("weights{slot}"), r, replicas))
}

/// The name of one replica's file of weights: where there are several, the replica's number comes last.
pub(super) fn of_replica(name: &str, r: usize, replicas: usize) -> String {
    let replica = if replicas == 1 { String::new() } else { format!(".{r}") };
    format!("{name}{replica}.safetensors")
}
