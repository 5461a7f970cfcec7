//! The largest eigenvalue of the Hessian on a run's way.

use super::checkpoint::Checkpoint;
use super::config::TrainConfig;
use super::values::Every;
use crate::engine::Slot;
use crate::error::Result;
use crate::event::{CurvatureReport, Event, Observer};
use crate::explore::curvature::TopEigenvalue;
use crate::train::Trainer;

/// The training samples over which it is measured, unless told otherwise.
const SAMPLES: usize = 1000;

/// What measures the largest eigenvalue of a run every so many steps (`train.curvature_every`).
pub(super) struct Eigenvalue {
    every: Every,
    top: TopEigenvalue,
    /// The step before which it was measured last.
    measured: Option<u64>,
}

impl Eigenvalue {
    /// What measures it for `trainer`, if the run asks for that.
    ///
    /// # Errors
    /// Too little memory.
    pub fn begin(trainer: &mut Trainer, config: &TrainConfig) -> Result<Option<Self>> {
        let Some(every) = config.curvature_every else { return Ok(None) };
        let samples = config.curvature_samples.unwrap_or(SAMPLES);
        let top = TopEigenvalue::new(trainer.engine(), samples, config.seed)?;
        Ok(Some(Self { every, top, measured: None }))
    }

    /// Has the next search begin as it would have in the run of the checkpoint, if it was measured there.
    ///
    /// # Errors
    /// The checkpoint is damaged, or of another setup.
    pub fn go_on(&self, trainer: &mut Trainer, checkpoint: &Checkpoint) -> Result<()> {
        let vectors = checkpoint.beside()?.unwrap_or_default();
        let mut each = vectors.iter().enumerate();
        each.try_for_each(|(r, values)| trainer.engine().upload(self.top.found(), r, values))
    }

    /// The number of steps to the next measurement.
    pub fn to_next(&self, trainer: &Trainer) -> u64 {
        self.every.to_next(trainer.steps_taken(), trainer.steps_per_epoch())
    }

    /// Measures it if that is due before the next step, and tells the observer. That comes after the checkpoint at this step, if
    /// there is one: a run that goes on from there measures it again.
    ///
    /// # Errors
    /// The device is lost; what the observer meets.
    pub fn follow(&mut self, trainer: &mut Trainer, observer: &mut dyn Observer) -> Result<()> {
        let step = trainer.steps_taken();
        if self.measured == Some(step) || !self.every.is_at(step, trainer.steps_per_epoch()) {
            return Ok(());
        }
        trainer.begin(observer)?;
        let largest = self.top.measure(trainer.engine())?;
        trainer.restore_order();
        self.measured = Some(step);
        let report = CurvatureReport { step, epoch: trainer.progress().epoch, largest: &largest };
        let answer = observer.on(&Event::Curvature(&report))?;
        trainer.ask(answer);
        Ok(())
    }

    /// The vector that a checkpoint after so many steps keeps: what the next search began with, where it was made already.
    pub fn kept(&self, steps: u64) -> Slot {
        if self.measured == Some(steps) { self.top.begun() } else { self.top.found() }
    }
}
