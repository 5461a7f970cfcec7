//! One replica: its weights, its slots and its work space, and its step from top to bottom.

use std::ops::Range;
use std::sync::Arc;

use super::curve::Tangents;
use super::passes::{Averaged, First, Workspace};
use super::shared::{Own, Shared, zeros};
use super::weights::Weights;
use super::{Constants, Real, Training};
use crate::average::Take;
use crate::data::Samples;
use crate::engine::{
    Aim, Curvature, Evaluation, Gradient, Layout, LossWeights, Setup, Slot, Step, StepMetrics, stride,
};
use crate::error::Result;
use crate::loss::Loss;
use crate::number::hash::Key;
use crate::optimizer::Rule;

/// A pass of an evaluation, for one member of an ensemble.
pub(super) struct Predicted<'a, T> {
    /// The samples of the pass, `(rows, stride(inputs))`, and the number of those before it.
    pub x: &'a [T],
    pub first: usize,
    /// The place of the member, and the number of members.
    pub member: usize,
    pub members: usize,
}

/// One replica: its weights, its slots and its workspace.
pub(super) struct Replica<T> {
    pub own: Arc<Own<T>>,
    weights: Weights<T>,
    copies: [Vec<T>; Slot::COPIES],
    /// The averages and snapshots that are asked for, and vectors that were allocated.
    kept: Vec<(Slot, Vec<T>)>,
    pub order: Vec<u32>,
    work: Workspace<T>,
    /// The predictions of an ensemble, `(samples, stride(outputs))`.
    mean: Vec<T>,
    /// What a product of second derivatives with a vector makes on its way, once one was asked for.
    tangents: Option<Tangents<T>>,
}

impl<T: Real> Replica<T> {
    /// A replica whose weights are all 0.
    ///
    /// # Errors
    /// Too little memory.
    pub fn new(setup: &Setup, layout: &Layout, own: Arc<Own<T>>) -> Result<Self> {
        let kept = setup.kept().into_iter().map(|slot| Ok((slot, zeros(layout.len, setup.replicas)?)));
        Ok(Self {
            own,
            weights: Weights::new(setup, layout)?,
            copies: std::array::from_fn(|_| Vec::new()),
            kept: kept.collect::<Result<_>>()?,
            order: Vec::new(),
            work: Workspace::new(setup)?,
            mean: Vec::new(),
            tangents: None,
        })
    }

    /// The names and bytes of its vectors, both copies included, which come with the first step.
    pub fn memory(&self) -> Vec<(String, usize)> {
        let Weights { params, grads, .. } = &self.weights;
        let mut memory: Vec<_> = self.weights.vectors().into_iter().map(|(name, v)| (name, v.len())).collect();
        if !grads.is_empty() {
            memory.extend((0..Slot::COPIES).map(|i| (Slot::Copy(i).name(), params.len())));
        }
        memory.extend(self.kept.iter().map(|(slot, v)| (slot.name(), v.len())));
        for (name, vectors) in self.work.vectors() {
            let some = vectors.iter().enumerate().filter(|(_, v)| !v.is_empty());
            memory.extend(some.map(|(l, v)| (format!("{name} {l}"), v.len())));
        }
        memory.into_iter().map(|(name, values)| (name, values * size_of::<T>())).collect()
    }

    /// Whether there is a vector in `slot`.
    pub fn has(&self, slot: Slot) -> bool {
        match slot {
            Slot::Live => true,
            Slot::Gradient => !self.weights.grads.is_empty(),
            Slot::Copy(i) => i < Slot::COPIES && !self.weights.grads.is_empty(),
            Slot::State(i) => i < self.weights.state.len(),
            _ => self.kept.iter().any(|(kept, _)| *kept == slot),
        }
    }

    /// Makes a vector of zeros.
    ///
    /// # Errors
    /// Too little memory.
    pub fn allocate(&mut self, slot: Slot, replicas: usize) -> Result<()> {
        self.kept.push((slot, zeros(self.weights.params.len(), replicas)?));
        Ok(())
    }

    pub fn free(&mut self, slot: Slot) {
        self.kept.retain(|(kept, _)| *kept != slot);
    }

    /// The vector in `slot`; a copy never written is full of zeros.
    ///
    /// # Errors
    /// No such slot.
    pub fn slot(&mut self, slot: Slot) -> Result<&mut Vec<T>> {
        match slot {
            Slot::Live => Ok(&mut self.weights.params),
            Slot::Gradient => Ok(&mut self.weights.grads),
            Slot::State(i) => self.weights.state.get_mut(i).ok_or_else(|| slot.missing()),
            Slot::Copy(i) => {
                if self.copies[i].is_empty() {
                    self.copies[i] = vec![T::default(); self.weights.params.len()];
                }
                Ok(&mut self.copies[i])
            }
            _ => self.kept.iter_mut().find(|(s, _)| *s == slot).map(|(_, v)| v).ok_or_else(|| slot.missing()),
        }
    }

