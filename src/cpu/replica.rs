//! One replica's weights, state and work space, and its step from top to bottom.

use std::ops::Range;

use super::crew::Crew;
use super::product::{self, UPDATE_COST, Vectors, take};
use super::{Constants, Dropout, Finish, Real, Training};
use crate::activation::Activation;
use crate::data::{Augment, Features, Samples};
use crate::engine::{Aim, Evaluation, Layout, Setup, Slot, Step, StepMetrics, stride};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::model::Norm;
use crate::number::hash::Key;
use crate::optimizer::Rule;

/// What every replica reads and none writes.
pub(super) struct Shared<'a, T> {
    pub setup: &'a Setup,
    pub layout: &'a Layout,
    /// Regression targets, or one-hot labels under the squared error: `(samples, outputs)`; else empty.
    pub targets: &'a [T],
    /// Of mixup's shares; empty without mixup.
    pub quantiles: &'a [T],
    /// All threads, or one if several replicas train side by side.
    pub crew: Crew<'a>,
}

/// A vector of zeros for one of `replicas`.
fn zeros<T: Real>(n: usize, replicas: usize) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(n).map_err(|_| Error::DeviceMemory {
        what: format!("one buffer of each of {replicas} replica(s)"),
        needed: (n * size_of::<T>()) as u64,
        offered: 0,
        place: "the memory".into(),
    })?;
    vector.resize(n, T::default());
    Ok(vector)
}

pub(super) struct Replica<T> {
    /// Of its random numbers.
    seed: u32,
    pub params: Vec<T>,
    grads: Vec<T>,
    state: Vec<Vec<T>>,
    copies: [Vec<T>; Slot::COPIES],
    /// Averages and snapshots that are asked for, and vectors that were allocated.
    kept: Vec<(Slot, Vec<T>)>,
    pub order: Vec<u32>,
    // One pass, (room, stride(width)) a layer: a[0] is x; layer l makes of a[l], by way of xhat[l] where there is a
    // normalisation, a[l + 1] and the slope of its activation; da[l] is the gradient of a[l], where a residual
    // connection needs it.
    a: Vec<Vec<T>>,
    slope: Vec<Vec<T>>,
    xhat: Vec<Vec<T>>,
    inverse: Vec<Vec<T>>,
    dz: Vec<Vec<T>>,
    da: Vec<Vec<T>>,
    /// Of each row, under mixup: the other sample, and the share of its own.
    mix: Vec<(u32, T)>,
    row_loss: Vec<T>,
    row_correct: Vec<bool>,
    /// The predictions of an ensemble, `(samples, stride(outputs))`.
    mean: Vec<T>,
}

impl<T: Real> Replica<T> {
    /// # Errors
    /// Too little memory.
    pub fn new(setup: &Setup, layout: &Layout, replica: usize) -> Result<Self> {
        let room = setup.room();
        let vector = || zeros(layout.len, setup.replicas);
        let model = &setup.model;
        let outputs = |l: usize| stride(model.widths[l + 1]);
        // One vector a layer, empty where the layer does not need it.
        let layers = |size: &dyn Fn(usize) -> usize| -> Result<Vec<Vec<T>>> {
            (0..model.layers()).map(|l| zeros(size(l), setup.replicas)).collect()
        };
        let if_normed = |l: usize, size: usize| if model.norm_after(l) == Norm::None { 0 } else { size };
        let mut a = vec![zeros(room * stride(model.inputs()), setup.replicas)?];
        a.extend(layers(&|l| room * outputs(l))?);
        let trains = !setup.evaluation_only;
        let if_trained = |size: usize| if trains { size } else { 0 };
        // An evaluation reads no slopes, so that one vector takes those of all layers.
        let widest = (0..model.layers()).map(outputs).max().unwrap_or_default();
        let slope = if trains { layers(&|l| room * outputs(l))? } else { vec![zeros(room * widest, setup.replicas)?] };
        Ok(Self {
            seed: setup.device_seed(replica),
            params: vector()?,
            grads: zeros(if_trained(layout.len), setup.replicas)?,
            state: (0..if_trained(setup.optimizer.state_vectors())).map(|_| vector()).collect::<Result<_>>()?,
            copies: std::array::from_fn(|_| Vec::new()),
            kept: setup.kept().into_iter().map(|slot| Ok((slot, vector()?))).collect::<Result<_>>()?,
            order: Vec::new(),
            a,
            slope,
            xhat: layers(&|l| if_normed(l, room * outputs(l)))?,
            inverse: layers(&|l| if_normed(l, room.max(outputs(l))))?,
            // The last one is that of the loss.
            dz: layers(&|l| if trains || !model.is_hidden(l) { room * outputs(l) } else { 0 })?,
            da: layers(&|l| if_trained(if model.keeps_da(l) { room * stride(model.widths[l]) } else { 0 }))?,
            mix: if setup.augment.mixup > 0.0 { vec![(0, T::default()); room] } else { Vec::new() },
            row_loss: vec![T::default(); room],
            row_correct: vec![false; room],
            mean: Vec::new(),
        })
    }

