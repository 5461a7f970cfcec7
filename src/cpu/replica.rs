//! One replica's weights, state and work space, and its step from top to bottom.

use super::{Constants, Real, product};
use crate::data::Samples;
use crate::engine::{Evaluation, Setup, Slot, Step, StepMetrics};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::model::{Layout, stride};
use crate::optimizer::Rule;

/// Elements of a parameter vector that one thread updates at a time.
const UPDATE_CHUNK: usize = 1 << 15;

/// What every replica reads and none writes.
pub(super) struct Shared<'a, T> {
    pub setup: &'a Setup,
    pub layout: &'a Layout,
    /// Regression targets, or one-hot labels under the squared error: `(samples, outputs)`; else empty.
    pub targets: &'a [T],
    /// Whether this replica has all processors to itself.
    pub parallel: bool,
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
    pub params: Vec<T>,
    grads: Vec<T>,
    state: Vec<Vec<T>>,
    copies: [Vec<T>; Slot::COPIES],
    swa: Option<Vec<T>>,
    ema: Option<Vec<T>>,
    pub order: Vec<u32>,
    // One pass, (room, stride(width)) a layer: a[0] is x, layer l makes a[l + 1] and the slope of its activation.
    a: Vec<Vec<T>>,
    slope: Vec<Vec<T>>,
    dz: Vec<Vec<T>>,
    row_loss: Vec<T>,
    row_correct: Vec<bool>,
}

impl<T: Real> Replica<T> {
    /// # Errors
    /// Too little memory.
    pub fn new(setup: &Setup, layout: &Layout) -> Result<Self> {
        let room = setup.room();
        let vector = || zeros(layout.len, setup.replicas);
        let rows = |widths: &[usize]| -> Result<Vec<Vec<T>>> {
            widths.iter().map(|&w| zeros(room * stride(w), setup.replicas)).collect()
        };
        let widths = &setup.model.widths;
        Ok(Self {
            params: vector()?,
            grads: vector()?,
            state: (0..setup.optimizer.state_vectors()).map(|_| vector()).collect::<Result<_>>()?,
            copies: std::array::from_fn(|_| Vec::new()),
            swa: setup.average.swa.as_ref().map(|_| vector()).transpose()?,
            ema: setup.average.ema.map(|_| vector()).transpose()?,
            order: Vec::new(),
            a: rows(widths)?,
            slope: rows(&widths[1..])?,
            dz: rows(&widths[1..])?,
            row_loss: vec![T::default(); room],
            row_correct: vec![false; room],
        })
    }

    /// The weights in `slot`; a copy never written is that of the live ones.
    ///
    /// # Errors
    /// A mean that is not asked for.
    pub fn slot(&mut self, slot: Slot) -> Result<&mut Vec<T>> {
        Ok(match slot {
            Slot::Live => &mut self.params,
            Slot::Swa => self.swa.as_mut().ok_or_else(|| slot.missing())?,
            Slot::Ema => self.ema.as_mut().ok_or_else(|| slot.missing())?,
            Slot::Copy(i) => {
                if self.copies[i].is_empty() {
                    self.copies[i] = self.params.clone();
                }
                &mut self.copies[i]
            }
        })
    }

    /// One update.
    pub fn step(&mut self, shared: &Shared<T>, step: &Step, replica: usize) -> StepMetrics {
        let (loss, correct) = self.gradient(shared, step);
        let optimizer = &shared.setup.optimizer;
        let constants = optimizer.coefficients(step.index + 1, step.rates[replica]).into();
        let mut scale = T::of(1.0);
        let mut grad_norm = None;
        if let Some(max_norm) = shared.setup.clip_norm {
            let (norm, clip) = super::grad_norm(&self.grads, max_norm);
            scale = clip;
            grad_norm = Some(norm.to_f64());
        }
        let mut state: Vec<&mut [T]> = self.state.iter_mut().map(Vec::as_mut_slice).collect();
        let chunk = if shared.parallel { UPDATE_CHUNK } else { usize::MAX };
        update(optimizer.rule(), &constants, scale, &self.grads, &mut self.params, &mut state, chunk);
        let average = &shared.setup.average;
        let means = [(average.swa_weight(step.index), &mut self.swa), (average.ema_weight(step.index), &mut self.ema)];
        for (k, mean) in means {
            if let Some(mean) = mean.as_mut().filter(|_| k > 0.0) {
                super::average(T::of(k), &self.params, mean);
            }
        }
        StepMetrics { step: step.index, replica, loss, correct, grad_norm }
    }

    /// Leaves the gradient of the step's mean loss in `grads`; returns that loss and the number of right answers.
    pub fn gradient(&mut self, shared: &Shared<T>, step: &Step) -> (f64, u64) {
        let samples = &shared.setup.dataset.train;
        let mut sums = (0.0, 0);
        let order = std::mem::take(&mut self.order);
        for (i, pass) in step.passes().enumerate() {
            let order = &order[pass];
            self.forward(shared, samples, order);
            self.loss(shared, samples, shared.targets, order, step.rows);
            super::metrics(&self.row_loss[..order.len()], &self.row_correct[..order.len()], &mut sums);
            self.backward(shared, order.len(), i > 0);
        }
        self.order = order;
        (sums.0 / step.rows as f64, sums.1)
    }

