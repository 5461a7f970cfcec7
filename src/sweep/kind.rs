//! Which members of a sweep may share an engine.

use super::member::Member;
use crate::engine::{Precision, Setup};
use crate::error::{Error, Result};
use crate::run::{Config, Loaded};

/// A member with all that its training needs but the data.
pub(super) struct Task {
    pub member: Member,
    pub config: Config,
}

/// Members that share an engine: what decides data, shapes and kernels is the same for all.
pub(super) struct Kind {
    pub tasks: Vec<Task>,
    pub setups: Vec<Setup>,
}

impl Kind {
    /// The same members in parts of at most so many.
    pub fn cut(mut self, most: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        while self.tasks.len() > most {
            let (tasks, setups) = (self.tasks.split_off(most), self.setups.split_off(most));
            parts.push(std::mem::replace(&mut self, Self { tasks, setups }));
        }
        parts.push(self);
        parts
    }
}

/// The tasks of `members` over the configuration `base`, those of one data set together.
///
/// # Errors
/// The first member whose settings do not go together, or that no sweep can train.
pub(super) fn tasks(members: Vec<Member>, base: &Config) -> Result<Vec<Vec<Task>>> {
    let mut by_data: Vec<Vec<Task>> = Vec::new();
    for member in members {
        let config = member.config(base)?;
        check(&config)?;
        match by_data.iter_mut().find(|tasks| has_same_data(&config, &tasks[0].config)) {
            Some(tasks) => tasks.push(Task { member, config }),
            None => by_data.push(vec![Task { member, config }]),
        }
    }
    Ok(by_data)
}

/// Whether two configurations load the same data.
pub(super) fn has_same_data(a: &Config, b: &Config) -> bool {
    let sources = |config: &Config| (config.data.clone(), config.model.loss, config.model.init_from.clone());
    sources(a) == sources(b)
}

/// Refuses what runs on a shared engine cannot do.
fn check(config: &Config) -> Result<()> {
    let train = &config.train;
    let refused = [
        ("train.replicas", train.replicas != 1, "1, since every member is a training of its own; --seeds N trains N"),
        ("train.curvature_every", train.curvature_every.is_some(), "none in a sweep"),
        ("stop.seconds", config.stop.seconds.is_some(), "none in a sweep, whose members share their time"),
        ("train.tensorboard", train.tensorboard, "none in a sweep; train a member by itself for them"),
    ];
    match refused.into_iter().find(|(_, is_asked, _)| *is_asked) {
        Some((key, _, expected)) => Err(Error::config(key, format!("expected {expected}, found one"))),
        None => Ok(()),
    }
}

/// The kinds of tasks that have one data set, in the order of their first members.
///
/// # Errors
/// The first member whose settings do not go with each other or with the data.
pub(super) fn kinds(tasks: Vec<Task>, loaded: &Loaded) -> Result<Vec<Kind>> {
    let mut kinds: Vec<Kind> = Vec::new();
    for task in tasks {
        let setup = task.config.setup(loaded.dataset.clone())?;
        let largest = if setup.precision == Precision::F64 { f64::MAX } else { f64::from(f32::MAX) };
        setup.check(largest).and_then(|()| task.config.plan().check(&setup).map(drop)).map_err(
            |error| match error {
                Error::Config { key, message } => {
                    Error::config(key, format!("{message}; in member {} ({})", task.member.number, task.member.words()))
                }
                error => error,
            },
        )?;
        let is_alike = |kind: &&mut Kind| {
            let place = |config: &Config| (config.train.device.clone(), config.train.memory, config.train.tune);
            kind.setups[0].difference(&setup).is_none() && place(&kind.tasks[0].config) == place(&task.config)
        };
        match kinds.iter_mut().find(is_alike) {
            Some(kind) => {
                kind.tasks.push(task);
                kind.setups.push(setup);
            }
            None => kinds.push(Kind { tasks: vec![task], setups: vec![setup] }),
        }
    }
    Ok(kinds)
}
