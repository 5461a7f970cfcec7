//! A rank's part of the steps.

use std::sync::Arc;

use super::exchange::{SumOfRanks, mean, sum};
use super::ranks::Ranks;
use super::sharing::Sharing;
use crate::engine::{Engine, Gradient, LossScale, Slot, Step, StepMetrics};
use crate::error::{Error, Result};
use crate::model::Norm;

/// The smallest loss scale, which an overflow does not halve.
const LEAST_SCALE: f32 = 1.0 / (1 << 24) as f32;

/// A rank with its engine.
pub(super) struct Worker {
    pub engine: Box<dyn Engine>,
    pub ranks: Ranks,
    sharing: Sharing,
    /// The epoch whose order the engine has, where that is the rank's own.
    epoch: Option<u64>,
}

impl Worker {
    /// A worker with this engine.
    ///
    /// # Errors
    /// Batch normalisation that the engine cannot make of the steps that the ranks share.
    pub fn new(mut engine: Box<dyn Engine>, ranks: Ranks, sharing: Sharing) -> Result<Self> {
        let is_across = sharing.shares_steps() && engine.setup().model.norm == Norm::Batch;
        if is_across && !engine.normalize_across(Arc::new(SumOfRanks(ranks))) {
            let found = format!("found {} and {} replica(s)", engine.describe(), engine.setup().replicas);
            let expected =
                "expected none or layer, or one replica on the CPU engine, whose batch normalisation goes over ranks";
            return Err(Error::config("model.norm", format!("{expected}; {found}")));
        }
        Ok(Self { engine, ranks, sharing, epoch: None })
    }

    /// The number of steps that are worth handing over at once; where means are made every so many, some of these.
    pub fn steps_at_once(&self) -> usize {
        let most = self.engine.steps_at_once();
        match self.sharing {
            Sharing::Local { every, .. } => (most as u64 / every).max(1).saturating_mul(every) as usize,
            Sharing::Data | Sharing::Alone { .. } => most,
        }
    }

    /// Takes steps with all other ranks; returns their metrics, which are whole on every rank.
    ///
    /// # Errors
    /// What the engine meets; the others wait for this rank then.
    pub fn run(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>> {
        match self.sharing {
            Sharing::Data => self.together(steps),
            Sharing::Local { from, every } => {
                let (before, apart) = steps.split_at(steps.partition_point(|step| step.index < from));
                let mut metrics = self.together(before)?;
                for steps in apart.chunks(every as usize) {
                    metrics.extend(self.apart(steps)?);
                }
                Ok(metrics)
            }
            Sharing::Alone { .. } => self.alone(steps),
        }
    }

    /// Takes steps whose gradient is the sum of those of all ranks.
    fn together(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>> {
        let mut metrics = Vec::with_capacity(steps.len() * self.replicas());
        for step in steps {
            metrics.extend(self.step(step)?);
        }
        self.add_up(&mut metrics);
        Ok(metrics)
    }

    /// Takes steps with this rank's shares of the samples alone, then the mean of all ranks' weights and optimizer state.
    fn apart(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>> {
        let (mut own, mut metrics, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for step in steps {
            let share = self.ranks.share(step.first..step.first + step.rows);
            parts.extend(vec![share.len() as f64 / step.rows as f64; self.replicas()]);
            metrics.extend(self.nothing(step, &[]));
            if !share.is_empty() {
                own.push(Step { first: share.start, rows: share.len(), ..step.clone() });
            }
        }
        let mut found = self.engine.run(&own)?;
        found.extend(self.engine.wait()?);
        let mut found = found.into_iter().peekable();
        for (metrics, part) in metrics.iter_mut().zip(parts) {
            if let Some(own) = found.next_if(|own| own.step == metrics.step) {
                *metrics = StepMetrics { loss: part * own.loss, ..own };
            }
        }
        let states = self.engine.setup().optimizer.state_vectors();
        self.average(Slot::Live)?;
        (0..states).try_for_each(|i| self.average(Slot::State(i)))?;
        self.add_up(&mut metrics);
        Ok(metrics)
    }

    /// Takes whole steps in an order of the rank's own; then, if SWA has taken weights, its mean over the ranks.
    fn alone(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>> {
        if let (Sharing::Alone { order, per_epoch }, Some(first)) = (self.sharing, steps.first()) {
            let epoch = first.index / per_epoch;
            if self.ranks.rank > 0 && self.epoch != Some(epoch) {
                let (setup, n) = (self.engine.setup(), self.engine.setup().dataset.train.len());
                let orders: Vec<Vec<u32>> = (0..setup.replicas as u64)
                    .map(|r| order.permutation(n, setup.seed.wrapping_add(r), epoch))
                    .collect();
                self.engine.set_order(&orders)?;
                self.epoch = Some(epoch);
            }
        }
        let mut metrics = self.engine.run(steps)?;
        metrics.extend(self.engine.wait()?);
        if steps.iter().any(|step| step.take.swa > 0.0) {
            // What SWA takes up later moves the mean of the means as it moves each of them.
            self.average(Slot::Swa)?;
        }
        Ok(metrics)
    }

    /// Puts the mean over all ranks into `slot`.
    fn average(&mut self, slot: Slot) -> Result<()> {
        for r in 0..self.replicas() {
            let mut values = self.engine.download(slot, r)?;
            mean(&self.ranks, self.engine.setup().precision, &mut values);
            self.engine.upload(slot, r, &values)?;
        }
        Ok(())
    }

    /// Makes the metrics of shares those of whole steps.
    fn add_up(&self, metrics: &mut [StepMetrics]) {
        let own: Vec<f64> = metrics.iter().flat_map(|m| [m.loss, m.correct as f64]).collect();
        let all = self.ranks.all_gather(&own);
        for (i, metrics) in metrics.iter_mut().enumerate() {
            metrics.loss = all.iter().map(|of_rank| of_rank[2 * i]).sum();
            metrics.correct = all.iter().map(|of_rank| of_rank[2 * i + 1] as u64).sum();
        }
    }

    fn replicas(&self) -> usize {
        self.engine.setup().replicas
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
            sum(&self.ranks, precision, &mut values);
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
        (0..self.replicas()).map(of).collect()
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