    /// Does `work` to the vectors in two slots.
    ///
    /// # Errors
    /// No such slot.
    pub fn both<R>(&mut self, x: Slot, y: Slot, work: impl FnOnce(&[T], &mut Vec<T>) -> R) -> Result<R> {
        self.slot(y)?;
        let values = std::mem::take(self.slot(x)?);
        let result = self.slot(y).map(|y| work(&values, y));
        *self.slot(x)? = values;
        result
    }

    /// Carries out one step, and returns its metrics.
    pub fn step(&mut self, shared: &Shared<T>, step: &Step, replica: usize) -> StepMetrics {
        let optimizer = &shared.setup.optimizer;
        let index = step.of(replica).index;
        let constants = optimizer.coefficients(index + 1, step.rates[replica]).into();
        let is_fused = shared.setup.is_fused(step.rows);
        let fused = is_fused.then_some((optimizer.rule(), &constants));
        let (loss, correct) = self.gradient(shared, step, replica, Some(Aim::Update), fused);
        let grad_norm = if is_fused {
            self.weights.update(shared, &constants, T::of(1.0), shared.layout.weights);
            self.average(shared, &step.of(replica).take);
            None
        } else {
            self.use_gradient(shared, &step.of(replica).take, &constants)
        };
        StepMetrics { step: index, replica, loss, correct, grad_norm, loss_scale: None }
    }

    /// Does what a step does once the gradient is there: clips it, updates, averages; returns the gradient's norm where
    /// it is clipped.
    pub fn use_gradient(&mut self, shared: &Shared<T>, take: &Take, constants: &Constants<T>) -> Option<f64> {
        let clipped =
            shared.setup.clip_norm.map(|max| super::grad_norm(&self.weights.grads[..shared.layout.trained], max));
        self.weights.update(shared, constants, clipped.map_or(T::of(1.0), |(_, clip)| clip), 0);
        self.average(shared, take);
        clipped.map(|(norm, _)| norm.to_f64())
    }

    /// Leaves the gradient of the step's mean loss in `grads`, where the step ascends that at the end of its ascent, or with
    /// `fused` has updated the weights; returns the loss of the weights and the number of right answers.
    /// Without an aim it is the loss that an evaluation has.
    pub fn gradient(
        &mut self,
        shared: &Shared<T>,
        step: &Step,
        replica: usize,
        aim: Option<Aim>,
        fused: Option<(Rule, &Constants<T>)>,
    ) -> (f64, u64) {
        let index = step.of(replica).index;
        let metrics = self.gradient_here(shared, step, index, aim, fused);
        if let Some(sam) = shared.setup.sam.filter(|_| aim.is_some_and(Aim::is_of_step)) {
            self.weights.ascend(&sam, shared.layout.trained);
            // The same random numbers; what it does to running statistics stays behind.
            self.gradient_here(shared, step, index, Some(Aim::Gradient(Gradient::Drawn)), None);
            self.weights.descend();
        }
        metrics
    }

    /// The same without an ascent.
    fn gradient_here(
        &mut self,
        shared: &Shared<T>,
        step: &Step,
        index: u64,
        aim: Option<Aim>,
        fused: Option<(Rule, &Constants<T>)>,
    ) -> (f64, u64) {
        let samples = &shared.setup.dataset.train;
        let order = std::mem::take(&mut self.order);
        let loss_weights = shared.loss_weights.filter(|_| aim.is_some());
        let averaged = Averaged {
            is_mixed: aim.is_some_and(Aim::is_drawn) && !shared.quantiles.is_empty(),
            total: LossWeights::total(loss_weights, &order[step.first..step.first + step.rows]),
            weighting: shared.weighting.filter(|_| aim.is_some()),
        };
        let most = if aim.is_some() { shared.setup.most_in_pass() } else { shared.setup.room() };
        let mut sums = (0.0, 0);
        for (i, pass) in step.passes(most).enumerate() {
            let training = aim.map(|aim| self.training(index, pass.start, aim));
            let order = &order[pass];
            self.work.forward(shared, &mut self.weights.params, &samples.features, order, training.as_ref());
            self.work.loss(shared, samples, order, Some(&averaged), &mut sums);
            self.work.backward(shared, &mut self.weights, order.len(), aim.is_none(), i > 0, fused);
        }
        self.order = order;
        (sums.0 / averaged.total, sums.1)
    }

    /// Leaves in `grads` the gradient of the loss that an evaluation has, over some samples of the order; returns both.
    pub fn slope(&mut self, shared: &Shared<T>, over: Range<usize>) -> Evaluation {
        let (rows, first) = (over.len(), over.start);
        let (loss, correct) = self.gradient(shared, &Step { first, rows, ..Step::default() }, 0, None, None);
        Evaluation { loss, accuracy: correct as f64 / rows as f64 }
    }

