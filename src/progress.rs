//! How far a run and its epoch have come, and the weights to come back to.

use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Evaluation, Slot, Step};
use crate::error::Result;
use crate::event::{Ended, Epoch};
use crate::schedule::Memory;
use crate::stop::Watch;

/// The progress of a run, but for what the engine holds; a checkpoint has both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of epochs that are over.
    pub epoch: u64,
    /// The seconds that the steps took, without evaluation.
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
}

/// An epoch that is not over.
pub(crate) struct Underway {
    /// The steps of the epoch, all of them.
    pub steps: Vec<Step>,
    /// The number of steps that the engine has taken.
    pub handed: usize,
    /// The sums over samples of loss and accuracy, of the metrics that have arrived, one a replica.
    pub sums: Vec<Evaluation>,
    /// The seconds that its steps took.
    pub seconds: f64,
    /// Whether an observer has asked for the end.
    pub is_asked: bool,
}

impl Underway {
    /// The report of the steps taken, for the epoch with the number `epoch`, counted from 0.
    pub fn report(&self, epoch: u64) -> Epoch {
        let taken = &self.steps[..self.handed];
        let samples = taken.iter().map(|step| step.rows as f64).sum::<f64>();
        let last = &taken[self.handed - 1];
        let mean = |s: &Evaluation| Evaluation { loss: s.loss / samples, accuracy: s.accuracy / samples };
        Epoch {
            epoch,
            steps: last.index + 1,
            lr: last.rates[0].lr,
            train: self.sums.iter().map(mean).collect(),
            seconds: self.seconds,
            samples_per_second: samples * self.sums.len() as f64 / self.seconds,
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
            let slot =
                if self.good.is_some_and(|(slot, _)| slot == Slot::Copy(0)) { Slot::Copy(1) } else { Slot::Copy(0) };
            engine.copy(Slot::Live, slot)?;
            self.candidate = Some((slot, step));
        }
        Ok(())
    }

    /// Makes the candidate the good copy if it was taken before `step`, whose losses are finite, or earlier.
    pub fn finite(&mut self, step: u64) {
        if self.candidate.is_some_and(|(_, taken)| taken <= step) {
            self.good = self.candidate.take();
        }
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
