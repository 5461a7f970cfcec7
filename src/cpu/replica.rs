//! One replica: its weights, its slots and its work space, and its step from top to bottom.

use super::curve::Tangents;
use super::passes::{Averaged, Workspace};
use super::shared::{Shared, zeros};
use super::weights::Weights;
use super::{Constants, Real, Training};
use crate::data::{Features, Samples};
use crate::engine::{Aim, Evaluation, Layout, LossWeights, Setup, Slot, Step, StepMetrics, stride};
use crate::error::Result;
use crate::loss::Loss;
use crate::number::hash::Key;
use crate::optimizer::Rule;

/// One replica: its weights, its slots and its workspace.
pub(super) struct Replica<T> {
    /// The seed of its random numbers.
    seed: u32,
    pub(super) weights: Weights<T>,
    copies: [Vec<T>; Slot::COPIES],
    /// The averages and snapshots that are asked for, and vectors that were allocated.
    kept: Vec<(Slot, Vec<T>)>,
    pub order: Vec<u32>,
    pub(super) work: Workspace<T>,
    /// The predictions of an ensemble, `(samples, stride(outputs))`.
    mean: Vec<T>,
    /// What a product of second derivatives with a vector makes on its way, once one was asked for.
    pub(super) tangents: Option<Tangents<T>>,
}