    /// Multiplies the vector in `x` with second derivatives of that loss.
    ///
    /// # Errors
    /// No such slot; too little memory.
    pub fn curve(&mut self, shared: &Shared<T>, of: Curvature, over: Range<usize>, x: Slot, into: Slot) -> Result<()> {
        if self.tangents.is_none() {
            self.tangents = Some(Tangents::new(shared)?);
        }
        let v = std::mem::take(self.slot(x)?);
        if let Some(tangents) = &mut self.tangents {
            tangents.multiply(shared, of, &v, &self.order[over], &mut self.work, &mut self.weights);
        }
        *self.slot(x)? = v;
        let product = std::mem::take(&mut self.weights.grads);
        let copied = self.slot(into).map(|into| into.copy_from_slice(&product));
        self.weights.grads = product;
        copied
    }

    fn training(&self, index: u64, first: usize, aim: Aim) -> Training {
        let key = Key { seed: self.own.seed, step: index as u32 };
        Training { key, first: first as u32, statistics: aim.statistics(), is_drawn: aim.is_drawn() }
    }

    /// Lets the weights and the vector in `slot` change places.
    ///
    /// # Errors
    /// A slot that is not asked for.
    pub fn swap(&mut self, slot: Slot) -> Result<()> {
        if slot == Slot::Live {
            return Ok(());
        }
        let other = std::mem::take(self.slot(slot)?);
        let live = std::mem::replace(&mut self.weights.params, other);
        *self.slot(slot)? = live;
        Ok(())
    }

    /// Makes of the samples of a pass, `x`, the prediction, and returns the workspace with it in the last layer's output: of
    /// the weights, or, with the last `member` of an ensemble of several, that of all members together.
    pub fn predict(&mut self, shared: &Shared<T>, pass: &Predicted<T>) -> &mut Workspace<T> {
        let setup = shared.setup;
        let rows = pass.x.len() / stride(setup.model.inputs());
        self.work.layers(shared, &mut self.weights.params, First::Of(pass.x), rows, None);
        if pass.members > 1 {
            let width = stride(setup.model.outputs());
            let (first, rows) = (pass.first * width, rows * width);
            self.mean.resize(self.mean.len().max(first + rows), T::default());
            let (z, mean) = (&mut self.work.output()[..rows], &mut self.mean[first..first + rows]);
            let softmax = setup.loss == Loss::CrossEntropy;
            super::ensemble(setup.model.outputs(), softmax, pass.member, pass.members, z, mean);
        }
        &mut self.work
    }

    /// Adds loss and right answers of a pass over the samples that `order` names to `sums`.
    pub fn evaluate_pass(
        &mut self,
        shared: &Shared<T>,
        samples: &Samples,
        order: &[u32],
        first: First<T>,
        sums: &mut (f64, u64),
    ) {
        self.work.layers(shared, &mut self.weights.params, first, order.len(), None);
        self.work.loss(shared, samples, order, None, sums);
    }

    /// Replaces the running statistics in `slot` by the mean of those of `steps`.
    ///
    /// # Errors
    /// A slot that is not asked for.
    pub fn renew_statistics(&mut self, shared: &Shared<T>, slot: Slot, steps: &[Step], replica: usize) -> Result<()> {
        self.swap(slot)?;
        let order = std::mem::take(&mut self.order);
        for (n, step) in steps.iter().enumerate() {
            let training = self.training(step.of(replica).index, step.first, Aim::Statistics(n));
            let order = &order[step.first..step.first + step.rows];
            let features = &shared.setup.dataset.train.features;
            self.work.forward(shared, &mut self.weights.params, features, order, Some(&training));
        }
        self.order = order;
        self.swap(slot)
    }

    /// What follows the update: lookahead, which is the last part of it, then the averages of the weights that it leaves.
    fn average(&mut self, shared: &Shared<T>, take: &Take) {
        let trained = shared.layout.trained;
        let w = &mut self.weights.params;
        if let Some((_, slow)) = self.kept.iter_mut().find(|(slot, _)| *slot == Slot::Slow && take.lookahead > 0.0) {
            super::lookahead(T::of(take.lookahead), &mut w[..trained], &mut slow[..trained]);
        }
        for (slot, vector) in &mut self.kept {
            match *slot {
                Slot::Swa if take.swa > 0.0 => super::average(T::of(take.swa), &w[..trained], &mut vector[..trained]),
                Slot::Ema if take.ema > 0.0 => super::average(T::of(take.ema), &w[..trained], &mut vector[..trained]),
                Slot::Snapshot(i) if take.snapshot == Some(i) => vector.copy_from_slice(w),
                _ => {}
            }
        }
    }
}