    pub fn grads(&self) -> &[T] {
        &self.grads
    }

    /// Mean loss and accuracy of the live weights over `samples`.
    pub fn evaluate(&mut self, shared: &Shared<T>, samples: &Samples, targets: &[T]) -> Evaluation {
        let mut sums = (0.0, 0);
        let order: Vec<u32> = (0..samples.len() as u32).collect();
        for order in order.chunks(shared.setup.room()) {
            self.forward(shared, samples, order);
            self.loss(shared, samples, targets, order, 1);
            super::metrics(&self.row_loss[..order.len()], &self.row_correct[..order.len()], &mut sums);
        }
        let n = samples.len() as f64;
        Evaluation { loss: sums.0 / n, accuracy: sums.1 as f64 / n }
    }

    fn forward(&mut self, shared: &Shared<T>, samples: &Samples, order: &[u32]) {
        let rows = order.len();
        super::gather(&shared.setup.dataset, &samples.features, order, &mut self.a[0]);
        for (l, layer) in shared.layout.layers.iter().enumerate() {
            let activation = shared.setup.model.activation_after(l);
            let (inputs, outputs) = (rows * stride(layer.inputs), rows * stride(layer.outputs));
            let (a, y) = self.a.split_at_mut(l + 1);
            let (a, y, slope) = (&a[l][..inputs], &mut y[0][..outputs], &mut self.slope[l][..outputs]);
            product::linear(layer, activation, &self.params, a, y, slope, shared.parallel);
        }
    }

    fn loss(&mut self, shared: &Shared<T>, samples: &Samples, targets: &[T], order: &[u32], batch: usize) {
        let setup = shared.setup;
        let outputs = setup.model.outputs();
        let last = self.dz.len() - 1;
        let rows = order.len() * stride(outputs);
        let (z, dz) = (&self.a[last + 1][..rows], &mut self.dz[last][..rows]);
        let (loss, correct) = (&mut self.row_loss, &mut self.row_correct);
        match (setup.loss, &samples.targets) {
            (Loss::CrossEntropy, crate::data::Targets::Labels(labels)) => {
                super::softmax_cross_entropy(outputs, setup.label_smoothing, batch, order, labels, z, dz, loss, correct)
            }
            _ => super::mse(outputs, batch, order, targets, z, dz, loss, correct),
        }
    }

    fn backward(&mut self, shared: &Shared<T>, rows: usize, accumulate: bool) {
        for (l, layer) in shared.layout.layers.iter().enumerate().rev() {
            let (inputs, outputs) = (rows * stride(layer.inputs), rows * stride(layer.outputs));
            let (dx, dz) = self.dz.split_at_mut(l);
            let (a, dz) = (&self.a[l][..inputs], &dz[0][..outputs]);
            product::linear_dw(layer, accumulate, a, dz, &mut self.grads, shared.parallel);
            if l > 0 {
                let (slope, dx) = (&self.slope[l - 1][..inputs], &mut dx[l - 1][..inputs]);
                product::linear_dx(layer, &self.params, dz, slope, dx, shared.parallel);
            }
        }
    }
}

/// Updates `w` by halves until a piece is no longer than `chunk`.
fn update<T: Real>(rule: Rule, c: &Constants<T>, scale: T, g: &[T], w: &mut [T], state: &mut [&mut [T]], chunk: usize) {
    if w.len() > chunk {
        let half = w.len() / 2;
        let (g0, g1) = g.split_at(half);
        let (w0, w1) = w.split_at_mut(half);
        let (mut s0, mut s1): (Vec<_>, Vec<_>) = state.iter_mut().map(|s| s.split_at_mut(half)).unzip();
        rayon::join(
            || update(rule, c, scale, g0, w0, &mut s0, chunk),
            || update(rule, c, scale, g1, w1, &mut s1, chunk),
        );
        return;
    }
    match (rule, state) {
        (Rule::Sgd { nesterov }, [v]) => super::sgd(c, nesterov, scale, g, w, v),
        (Rule::Adam { .. }, [m, v]) => super::adam(c, scale, g, w, m, v, None),
        (Rule::Adam { .. }, [m, v, largest]) => super::adam(c, scale, g, w, m, v, Some(largest)),
        (Rule::Rmsprop { .. }, [v, b]) => super::rmsprop(c, scale, g, w, v, b, None),
        (Rule::Rmsprop { .. }, [v, b, mean]) => super::rmsprop(c, scale, g, w, v, b, Some(mean)),
        _ => unreachable!("a rule has its number of state vectors"),
    }
}
