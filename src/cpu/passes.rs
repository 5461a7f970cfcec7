//! The passes through the network, forward and back.

use super::batch_norm::batch_norm_across;
use super::batch_norm_dx::batch_norm_dx_across;
use super::product::{self, Vectors};
use super::shared::{Shared, zeros};
use super::weights::{Weights, update};
use super::{Constants, Dropout, Finish, Real, Training, Weighting};
use crate::activation::Activation;
use crate::data::{Augment, Features, Samples, Targets};
use crate::engine::{Setup, stride};
use crate::error::Result;
use crate::loss::Loss;
use crate::model::Norm;
use crate::optimizer::Rule;

/// The workspace of a pass: what it makes on its way, and what it is made of.
pub(super) struct Workspace<T> {
    // (room, stride(width)) a layer: a[0] is x; layer l makes of a[l], by way of xhat[l] where there is a normalisation,
    // a[l + 1] and the slope of its activation; da[l] is the gradient of a[l], where a residual connection needs it.
    pub(super) a: Vec<Vec<T>>,
    pub(super) slope: Vec<Vec<T>>,
    pub(super) xhat: Vec<Vec<T>>,
    pub(super) inverse: Vec<Vec<T>>,
    pub(super) dz: Vec<Vec<T>>,
    da: Vec<Vec<T>>,
    /// The other sample of each row under mixup, and the share of its own.
    mix: Vec<(u32, T)>,
    row_loss: Vec<T>,
    row_correct: Vec<bool>,
}

/// The beginning of a pass: what its first layer is made of.
#[derive(Clone, Copy)]
pub(super) enum First<'a, T> {
    /// The samples, `(rows, stride(inputs))`.
    Of(&'a [T]),
    /// What makes the layer's z, `(rows, stride(outputs))`, by itself.
    Made(&'a dyn Fn(&mut [T])),
}

/// The mean that a step's loss is.
pub(super) struct Averaged<'a, T> {
    /// Whether samples are mixed with one another.
    pub is_mixed: bool,
    /// What the sum over the step's samples is divided by: their weight, or their number where all count alike.
    pub total: f64,
    /// The weights; none where all count alike.
    pub weighting: Option<Weighting<'a, T>>,
}

impl<T: Real> Workspace<T> {
    /// A workspace of zeros for passes of as many rows as the setup has room for.
    ///
    /// # Errors
    /// Too little memory.
    pub fn new(setup: &Setup) -> Result<Self> {
        let (room, model, trains) = (setup.room(), &setup.model, !setup.evaluation_only);
        let outputs = |l: usize| stride(model.widths[l + 1]);
        // One vector a layer, empty where the layer does not need it.
        let layers = |size: &dyn Fn(usize) -> usize| -> Result<Vec<Vec<T>>> {
            (0..model.layers()).map(|l| zeros(size(l), setup.replicas)).collect()
        };
        let if_normed = |l: usize, size: usize| if model.norm_after(l) == Norm::None { 0 } else { size };
        // The samples of an evaluation are those of all replicas, which the engine has.
        let mut a = vec![zeros(if trains { room * stride(model.inputs()) } else { 0 }, setup.replicas)?];
        a.extend(layers(&|l| room * outputs(l))?);
        // An evaluation reads no slopes, so that one vector takes those of all layers.
        let widest = (0..model.layers()).map(outputs).max().unwrap_or_default();
        let slope = if trains { layers(&|l| room * outputs(l))? } else { vec![zeros(room * widest, setup.replicas)?] };
        Ok(Self {
            a,
            slope,
            xhat: layers(&|l| if_normed(l, room * outputs(l)))?,
            inverse: layers(&|l| if_normed(l, room.max(outputs(l))))?,
            // The last one is that of the loss.
            dz: layers(&|l| if trains || !model.is_hidden(l) { room * outputs(l) } else { 0 })?,
            da: layers(&|l| if trains && model.keeps_da(l) { room * stride(model.widths[l]) } else { 0 })?,
            mix: if setup.augment.mixup > 0.0 { vec![(0, T::default()); room] } else { Vec::new() },
            row_loss: vec![T::default(); room],
            row_correct: vec![false; room],
        })
    }

