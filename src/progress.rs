//! How far a run and its epoch have come, and the weights to come back to.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::average::Taken;
use crate::engine::{Engine, Evaluation, Slot, Step, StepMetrics};
use crate::error::Result;
use crate::event::{Ended, Epoch};
use crate::schedule::Memory;
use crate::stop::Watch;

/// The progress of a run, but for what the engine holds; a checkpoint has both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of epochs that are over.
    pub epoch: u64,
    /// The part of the next epoch that is over; nothing between two epochs.
    pub within: Within,
    /// The seconds that the steps of these epochs took, without evaluation.
    pub seconds: f64,
    /// The highest learning rate so far, over all replicas.
    pub peak_lr: f64,
    /// The memory of a plateau, one a replica.
    pub memories: Vec<Memory>,
    /// The reason for which the run ended, if it did and not merely for want of epochs or time, on request or by
    /// divergence.
    pub ended: Option<Ended>,
    /// The history of the metric of [`Stop`](crate::stop::Stop).
    pub watch: Watch,
    /// What was measured in training since the last evaluation, where these are counted in steps.
    pub window: Sums,
    /// The numbers of samples that averages have taken; nothing before the first step.
    pub taken: Option<Taken>,
}

/// A position within an epoch: what its steps so far have come to. The epoch's order is redrawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Within {
    /// The number of steps that the engine has taken.
    pub steps: u64,
    /// The sums of their metrics, as far as these have arrived.
    pub sums: Sums,
    /// The seconds that they took.
    pub seconds: f64,
    /// Whether the evaluation that is due after the last of them, where evaluations are counted in steps, was made.
    pub is_evaluated: bool,
}

/// The sums over samples of what was measured in training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// The number of samples, of one replica.
    samples: f64,
    /// The sums of the losses, one a replica.
    losses: Vec<f64>,
    /// The numbers of samples that were classified as they should be, one a replica.
    correct: Vec<f64>,
}

impl Sums {
    /// Adds the metrics of a step of `rows` samples, one entry a replica.
    pub(crate) fn add(&mut self, rows: usize, replicas: &[StepMetrics]) {
        self.samples += rows as f64;
        self.losses.resize(replicas.len(), 0.0);
        self.correct.resize(replicas.len(), 0.0);
        for ((loss, correct), m) in self.losses.iter_mut().zip(&mut self.correct).zip(replicas) {
            *loss += m.loss * rows as f64;
            *correct += m.correct as f64;
        }
    }

    /// The means over the samples, one entry a replica; none before the first step.
    pub(crate) fn means(&self) -> Vec<Evaluation> {
        let mean =
            |(loss, correct): (&f64, &f64)| Evaluation { loss: loss / self.samples, accuracy: correct / self.samples };
        self.losses.iter().zip(&self.correct).map(mean).collect()
    }
}

/// What the loop knows of the epoch under way beside [`Within`].
#[derive(Default)]
pub(crate) struct Underway {
    /// The steps that the engine has, and whose metrics have not arrived.
    pub pending: VecDeque<Step>,
    /// The last step that the engine was given.
    pub last: Step,
    /// The report of the last evaluation, if no step was taken since.
    pub evaluated: Option<Epoch>,
    /// Whether the engine has the epoch's order.
    pub has_order: bool,
}

impl Progress {
    /// The number of updates made so far, in epochs of `per_epoch` steps.
    pub(crate) fn steps(&self, per_epoch: u64) -> u64 {
        self.epoch * per_epoch + self.within.steps
    }

    /// The report of the epoch under way, of which `last` was the last step and the metrics of all steps have arrived.
    pub(crate) fn report(&self, last: &Step) -> Epoch {
        let Within { sums, seconds, .. } = &self.within;
        let train = sums.means();
        Epoch {
            epoch: self.epoch,
            steps: last.index + 1,
            lr: last.rates[0].lr,
            seconds: *seconds,
            samples_per_second: sums.samples * train.len() as f64 / seconds,
            train,
            ..Epoch::default()
        }
    }
}

/// The weights to come back to when the loss stops being finite: copies on the device, with the step before which each
/// was taken. A copy is good once the loss of that step has arrived and is finite.
#[derive(Default)]
pub(crate) struct LastGood {
    good: Option<(Slot, u64)>,
    candidate: Option<(Slot, u64)>,
}

impl LastGood {
    /// Takes a copy before `step` is handed to the engine, unless one is still undecided.
    pub fn before(&mut self, engine: &mut dyn Engine, step: u64) -> Result<()> {
        if self.candidate.is_none() {
            let slot = self.spare();
            engine.copy(Slot::Live, slot)?;
            self.candidate = Some((slot, step));
        }
        Ok(())
    }

    /// The slot of a copy that is not the good one.
    pub fn spare(&self) -> Slot {
        if self.good.is_some_and(|(slot, _)| slot == Slot::Copy(0)) { Slot::Copy(1) } else { Slot::Copy(0) }
    }

    /// Makes the candidate the good copy if it was taken before `step`, whose losses are finite, or earlier.
    pub fn finite(&mut self, step: u64) {
        if self.candidate.is_some_and(|(_, taken)| taken <= step) {
            self.good = self.candidate.take();
        }
    }

    /// Whether the loss of some weights was found to be finite.
    pub fn is_proved(&self) -> bool {
        self.good.is_some()
    }

    /// Copies the last good weights back; returns the step before which they were taken.
    pub fn restore(&self, engine: &mut dyn Engine) -> Result<u64> {
        match self.good.or(self.candidate) {
            Some((slot, step)) => {
                engine.copy(slot, Slot::Live)?;
                Ok(step)
            }
            None => Ok(0),
        }
    }
}
