//! A run that goes on: what of it is there, what may be another now, and what becomes of its progress then.

use std::path::Path;

use super::checkpoint::Checkpoint;
use super::config::Config;
use super::folder;
use super::lock::Lock;
use crate::engine::{Engine, Setup};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::stop::Watch;

/// A run that goes on.
pub(super) struct Resumed {
    /// The lock of its folder.
    pub lock: Lock,
    /// The newest intact checkpoint.
    pub checkpoint: Checkpoint,
}

impl Resumed {
    /// Opens the run in `dir`, which is to go on with `config`, and fills in there what the data and the adapter decided when the
    /// run began.
    ///
    /// # Errors
    /// No such run, or one that another process trains; no checkpoint, or only damaged ones; a configuration that differs where
    /// it may not, or whose file is not as the run wrote it.
    pub fn open(dir: &Path, config: &mut Config, warnings: &mut Vec<String>) -> Result<Self> {
        folder::read_edited_config(dir)?;
        let lock = Lock::take(dir)?;
        let Some(checkpoint) = Checkpoint::newest(dir, warnings)? else {
            let found =
                "expected the checkpoint of a run (train.checkpoint_every), found none; its config.toml begins it anew";
            return Err(Error::data(dir, found));
        };
        // What the file of the configuration says may have been edited.
        let own = &checkpoint.config;
        config.data.classes = config.data.classes.or(own.data.classes);
        config.train.batch = config.train.batch.or(own.train.batch);
        config.model.loss = config.model.loss.or(own.model.loss);
        config.check_resumes(own)?;
        // What may be another now, flags say.
        folder::read_config(dir)?;
        config.forms.clone_from(&own.forms);
        Ok(Self { lock, checkpoint })
    }
}

/// What differs between the run as it was and as it goes on, and may make other bits, a line each.
///
/// # Errors
/// Other data, whose digest is `data`.
pub(super) fn differences(checkpoint: &Checkpoint, data: &str, engine: &dyn Engine) -> Result<Vec<String>> {
    if checkpoint.data != data {
        let found = format!("expected {}, as the run has, found {data}", checkpoint.data);
        return Err(Error::data(
            &engine.setup().dataset.name,
            found + "; --init-from starts a new run from its weights",
        ));
    }
    let (device, version) = (engine.describe(), env!("CARGO_PKG_VERSION"));
    let mut lines = Vec::new();
    if checkpoint.device != device {
        lines.push(format!(
            "the run was on {} before, and its numbers may be rounded differently from now on",
            checkpoint.device
        ));
    }
    if checkpoint.version != version {
        lines.push(format!("the run was begun by thalweg {}, and this is {version}", checkpoint.version));
    }
    Ok(lines)
}

/// Fits the progress of a run with the configuration `own` to `config`, with which it goes on. One that ended early goes on if
/// `[stop]` is another now, and one whose end was not written down (not `has_ended`) has that to do.
///
/// # Errors
/// A run that has nothing left to do; another number of epochs, where the schedule or the averages depend on it.
pub(super) fn fit(
    progress: &mut Progress,
    config: &Config,
    own: &Config,
    setup: &Setup,
    has_ended: bool,
) -> Result<()> {
    if config.stop != own.stop {
        progress.ended = None;
    }
    if let Some(ended) = progress.ended.filter(|_| has_ended) {
        let found = format!("expected a run that goes on, found one that ended {}", ended.describe());
        return Err(Error::config("--resume", found));
    }
    let (epochs, done) = (config.train.epochs, progress.epoch);
    if epochs < done || epochs == done && has_ended {
        let found = format!("expected more than the {done} that the run has, found {epochs}");
        return Err(Error::config("train.epochs", found));
    }
    let metric = progress.watch.metric.unwrap_or(own.stop.metric);
    if metric != config.stop.metric {
        progress.watch = Watch { from: done, ..Watch::default() };
    }
    check_schedule(progress, config, own, setup)
}

/// Refuses another number of epochs, where rates or samples that the run has had or planned would be others, unless
/// `schedule.epochs` says what is meant; finds out what the averages have sampled.
fn check_schedule(progress: &mut Progress, config: &Config, own: &Config, setup: &Setup) -> Result<()> {
    let (old, new) = (own.plan(), config.plan());
    let at = progress.steps(new.steps_per_epoch(setup));
    let sampler = new.check(setup)?;
    let taken = match progress.taken {
        Some(taken) => taken,
        None => old.check(setup)?.taken(at),
    };
    progress.taken = Some(taken);
    let is_chosen = config.schedule.epochs.is_some() && config.schedule.epochs != own.schedule.epochs;
    if is_chosen || old.schedule_steps(setup) == new.schedule_steps(setup) {
        return Ok(());
    }
    let what = if let Some(step) = other_rate(&old, &new, setup, progress, at) {
        let memory = &progress.memories[0];
        // A run that is over goes on from its last rate.
        let before = old.rate(setup, step.min(old.total_steps(setup) - 1), memory).lr;
        let after = new.rate(setup, step, memory).lr;
        format!("the learning rate at step {step} would go from {before:.6e} to {after:.6e}")
    } else if sampler.taken(at) != taken {
        "averages were sampled where the schedule would no longer have its minima".to_string()
    } else {
        return Ok(());
    };
    let (own, found) = (own.schedule.epochs.unwrap_or(own.train.epochs), config.train.epochs);
    let choices =
        format!("--schedule-epochs {own} keeps its course and then its last rate, --schedule-epochs {found} moves it");
    Err(Error::config(
        "train.epochs",
        format!("expected {own}, for which the schedule is made, found {found}: {what}; {choices}"),
    ))
}

/// The step at which two plans differ in a rate, if they do: where the run goes on, or else at the last step that both have.
/// Schedules that depend on the length of the run differ there, and those that do not differ nowhere.
fn other_rate(old: &Plan, new: &Plan, setup: &Setup, progress: &Progress, at: u64) -> Option<u64> {
    let last = old.total_steps(setup).min(new.total_steps(setup)) - 1;
    let is_other = |&step: &u64| {
        progress.memories.iter().any(|memory| old.rate(setup, step, memory) != new.rate(setup, step, memory))
    };
    [at, last].into_iter().find(is_other)
}
