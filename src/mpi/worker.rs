//! A rank's part of a step.

use super::exchange;
use super::ranks::Ranks;
use crate::engine::{Engine, Gradient, LossScale, Setup, Slot, Step, StepMetrics};
use crate::error::{Error, Result};
use crate::model::Norm;

/// The smallest loss scale, which an overflow does not halve.
const LEAST_SCALE: f32 = 1.0 / (1 << 24) as f32;

/// A rank with its engine.
pub(super) struct Worker {
    pub engine: Box<dyn Engine>,
    pub ranks: Ranks,
}

/// Refuses a setup whose steps several ranks cannot share.
///
/// # Errors
/// Batch normalisation, an ascent, or mixup, which all need more of a step than its share.
pub fn check(setup: &Setup) -> Result<()> {
    let refused = [
        (setup.model.norm == Norm::Batch, "model.norm", "none or layer, since the statistics of batch normalisation are those of a whole step"),
        (setup.sam.is_some(), "optimizer.sam", "none, since an ascent goes by the gradient of a whole step"),
        (setup.augment.mixup > 0.0, "augment.mixup", "0, since samples are mixed with others of a whole step"),
    ];
    match refused.into_iter().find(|(is_there, ..)| *is_there) {
        Some((_, key, expected)) => Err(Error::config(key, format!("expected {expected}, on several ranks; found another"))),
        None => Ok(()),
    }
}

impl Worker {
    /// Takes steps together with all other ranks; returns their metrics, which rank 0 alone knows whole.
    ///
    /// # Errors
    /// What the engine meets; the others wait for this rank then.
    pub fn run(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>> {
        let mut metrics = Vec::with_capacity(steps.len() * self.engine.setup().replicas);
        for step in steps {
            metrics.extend(self.step(step)?);
        }
        let own: Vec<f64> = metrics.iter().flat_map(|m| [m.loss, m.correct as f64]).collect();
        let all = self.ranks.all_gather(&own);
        for (i, metrics) in metrics.iter_mut().enumerate() {
            metrics.loss = all.iter().map(|of_rank| of_rank[2 * i]).sum();
            metrics.correct = all.iter().map(|of_rank| of_rank[2 * i + 1] as u64).sum();
        }
        Ok(metrics)
    }

    /// Takes one step; returns what its metrics have of this rank's share.
    fn step(&mut self, step: &Step) -> Result<Vec<StepMetrics>> {
        let share = self.ranks.share(step.first..step.first + step.rows);
        let before = self.engine.loss_scales()?;
        let has_share = !share.is_empty();
        let mut metrics = if has_share {
            self.engine.gradient(&Step { share: Some(share), ..step.clone() }, Gradient::OfStep)?
        } else {
            self.nothing(step, &before)
        };
        let is_skipped = self.agree(has_share, &before)?;
        let (len, precision) = (self.engine.layout().len, self.engine.setup().precision);
        for r in 0..metrics.len() {
            let mut values = if has_share { self.engine.download(Slot::Gradient, r)? } else { vec![0.0; len] };
            exchange::sum(&self.ranks, precision, &mut values);
            self.engine.upload(Slot::Gradient, r, &values)?;
        }
        self.engine.skip_updates(&is_skipped)?;
        if self.engine.setup().clip_norm.is_some() && self.ranks.rank == 0 {
            let norms = self.engine.norm(Slot::Gradient)?;
            for (metrics, norm) in metrics.iter_mut().zip(norms) {
                metrics.grad_norm = Some(norm).filter(|_| is_skipped.get(metrics.replica) != Some(&true));
            }
        }
        self.engine.update(step)?;
        Ok(metrics)
    }

    /// The metrics of a share without samples.
    fn nothing(&self, step: &Step, scales: &[LossScale]) -> Vec<StepMetrics> {
        let scale = |r: usize| scales.get(r).map(|scale| f64::from(scale.next));
        let of = |r| StepMetrics { step: step.index, replica: r, loss_scale: scale(r), ..StepMetrics::default() };
        (0..self.engine.setup().replicas).map(of).collect()
    }

    /// Gives all ranks the loss scales that the step leaves, of which there were `before`; returns whether the gradient of any
    /// rank overflowed, one entry a replica. A full precision has no entries.
    fn agree(&mut self, has_share: bool, before: &[LossScale]) -> Result<Vec<bool>> {
        if before.is_empty() {
            return Ok(Vec::new());
        }
        let own = self.engine.loss_scales()?;
        let pair = |s: &LossScale| [if has_share { f64::from(s.next) } else { f64::INFINITY }, f64::from(s.steps)];
        let all = self.ranks.all_gather(&own.iter().flat_map(pair).collect::<Vec<f64>>());
        // An overflow leaves less than what all others have.
        let least = |r: usize| {
            let of_ranks = all.iter().map(|of_rank| (of_rank[2 * r], of_rank[2 * r + 1]));
            let (next, steps) = of_ranks.fold((f64::INFINITY, 0.0), |a, b| if b < a { b } else { a });
            LossScale { next: next as f32, steps: steps as u32 }
        };
        let scales: Vec<LossScale> = (0..own.len()).map(least).collect();
        if scales != own {
            self.engine.set_loss_scales(&scales)?;
        }
        let is_skipped = |(scale, before): (&LossScale, &LossScale)| {
            scale.next < before.next || scale.next == before.next && scale.next <= LEAST_SCALE && scale.steps == 0
        };
        Ok(scales.iter().zip(before).map(is_skipped).collect())
    }
}
