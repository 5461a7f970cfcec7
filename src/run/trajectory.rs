//! The weights of a run on their way: a file of them every so many steps.

use std::fs;
use std::path::{Path, PathBuf};

use super::folder::of_replica;
use super::values::Every;
use super::writer::Writer;
use crate::error::{Error, Result};
use crate::event::Ended;
use crate::export::safetensors;
use crate::train::Trainer;

/// The trajectory of a run, which is written beside its steps.
pub(super) struct Trajectory {
    dir: PathBuf,
    every: Option<Every>,
    /// The number of steps of the last file.
    newest: Option<u64>,
    writer: Writer<()>,
}

impl Trajectory {
    /// A trajectory in `dir` that goes on after so many steps; the files of later ones, which a run that was left has written, are
    /// removed, since they would be of another way if the run goes on elsewhere.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn open(dir: &Path, every: Option<Every>, steps: u64) -> Result<Self> {
        for (_, _, path) in files(dir).into_iter().filter(|(at, ..)| *at > steps) {
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
        Ok(Self { dir: dir.into(), every, newest: None, writer: Writer::new("trajectories") })
    }

    /// The number of steps to the next file.
    pub fn to_next(&self, trainer: &Trainer) -> u64 {
        let to_next = |every: Every| every.to_next(trainer.steps_taken(), trainer.steps_per_epoch());
        self.every.map_or(u64::MAX, to_next)
    }

    /// Begins to write the weights of the last step if they are due, or those of the end of the run; the first are always due.
    ///
    /// # Errors
    /// The file before could not be written; the device is lost.
    pub fn follow(&mut self, trainer: &mut Trainer) -> Result<()> {
        let (steps, per_epoch) = (trainer.steps_taken(), trainer.steps_per_epoch());
        let Some(every) = self.every else { return Ok(()) };
        let is_over = trainer.ended().is_some_and(|ended| ended != Ended::Interrupted);
        if self.newest == Some(steps) || !(is_over || every.is_at(steps, per_epoch)) {
            return Ok(());
        }
        self.wait()?;
        let last = trainer.last_weights();
        let engine = trainer.engine();
        let capture = engine.capture(&[last])?;
        let (layout, precision, replicas) =
            (engine.layout().clone(), engine.setup().precision, engine.setup().replicas);
        let paths: Vec<PathBuf> = (0..replicas).map(|r| file(&self.dir, steps, r, replicas)).collect();
        let first = paths[0].clone();
        let write = move || {
            for (path, bytes) in paths.iter().zip(capture()?) {
                let values = safetensors::decode(&bytes, precision);
                // What is not finite could not be read.
                if values.iter().all(|w| w.is_finite()) {
                    safetensors::write(path, &layout, &values, precision)?;
                }
            }
            Ok(())
        };
        self.newest = Some(steps);
        self.writer.begin(&first, write)
    }

    /// Waits for the file that is being written, if one is.
    ///
    /// # Errors
    /// It could not be written.
    pub fn wait(&mut self) -> Result<()> {
        self.writer.wait().map(drop)
    }
}

/// The files of one replica's weights along the run in `dir` (`train.trajectory_every`), each with its number of steps, in their
/// order; none where none were written.
pub fn trajectory(dir: &Path, replica: usize) -> Vec<(u64, PathBuf)> {
    let mut all = files(dir);
    all.retain(|(_, r, _)| r.unwrap_or(0) == replica);
    all.into_iter().map(|(steps, _, path)| (steps, path)).collect()
}

/// The path of the weights of one replica after so many steps: `trajectory.200.safetensors`, of several replicas
/// `trajectory.200.1.safetensors`.
fn file(dir: &Path, steps: u64, r: usize, replicas: usize) -> PathBuf {
    dir.join(of_replica(&format!("trajectory.{steps}"), r, replicas))
}

/// All files of a trajectory in their order, each with its steps and, where there are several, its replica.
fn files(dir: &Path) -> Vec<(u64, Option<usize>, PathBuf)> {
    let parse = |name: &str| {
        let inner = name.strip_prefix("trajectory.")?.strip_suffix(".safetensors")?;
        match inner.split_once('.') {
            None => Some((inner.parse().ok()?, None)),
            Some((steps, r)) => Some((steps.parse().ok()?, Some(r.parse().ok()?))),
        }
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| Some((parse(entry.file_name().to_str()?)?, entry.path())));
    let mut all: Vec<_> = named.map(|((steps, r), path)| (steps, r, path)).collect();
    all.sort();
    all
}