impl<T: Real> Replica<T> {
    /// A replica whose weights are all 0.
    ///
    /// # Errors
    /// Too little memory.
    pub fn new(setup: &Setup, layout: &Layout, replica: usize) -> Result<Self> {
        let kept = setup.kept().into_iter().map(|slot| Ok((slot, zeros(layout.len, setup.replicas)?)));
        Ok(Self {
            seed: setup.device_seed(replica),
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
        let Weights { params, grads, state } = &self.weights;
        let mut memory = vec![("params".to_string(), params.len())];
        if !grads.is_empty() {
            memory.push(("grads".into(), grads.len()));
            memory.extend((0..Slot::COPIES).map(|i| (Slot::Copy(i).name(), params.len())));
        }
        memory.extend(self.kept.iter().map(|(slot, v)| (slot.name(), v.len())));
        for (name, vectors) in [("state", &state[..])].into_iter().chain(self.work.vectors()) {
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
        let constants = optimizer.coefficients(step.index + 1, step.rates[replica]).into();
        // A weight's gradient is used up as it is made if nobody asks for its norm, or for a sum of several.
        let is_fused = shared.setup.clip_norm.is_none() && step.rows <= shared.setup.most_in_pass();
        let fused = is_fused.then_some((optimizer.rule(), &constants));
        let (loss, correct) = self.gradient(shared, step, Aim::Update, fused);
        let grad_norm = if is_fused {
            self.weights.update(shared, &constants, T::of(1.0), shared.layout.weights);
            self.average(shared, step);
            None
        } else {
            self.use_gradient(shared, step, &constants)
        };
        StepMetrics { step: step.index, replica, loss, correct, grad_norm, loss_scale: None }
    }

    /// Does what a step does once the gradient is there: clips it, updates, averages; returns the gradient's norm where
    /// it is clipped.
    pub fn use_gradient(&mut self, shared: &Shared<T>, step: &Step, constants: &Constants<T>) -> Option<f64> {
        let clipped =
            shared.setup.clip_norm.map(|max| super::grad_norm(&self.weights.grads[..shared.layout.trained], max));
        self.weights.update(shared, constants, clipped.map_or(T::of(1.0), |(_, clip)| clip), 0);
        self.average(shared, step);
        clipped.map(|(norm, _)| norm.to_f64())
    }

    /// Leaves the gradient of the step's mean loss in `grads`, or with `fused` has updated the weights; returns that loss
    /// and the number of right answers.
    pub fn gradient(
        &mut self,
        shared: &Shared<T>,
        step: &Step,
        aim: Aim,
        fused: Option<(Rule, &Constants<T>)>,
    ) -> (f64, u64) {
        let samples = &shared.setup.dataset.train;
        let order = std::mem::take(&mut self.order);
        let is_evaluation = aim == Aim::Evaluation;
        let loss_weights = shared.loss_weights.filter(|_| !is_evaluation);
        let averaged = Averaged {
            is_mixed: aim.is_drawn() && !shared.quantiles.is_empty(),
            total: LossWeights::total(loss_weights, &order[step.first..step.first + step.rows]),
            weighting: shared.weighting.filter(|_| !is_evaluation),
        };
        let most = if is_evaluation { shared.setup.room() } else { shared.setup.most_in_pass() };
        let mut sums = (0.0, 0);
        for (i, pass) in step.passes(most).enumerate() {
            let training = (!is_evaluation).then(|| self.training(step, pass.start, aim));
            let order = &order[pass];
            self.work.forward(shared, &mut self.weights.params, &samples.features, order, training.as_ref());
            self.work.loss(shared, samples, order, Some(&averaged), &mut sums);
            self.work.backward(shared, &mut self.weights, order.len(), is_evaluation, i > 0, fused);
        }
        self.order = order;
        (sums.0 / averaged.total, sums.1)
    }

    fn training(&self, step: &Step, first: usize, aim: Aim) -> Training {
        let key = Key { seed: self.seed, step: step.index as u32 };
        Training { key, first: first as u32, statistics: aim.statistics(), is_drawn: aim.is_drawn() }
    }

    /// The mean loss and accuracy over `samples`, of the mean prediction of the weights in `slots`.
    ///
    /// # Errors
    /// A slot that is not asked for.
    pub fn evaluate(&mut self, shared: &Shared<T>, samples: &Samples, slots: &[Slot]) -> Result<Evaluation> {
        let mut sums = (0.0, 0);
        self.predictions(shared, &samples.features, samples.len(), slots, |work, order| {
            work.loss(shared, samples, order, None, &mut sums);
        })?;
        let n = samples.len() as f64;
        Ok(Evaluation { loss: sums.0 / n, accuracy: sums.1 as f64 / n })
    }

    /// The outputs for samples that are in no data set, `(rows, outputs)`.
    ///
    /// # Errors
    /// A slot that is not asked for.
    pub fn predict(&mut self, shared: &Shared<T>, inputs: &Features, slots: &[Slot]) -> Result<Vec<f64>> {
        let rows = inputs.len() / shared.setup.dataset.width();
        let outputs = shared.setup.model.outputs();
        let mut predictions = Vec::with_capacity(rows * outputs);
        self.predictions(shared, inputs, rows, slots, |work, order| {
            for row in work.output().chunks_exact(stride(outputs)).take(order.len()) {
                predictions.extend(row[..outputs].iter().map(|z| z.to_f64()));
            }
        })?;
        Ok(predictions)
    }

    /// Passes all of `features` through the network with the weights in each of `slots`; `each` sees every pass whose
    /// prediction, that of all slots together, lies in the last layer's output.
    fn predictions(
        &mut self,
        shared: &Shared<T>,
        features: &Features,
        samples: usize,
        slots: &[Slot],
        mut each: impl FnMut(&mut Workspace<T>, &[u32]),
    ) -> Result<()> {
        let (setup, room) = (shared.setup, shared.setup.room());
        let outputs = setup.model.outputs();
        let mut mean = std::mem::take(&mut self.mean);
        if slots.len() > 1 {
            mean.resize(samples * stride(outputs), T::default());
        }
        let order: Vec<u32> = (0..samples as u32).collect();
        for (member, &slot) in slots.iter().enumerate() {
            let other = self.slot(slot)?.clone();
            let live = std::mem::replace(&mut self.weights.params, other);
            for (i, order) in order.chunks(room).enumerate() {
                self.work.forward(shared, &mut self.weights.params, features, order, None);
                let rows = order.len() * stride(outputs);
                if slots.len() > 1 {
                    let mean = &mut mean[i * room * stride(outputs)..][..rows];
                    let softmax = setup.loss == Loss::CrossEntropy;
                    super::ensemble(outputs, softmax, member, slots.len(), &mut self.work.output()[..rows], mean);
                }
                if member + 1 == slots.len() {
                    each(&mut self.work, order);
                }
            }
            self.weights.params = live;
        }
        self.mean = mean;
        Ok(())
    }

    /// Replaces the running statistics in `slot` by the mean of those of `steps`.
    ///
    /// # Errors
    /// A slot that is not asked for.
    pub fn renew_statistics(&mut self, shared: &Shared<T>, slot: Slot, steps: &[Step]) -> Result<()> {
        let weights = std::mem::take(self.slot(slot)?);
        let live = std::mem::replace(&mut self.weights.params, weights);
        let order = std::mem::take(&mut self.order);
        for (n, step) in steps.iter().enumerate() {
            let training = self.training(step, step.first, Aim::Statistics(n));
            let order = &order[step.first..step.first + step.rows];
            let features = &shared.setup.dataset.train.features;
            self.work.forward(shared, &mut self.weights.params, features, order, Some(&training));
        }
        self.order = order;
        let renewed = std::mem::replace(&mut self.weights.params, live);
        *self.slot(slot)? = renewed;
        Ok(())
    }

    /// What follows the update: lookahead, which is the last part of it, then the averages of the weights that it leaves.
    fn average(&mut self, shared: &Shared<T>, step: &Step) {
        let (take, trained) = (step.take, shared.layout.trained);
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