    /// Names and bytes of its vectors, both copies included, which come with the first step.
    pub fn memory(&self) -> Vec<(String, usize)> {
        let mut memory = vec![("params".to_string(), self.params.len())];
        if !self.grads.is_empty() {
            memory.push(("grads".into(), self.grads.len()));
            memory.extend((0..Slot::COPIES).map(|i| (Slot::Copy(i).name(), self.params.len())));
        }
        memory.extend(self.kept.iter().map(|(slot, v)| (slot.name(), v.len())));
        let layers = [
            ("state", &self.state),
            ("a", &self.a),
            ("slope", &self.slope),
            ("xhat", &self.xhat),
            ("inverse", &self.inverse),
            ("dz", &self.dz),
            ("da", &self.da),
        ];
        for (name, vectors) in layers {
            let some = vectors.iter().enumerate().filter(|(_, v)| !v.is_empty());
            memory.extend(some.map(|(l, v)| (format!("{name} {l}"), v.len())));
        }
        memory.into_iter().map(|(name, values)| (name, values * size_of::<T>())).collect()
    }

    /// Whether there is such a vector.
    pub fn has(&self, slot: Slot) -> bool {
        match slot {
            Slot::Live => true,
            Slot::Gradient => !self.grads.is_empty(),
            Slot::Copy(i) => i < Slot::COPIES,
            Slot::State(i) => i < self.state.len(),
            _ => self.kept.iter().any(|(kept, _)| *kept == slot),
        }
    }

    /// Makes a vector of zeros.
    ///
    /// # Errors
    /// Too little memory.
    pub fn allocate(&mut self, slot: Slot, replicas: usize) -> Result<()> {
        self.kept.push((slot, zeros(self.params.len(), replicas)?));
        Ok(())
    }

    pub fn free(&mut self, slot: Slot) {
        self.kept.retain(|(kept, _)| *kept != slot);
    }