    /// The vectors of the workspace, one a layer, by name.
    pub fn vectors(&self) -> [(&'static str, &[Vec<T>]); 6] {
        [
            ("a", &self.a),
            ("slope", &self.slope),
            ("xhat", &self.xhat),
            ("inverse", &self.inverse),
            ("dz", &self.dz),
            ("da", &self.da),
        ]
    }

    /// The last layer's output.
    pub fn output(&mut self) -> &mut [T] {
        let last = self.a.len() - 1;
        &mut self.a[last]
    }

    /// Makes of the samples that `order` names the last layer's output; a training pass moves running statistics in `params`.
    pub fn forward(
        &mut self,
        shared: &Shared<T>,
        params: &mut [T],
        features: &Features,
        order: &[u32],
        training: Option<&Training>,
    ) {
        let setup = shared.setup;
        let drawn = training.filter(|t| t.is_drawn);
        let augment = drawn.filter(|_| !setup.augment.is_none()).map(|t| (&setup.augment, shared.quantiles, t));
        let mut x = std::mem::take(&mut self.a[0]);
        let rows = order.len() * stride(setup.model.inputs());
        gather(shared, features, order, augment, &mut x[..rows], &mut self.mix);
        self.layers(shared, params, First::Of(&x[..rows]), order.len(), training);
        self.a[0] = x;
    }

    /// Makes of the samples of a pass the last layer's output, as [`forward`](Self::forward) does.
    pub fn layers(
        &mut self,
        shared: &Shared<T>,
        params: &mut [T],
        first: First<T>,
        rows: usize,
        training: Option<&Training>,
    ) {
        let setup = shared.setup;
        let drawn = training.filter(|t| t.is_drawn);
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
            let (a, made) = match first {
                First::Of(x) if l == 0 => (x, None),
                First::Made(z) if l == 0 => (&a[l][..0], Some(z)),
                _ => (&a[l][..rows * stride(layer.inputs)], None),
            };
            let slope_at = if setup.evaluation_only { 0 } else { l };
            let (y, slope) = (&mut y[0][..rows * width], &mut self.slope[slope_at][..rows * width]);
            let norm = setup.model.norm_after(l);
            if norm == Norm::None && made.is_none() {
                product::linear(layer, &finish, params, a, y, slope, shared.crew);
                continue;
            }
            let (xhat, inverse) = (&mut self.xhat[l], &mut self.inverse[l]);
            let normed = xhat.len().min(rows * width);
            let xhat = &mut xhat[..normed];
            let plain = Finish { activation: Activation::Identity, ..Finish::default() };
            let z = if norm == Norm::None { &mut *y } else { &mut *xhat };
            match made {
                Some(made) => made(z),
                None => product::linear(layer, &plain, params, a, z, slope, shared.crew),
            }
            match norm {
                Norm::None => {}
                Norm::Batch => {
                    let share = training.map(|t| t.statistics);
                    batch_norm_across(layer, share, shared.whole, params, xhat, y, inverse);
                }
                Norm::Layer => super::layer_norm(layer, params, xhat, y, inverse),
            }
            super::activate(&finish, layer.outputs, a, y, slope);
        }
    }

    /// Adds the losses and the right answers of a pass over these samples to `sums`. Of a pass of `training` it leaves the
    /// gradient of the mean loss in the last layer's dz.
    pub fn loss(
        &mut self,
        shared: &Shared<T>,
        samples: &Samples,
        order: &[u32],
        training: Option<&Averaged<T>>,
        sums: &mut (f64, u64),
    ) {
        let setup = shared.setup;
        let (outputs, smoothing) = (setup.model.outputs(), setup.label_smoothing);
        let (rows, last) = (order.len() * stride(outputs), self.dz.len() - 1);
        let (z, dz) = (&self.a[last + 1][..rows], &mut self.dz[last][..rows]);
        let mix = training.is_some_and(|t| t.is_mixed).then_some(&self.mix[..]);
        let (weighting, total) = training.map_or((None, 1.0), |t| (t.weighting, t.total));
        let (loss, correct) = (&mut self.row_loss[..order.len()], &mut self.row_correct[..order.len()]);
        match (setup.loss, &samples.targets) {
            (Loss::CrossEntropy, Targets::Labels(labels)) => {
                super::softmax_cross_entropy(
                    outputs, smoothing, total, order, mix, labels, weighting, z, dz, loss, correct,
                );
            }
            _ => super::mse(outputs, total, order, mix, shared.targets, weighting, z, dz, loss, correct),
        }
        super::metrics(loss, correct, sums);
    }

    /// Makes of the last layer's dz the gradient of all weights; running statistics that are kept depend on none. With `fused`,
    /// weights are updated instead, those of normalisations and biases apart.
    pub fn backward(
        &mut self,
        shared: &Shared<T>,
        weights: &mut Weights<T>,
        rows: usize,
        is_kept: bool,
        accumulate: bool,
        fused: Option<(Rule, &Constants<T>)>,
    ) {
        let model = &shared.setup.model;
        for (l, layer) in shared.layout.layers.iter().enumerate().rev() {
            let (inputs, outputs) = (rows * stride(layer.inputs), rows * stride(layer.outputs));
            let (dx, dz) = self.dz.split_at_mut(l);
            let (a, dz) = (&self.a[l][..inputs], &mut dz[0][..outputs]);
            if model.norm_after(l) != Norm::None {
                let xhat = &self.xhat[l][..outputs];
                super::norm_dw(layer, accumulate, xhat, dz, &mut weights.grads);
                match model.norm_after(l) {
                    Norm::Batch => {
                        let Weights { params, grads, .. } = &*weights;
                        let inverse = &self.inverse[l];
                        batch_norm_dx_across(layer, is_kept, shared.whole, params, grads, xhat, inverse, dz);
                    }
                    _ => super::layer_norm_dx(layer, &weights.params, xhat, &self.inverse[l], dz),
                }
            }
            if l > 0 {
                let (slope, dx) = (&self.slope[l - 1][..inputs], &mut dx[l - 1][..inputs]);
                let (da, above) = self.da.split_at_mut(l + 1);
                let above = model.is_residual(l).then(|| &above[0][..inputs]);
                let da = model.keeps_da(l).then(|| &mut da[l][..inputs]);
                product::linear_dx(layer, &weights.params, dz, slope, above, dx, da, shared.crew);
            }
            let Some((rule, constants)) = fused else {
                product::linear_dw(layer, accumulate, a, dz, &mut weights.grads, shared.crew);
                continue;
            };
            product::linear_db(layer, accumulate, dz, &mut weights.grads);
            // What nobody needs any more: the slope since the layer above was done, the gradient since it is never whole.
            let near = &mut self.slope[l][..outputs];
            let (scratch, vectors) = weights.part(layer.weights());
            let update = |g: &[T], vectors: Vectors<T>| update(rule, constants, T::of(1.0), g, vectors);
            product::linear_dw_update(layer, a, dz, near, scratch, vectors, &update, shared.crew);
        }
    }
}

/// The number of multiply-adds that take the time of gathering a value.
const GATHER_COST: usize = 8;

/// Gathers rows side by side, which a mixed batch does not allow.
pub(super) fn gather<T: Real>(
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
