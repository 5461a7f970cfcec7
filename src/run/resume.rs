//! What may change when a run goes on, and what becomes of its progress then.

use super::config::Config;
use crate::engine::Setup;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::stop::Watch;

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
    let at = progress.epoch * new.steps_per_epoch(setup);
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