    /// The vector in `slot`; a copy never written is that of the live weights.
    ///
    /// # Errors
    /// No such slot.
    pub fn slot(&mut self, slot: Slot) -> Result<&mut Vec<T>> {
        match slot {
            Slot::Live => Ok(&mut self.params),
            Slot::Gradient => Ok(&mut self.grads),
            Slot::State(i) => self.state.get_mut(i).ok_or_else(|| slot.missing()),
            Slot::Copy(i) => {
                if self.copies[i].is_empty() {
                    self.copies[i] = self.params.clone();
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
        let values = std::mem::take(self.slot(x)?);
        let result = self.slot(y).map(|y| work(&values, y));
        *self.slot(x)? = values;
        result
    }

    /// One update.
    pub fn step(&mut self, shared: &Shared<T>, step: &Step, replica: usize) -> StepMetrics {
        let optimizer = &shared.setup.optimizer;
        let constants = optimizer.coefficients(step.index + 1, step.rates[replica]).into();
        // A weight's gradient is used up as it is made if nobody asks for its norm, or for a sum of several.
        let is_fused = shared.setup.clip_norm.is_none() && step.rows <= shared.setup.most_in_pass();
        let fused = is_fused.then_some((optimizer.rule(), &constants));
        let (loss, correct) = self.gradient(shared, step, Aim::Update, fused);
        let grad_norm = if is_fused {
            self.update(shared, &constants, T::of(1.0), shared.layout.weights);
            self.average(shared, step);
            None
        } else {
            self.use_gradient(shared, step, &constants)
        };
        StepMetrics { step: step.index, replica, loss, correct, grad_norm, loss_scale: None }
    }

    /// What a step does once the gradient is there: clips it, updates, averages; returns the gradient's norm where it is
    /// clipped.
    pub fn use_gradient(&mut self, shared: &Shared<T>, step: &Step, constants: &Constants<T>) -> Option<f64> {
        let clipped = shared.setup.clip_norm.map(|max| super::grad_norm(&self.grads[..shared.layout.trained], max));
        self.update(shared, constants, clipped.map_or(T::of(1.0), |(_, clip)| clip), 0);
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
        let mut sums = (0.0, 0);
        let order = std::mem::take(&mut self.order);
        for (i, pass) in step.passes(shared.setup.most_in_pass()).enumerate() {
            let training = self.training(step, pass.start, aim);
            let order = &order[pass];
            self.forward(shared, &samples.features, order, Some(&training));
            let mix = (aim.is_drawn() && !shared.quantiles.is_empty()).then_some(&self.mix[..]);
            let rows = order.len() * stride(shared.setup.model.outputs());
            let last = self.dz.len() - 1;
            let (z, dz) = (&self.a[last + 1][..rows], &mut self.dz[last][..rows]);
            let into = (&mut self.row_loss[..], &mut self.row_correct[..]);
            loss(shared, samples, shared.targets, order, mix, step.rows, z, dz, into);
            super::metrics(&self.row_loss[..order.len()], &self.row_correct[..order.len()], &mut sums);
            self.backward(shared, order.len(), i > 0, fused);
        }
        self.order = order;
        (sums.0 / step.rows as f64, sums.1)
    }

    fn training(&self, step: &Step, first: usize, aim: Aim) -> Training {
        let key = Key { seed: self.seed, step: step.index as u32 };
        Training { key, first: first as u32, statistics: aim.statistics(), is_drawn: aim.is_drawn() }
    }

    /// Mean loss and accuracy over `samples`, of the mean prediction of the weights in `slots`.
    ///
    /// # Errors
    /// A slot that is not asked for.
    pub fn evaluate(&mut self, shared: &Shared<T>, samples: &Samples, slots: &[Slot]) -> Result<Evaluation> {
        let mut sums = (0.0, 0);
        self.predictions(shared, &samples.features, samples.len(), slots, |replica, order| {
            let rows = order.len() * stride(shared.setup.model.outputs());
            let last = replica.dz.len() - 1;
            let (z, dz) = (&replica.a[last + 1][..rows], &mut replica.dz[last][..rows]);
            let into = (&mut replica.row_loss[..], &mut replica.row_correct[..]);
            loss(shared, samples, shared.targets, order, None, 1, z, dz, into);
            super::metrics(&replica.row_loss[..order.len()], &replica.row_correct[..order.len()], &mut sums);
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
        self.predictions(shared, inputs, rows, slots, |replica, order| {
            let last = replica.a.len() - 1;
            for row in replica.a[last].chunks_exact(stride(outputs)).take(order.len()) {
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
        mut each: impl FnMut(&mut Self, &[u32]),
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
            let live = std::mem::replace(&mut self.params, other);
            for (i, order) in order.chunks(room).enumerate() {
                self.forward(shared, features, order, None);
                let rows = order.len() * stride(outputs);
                let last = self.a.len() - 1;
                if slots.len() > 1 {
                    let mean = &mut mean[i * room * stride(outputs)..][..rows];
                    let softmax = setup.loss == Loss::CrossEntropy;
                    super::ensemble(outputs, softmax, member, slots.len(), &mut self.a[last][..rows], mean);
                }
                if member + 1 == slots.len() {
                    each(self, order);
                }
            }
            self.params = live;
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
        let live = std::mem::replace(&mut self.params, weights);
        let order = std::mem::take(&mut self.order);
        for (n, step) in steps.iter().enumerate() {
            let training = self.training(step, step.first, Aim::Statistics(n));
            let order = &order[step.first..step.first + step.rows];
            self.forward(shared, &shared.setup.dataset.train.features, order, Some(&training));
        }
        self.order = order;
        let renewed = std::mem::replace(&mut self.params, live);
        *self.slot(slot)? = renewed;
        Ok(())
    }

    fn forward(&mut self, shared: &Shared<T>, features: &Features, order: &[u32], training: Option<&Training>) {
        let (rows, setup) = (order.len(), shared.setup);
        let drawn = training.filter(|t| t.is_drawn);
        let augment = drawn.filter(|_| !setup.augment.is_none()).map(|t| (&setup.augment, shared.quantiles, t));
        let x = &mut self.a[0][..rows * stride(setup.model.inputs())];
        gather(shared, features, order, augment, x, &mut self.mix);
        for (l, layer) in shared.layout.layers.iter().enumerate() {
            let dropout = drawn.filter(|_| setup.model.dropout > 0.0 && setup.model.is_hidden(l)).map(|t| Dropout {
                rate: setup.model.dropout,
                key: t.key,
                first: t.first,
                layer: l as u32,
            });
            let (activation, residual) = (setup.model.activation_after(l), setup.model.is_residual(l));
            let finish = Finish { activation, dropout, residual };
            let width = stride(layer.outputs);
            let (a, y) = self.a.split_at_mut(l + 1);
            let a = &a[l][..rows * stride(layer.inputs)];
            let slope_at = if setup.evaluation_only { 0 } else { l };
            let (y, slope) = (&mut y[0][..rows * width], &mut self.slope[slope_at][..rows * width]);
            let norm = setup.model.norm_after(l);
            if norm == Norm::None {
                product::linear(layer, &finish, &self.params, a, y, slope, shared.crew);
                continue;
            }
            let (xhat, inverse) = (&mut self.xhat[l][..rows * width], &mut self.inverse[l]);
            let plain = Finish { activation: Activation::Identity, ..Finish::default() };
            product::linear(layer, &plain, &self.params, a, xhat, slope, shared.crew);
            match norm {
                Norm::Batch => {
                    super::batch_norm(layer, training.map(|t| t.statistics), &mut self.params, xhat, y, inverse);
                }
                _ => super::layer_norm(layer, &self.params, xhat, y, inverse),
            }
            super::activate(&finish, width, a, y, slope);
        }
    }

    /// With `fused`, the weights are updated too.
    fn backward(&mut self, shared: &Shared<T>, rows: usize, accumulate: bool, fused: Option<(Rule, &Constants<T>)>) {
        let model = &shared.setup.model;
        for (l, layer) in shared.layout.layers.iter().enumerate().rev() {
            let (inputs, outputs) = (rows * stride(layer.inputs), rows * stride(layer.outputs));
            let (dx, dz) = self.dz.split_at_mut(l);
            let (a, dz) = (&self.a[l][..inputs], &mut dz[0][..outputs]);
            if model.norm_after(l) != Norm::None {
                let xhat = &self.xhat[l][..outputs];
                super::norm_dw(layer, accumulate, xhat, dz, &mut self.grads);
                match model.norm_after(l) {
                    Norm::Batch => {
                        super::batch_norm_dx(layer, &self.params, &self.grads, xhat, &self.inverse[l], dz);
                    }
                    _ => super::layer_norm_dx(layer, &self.params, xhat, &self.inverse[l], dz),
                }
            }
            if l > 0 {
                let (slope, dx) = (&self.slope[l - 1][..inputs], &mut dx[l - 1][..inputs]);
                let (da, above) = self.da.split_at_mut(l + 1);
                let above = model.is_residual(l).then(|| &above[0][..inputs]);
                let da = model.keeps_da(l).then(|| &mut da[l][..inputs]);
                product::linear_dx(layer, &self.params, dz, slope, above, dx, da, shared.crew);
            }
            let Some((rule, constants)) = fused else {
                product::linear_dw(layer, accumulate, a, dz, &mut self.grads, shared.crew);
                continue;
            };
            product::linear_db(layer, accumulate, dz, &mut self.grads);
            let vectors = vectors(&mut self.params, &mut self.state, layer.weights());
            // What nobody needs any more: the slope since the layer above was done, the gradient since it is never whole.
            let (near, scratch) = (&mut self.slope[l][..outputs], &mut self.grads[layer.weights()]);
            let update = |g: &[T], vectors: Vectors<T>| update(rule, constants, T::of(1.0), g, vectors);
            product::linear_dw_update(layer, a, dz, near, scratch, vectors, &update, shared.crew);
        }
    }

    /// Updates the parameters from `first` on.
    fn update(&mut self, shared: &Shared<T>, all: &Constants<T>, scale: T, first: usize) {
        let (setup, layout) = (shared.setup, shared.layout);
        let without_decay = Constants { weight_decay: T::of(0.0), shrink: T::of(1.0), ..*all };
        let decayed = setup.decayed(layout);
        for (range, constants) in [(first..decayed, all), (decayed..layout.trained, &without_decay)] {
            let crew = shared.crew.worth(UPDATE_COST * range.len());
            let part = range.len().div_ceil(crew.threads()).max(1);
            let g = self.grads[range.clone()].chunks(part);
            let mut vectors = vectors(&mut self.params, &mut self.state, range);
            let parts = g.map(|g| (g, take(&mut vectors, g.len())));
            let rule = setup.optimizer.rule();
            crew.each(parts, |(g, vectors)| update(rule, constants, scale, g, vectors));
        }
    }

    fn average(&mut self, shared: &Shared<T>, step: &Step) {
        let (take, trained) = (step.take, shared.layout.trained);
        for (slot, vector) in &mut self.kept {
            match *slot {
                Slot::Swa if take.swa > 0.0 => {
                    super::average(T::of(take.swa), &self.params[..trained], &mut vector[..trained]);
                }
                Slot::Ema if take.ema > 0.0 => {
                    super::average(T::of(take.ema), &self.params[..trained], &mut vector[..trained]);
                }
                Slot::Slow if take.lookahead > 0.0 => {
                    super::lookahead(T::of(take.lookahead), &mut self.params[..trained], &mut vector[..trained]);
                }
                Slot::Snapshot(i) if take.snapshot == Some(i) => vector.copy_from_slice(&self.params),
                _ => {}
            }
        }
    }
}

/// Multiply-adds that take the time of gathering a value.
const GATHER_COST: usize = 8;

/// Gathers rows side by side, which a mixed batch does not allow.
fn gather<T: Real>(
    shared: &Shared<T>,
    features: &Features,
    order: &[u32],
    augment: Option<(&Augment, &[T], &Training)>,
    x: &mut [T],
    mix: &mut [(u32, T)],
) {
    let dataset = &shared.setup.dataset;
    if !shared.quantiles.is_empty() {
        return super::gather(dataset, features, order, augment, x, mix);
    }
    let crew = shared.crew.worth(GATHER_COST * x.len());
    let part = order.len().div_ceil(crew.threads());
    let parts = order.chunks(part).zip(x.chunks_mut(part * stride(dataset.width())));
    crew.each(parts.enumerate(), |(i, (order, x))| {
        let later = augment.map(|(_, _, training)| Training { first: training.first + (i * part) as u32, ..*training });
        let augment = augment.zip(later.as_ref()).map(|((augment, quantiles, _), later)| (augment, quantiles, later));
        super::gather(dataset, features, order, augment, x, &mut []);
    });
}

#[allow(clippy::too_many_arguments, reason = "each is one binding of the kernel")]
fn loss<T: Real>(
    shared: &Shared<T>,
    samples: &Samples,
    targets: &[T],
    order: &[u32],
    mix: Option<&[(u32, T)]>,
    batch: usize,
    z: &[T],
    dz: &mut [T],
    (loss, correct): (&mut [T], &mut [bool]),
) {
    let setup = shared.setup;
    let (outputs, smoothing) = (setup.model.outputs(), setup.label_smoothing);
    match (setup.loss, &samples.targets) {
        (Loss::CrossEntropy, crate::data::Targets::Labels(labels)) => {
            super::softmax_cross_entropy(outputs, smoothing, batch, order, mix, labels, z, dz, loss, correct)
        }
        _ => super::mse(outputs, batch, order, mix, targets, z, dz, loss, correct),
    }
}

/// The same `range` of the weights and of each of their state vectors.
fn vectors<'a, T>(params: &'a mut [T], state: &'a mut [Vec<T>], range: Range<usize>) -> Vectors<'a, T> {
    let mut vectors = Vectors::default();
    for (part, vector) in vectors.iter_mut().zip(std::iter::once(params).chain(state.iter_mut().map(|v| &mut v[..]))) {
        *part = &mut vector[range.clone()];
    }
    vectors
}

fn update<T: Real>(rule: Rule, constants: &Constants<T>, scale: T, g: &[T], vectors: Vectors<T>) {
    let [w, mut state @ ..] = vectors;
    let used = state.iter().take_while(|v| !v.is_empty()).count();
    super::update(rule, constants, scale, g, w, &mut state[..used]);
}
