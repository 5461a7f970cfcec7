//! The products of second derivatives with a vector: passes forward and back that carry along how all they make moves with the
//! weights (Pearlmutter, 1994). What moves has the name of what it is with an r before it: `ra` is how a moves as the weights
//! move along the vector.

use super::Finish;
use super::Real;
use super::crew::Crew;
use super::passes::{Averaged, Workspace, gather};
use super::product;
use super::shared::{Shared, zeros};
use super::weights::Weights;
use crate::activation::Activation;
use crate::data::Samples;
use crate::engine::{Curvature, Layer, stride};
use crate::error::Result;
use crate::loss::Loss;
use crate::model::Norm;

/// What a pass makes beside a [`Workspace`], shaped as there, and the vectors it needs.
pub(super) struct Tangents<T> {
    ra: Vec<Vec<T>>,
    rslope: Vec<Vec<T>>,
    rxhat: Vec<Vec<T>>,
    rinverse: Vec<Vec<T>>,
    rdz: Vec<Vec<T>>,
    rda: Vec<Vec<T>>,
    da: Vec<Vec<T>>,
    /// The second term of a sum, of the widest layer.
    other: Vec<T>,
    /// The weights alone: biases and all that follows are 0.
    matrices: Vec<T>,
    /// The part of the product that comes from `ra` and dz; the other comes from a and `rdz`.
    part: Vec<T>,
}

impl<T: Real> Tangents<T> {
    /// # Errors
    /// Too little memory.
    pub fn new(shared: &Shared<T>) -> Result<Self> {
        let (setup, model) = (shared.setup, &shared.setup.model);
        let (room, replicas) = (setup.room(), setup.replicas);
        let rows = |l: usize| room * stride(model.widths[l]);
        let each = |size: &dyn Fn(usize) -> usize| -> Result<Vec<Vec<T>>> {
            (0..model.layers()).map(|l| zeros(size(l), replicas)).collect()
        };
        let if_normed = |l: usize, size: usize| if model.norm_after(l) == Norm::None { 0 } else { size };
        let mut ra = vec![Vec::new()];
        ra.extend(each(&|l| rows(l + 1))?);
        Ok(Self {
            ra,
            rslope: each(&|l| rows(l + 1))?,
            rxhat: each(&|l| if_normed(l, rows(l + 1)))?,
            rinverse: each(&|l| if_normed(l, room))?,
            rdz: each(&|l| rows(l + 1))?,
            rda: each(&|l| if l > 0 { rows(l) } else { 0 })?,
            da: each(&|l| if l > 0 { rows(l) } else { 0 })?,
            other: zeros((1..=model.layers()).map(rows).max().unwrap_or_default(), replicas)?,
            matrices: zeros(shared.layout.len, replicas)?,
            part: zeros(shared.layout.len, replicas)?,
        })
    }
}

/// What every pass of a product has in common.
struct Pass<'a, T> {
    shared: &'a Shared<'a, T>,
    of: Curvature,
    /// The vector that the weights move along.
    v: &'a [T],
    /// The number of samples of all passes.
    total: f64,
}

impl<T: Real> Tangents<T> {
    /// Multiplies `v` with second derivatives of the evaluated loss over the samples of `order`, and leaves the product in the
    /// gradient's place.
    pub fn multiply(
        &mut self,
        shared: &Shared<T>,
        of: Curvature,
        v: &[T],
        order: &[u32],
        work: &mut Workspace<T>,
        weights: &mut Weights<T>,
    ) {
        let pass = Pass { shared, of, v, total: order.len() as f64 };
        self.matrices.copy_from_slice(&weights.params);
        self.matrices[shared.layout.weights..].fill(T::of(0.0));
        self.part.fill(T::of(0.0));
        weights.grads.fill(T::of(0.0));
        let samples = &shared.setup.dataset.train;
        for order in order.chunks(shared.setup.room()) {
            pass.forward(work, self, &mut weights.params, samples, order);
            pass.loss(work, self, samples, order);
            pass.backward(work, self, &weights.params, order.len(), &mut weights.grads);
        }
        // What biases and β got beside it belongs to the gradient.
        for layer in &shared.layout.layers {
            let gamma = layer.gamma..layer.gamma + stride(layer.outputs);
            for range in [Some(layer.weights()), (layer.gamma > 0).then_some(gamma)].into_iter().flatten() {
                super::axpy(T::of(1.0), &self.part[range.clone()], &mut weights.grads[range]);
            }
        }
    }
}

impl<T: Real> Pass<'_, T> {
    fn forward(&self, w: &mut Workspace<T>, t: &mut Tangents<T>, params: &mut [T], samples: &Samples, order: &[u32]) {
        let (shared, model, rows) = (self.shared, &self.shared.setup.model, order.len());
        gather(shared, &samples.features, order, None, &mut w.a[0][..rows * stride(model.inputs())], &mut []);
        for (l, layer) in shared.layout.layers.iter().enumerate() {
            let (inputs, outputs) = (rows * stride(layer.inputs), rows * stride(layer.outputs));
            let (a, y) = w.a.split_at_mut(l + 1);
            let (a, y) = (&a[l][..inputs], &mut y[0][..outputs]);
            let (ra, ry) = t.ra.split_at_mut(l + 1);
            // x does not move.
            let (ra, ry) = ((l > 0).then(|| &ra[l][..inputs]), &mut ry[0][..outputs]);
            let (slope, rslope) = (&mut w.slope[l][..outputs], &mut t.rslope[l][..outputs]);
            let mut linear = |params: &[T], a: &[T], z: &mut [T]| {
                let plain = Finish { activation: Activation::Identity, ..Finish::default() };
                product::linear(layer, &plain, params, a, z, slope, shared.crew);
            };
            let other = &mut t.other[..outputs];
            if let Some(ra) = ra {
                linear(&t.matrices, ra, other);
            }
            let mut other = ra.is_some().then_some(&*other);
            if model.norm_after(l) == Norm::None {
                linear(params, a, y);
                linear(self.v, a, ry);
            } else {
                let (xhat, inverse) = (&mut w.xhat[l][..outputs], &mut w.inverse[l]);
                let (rxhat, rinverse) = (&mut t.rxhat[l][..outputs], &mut t.rinverse[l]);
                linear(params, a, xhat);
                linear(self.v, a, rxhat);
                let is_batch = model.norm == Norm::Batch;
                if is_batch {
                    super::batch_norm(layer, None, params, xhat, y, inverse);
                } else {
                    super::layer_norm(layer, params, xhat, y, inverse);
                }
                super::norm_r(layer, is_batch, xhat, inverse, rxhat, other.take(), rinverse);
                super::affine_r(layer, params, self.v, xhat, rxhat, ry);
            }
            let finish =
                Finish { activation: model.activation_after(l), residual: model.is_residual(l), dropout: None };
            activations(layer, &finish, shared.crew, a, ra, y, slope, ry, other, rslope);
        }
    }

    fn loss(&self, w: &mut Workspace<T>, t: &mut Tangents<T>, samples: &Samples, order: &[u32]) {
        let (setup, last) = (self.shared.setup, self.shared.layout.layers.len() - 1);
        let outputs = setup.model.outputs();
        let rows = order.len() * stride(outputs);
        let rdz = &mut t.rdz[last][..rows];
        rdz.copy_from_slice(&t.ra[last + 1][..rows]);
        match setup.loss {
            Loss::CrossEntropy => super::softmax_cross_entropy_r(outputs, self.total, &w.output()[..rows], rdz),
            Loss::Mse => super::mse_r(outputs, self.total, rdz),
        }
        if self.of == Curvature::Hessian {
            let averaged = Averaged { is_mixed: false, total: self.total, weighting: None };
            w.loss(self.shared, samples, order, Some(&averaged), &mut (0.0, 0));
        }
    }

    fn backward(&self, w: &mut Workspace<T>, t: &mut Tangents<T>, params: &[T], rows: usize, grads: &mut [T]) {
        let (shared, model) = (self.shared, &self.shared.setup.model);
        for (l, layer) in shared.layout.layers.iter().enumerate().rev() {
            let (inputs, outputs) = (rows * stride(layer.inputs), rows * stride(layer.outputs));
            if model.norm_after(l) != Norm::None {
                self.normalisation(l, layer, w, t, params, outputs, grads);
            }
            product::linear_dw(layer, true, &w.a[l][..inputs], &t.rdz[l][..outputs], grads, shared.crew);
            if l == 0 {
                continue;
            }
            let slope = &w.slope[l - 1][..inputs];
            let (dx, dz) = w.dz.split_at_mut(l);
            let (dx, dz) = (&mut dx[l - 1][..inputs], &dz[0][..outputs]);
            let (rdx, rdz) = t.rdz.split_at_mut(l);
            let (rdx, rdz) = (&mut rdx[l - 1][..inputs], &rdz[0][..outputs]);
            let is_residual = model.is_residual(l);
            let (da, above) = t.da.split_at_mut(l + 1);
            let (da, above) = (&mut da[l][..inputs], is_residual.then(|| &above[0][..inputs]));
            let (rda, rabove) = t.rda.split_at_mut(l + 1);
            let (rda, rabove) = (&mut rda[l][..inputs], is_residual.then(|| &rabove[0][..inputs]));
            if self.of == Curvature::GaussNewton {
                product::linear_dx(layer, params, rdz, slope, rabove, rdx, Some(rda), shared.crew);
                continue;
            }
            product::linear_dw(layer, true, &t.ra[l][..inputs], dz, &mut t.part, shared.crew);
            // da = dz · W, rda = rdz · W + dz · V
            product::linear_dx(layer, params, dz, slope, above, dx, Some(da), shared.crew);
            let other = &mut t.other[..inputs];
            product::linear_dx(layer, self.v, dz, slope, rabove, rdx, Some(&mut *other), shared.crew);
            product::linear_dx(layer, params, rdz, slope, Some(other), rdx, Some(rda), shared.crew);
            super::linear_dx_r(da, &t.rslope[l - 1][..inputs], rdx);
        }
    }

    /// What the normalisation after layer l passes on, from the gradient of its output to that of its input.
    #[allow(clippy::too_many_arguments, reason = "the layer, and what its pass works on")]
    fn normalisation(
        &self,
        l: usize,
        layer: &Layer,
        w: &mut Workspace<T>,
        t: &mut Tangents<T>,
        params: &[T],
        outputs: usize,
        grads: &mut [T],
    ) {
        let is_batch = self.shared.setup.model.norm == Norm::Batch;
        let (xhat, inverse) = (&w.xhat[l][..outputs], &w.inverse[l]);
        let (rxhat, rdz) = (&t.rxhat[l][..outputs], &mut t.rdz[l][..outputs]);
        super::norm_dw(layer, true, xhat, rdz, grads);
        if self.of == Curvature::Hessian {
            let dz = &mut w.dz[l][..outputs];
            super::norm_dw(layer, true, rxhat, dz, &mut t.part);
            super::affine_dx_r(layer, params, self.v, dz, rdz);
            super::norm_dx_r(layer, is_batch, xhat, inverse, rxhat, &t.rinverse[l], dz, rdz);
        } else if is_batch {
            super::batch_norm_dx(layer, true, params, grads, xhat, inverse, rdz);
        } else {
            super::layer_norm_dx(layer, params, xhat, inverse, rdz);
        }
    }
}

/// The number of multiply-adds that take the time of a value's activation with two derivatives.
const VALUE_COST: usize = 32;

/// The activation and how it moves, by rows side by side.
#[allow(clippy::too_many_arguments, reason = "each is one binding of the two kernels")]
fn activations<T: Real>(
    layer: &Layer,
    finish: &Finish,
    crew: Crew,
    a: &[T],
    ra: Option<&[T]>,
    y: &mut [T],
    slope: &mut [T],
    ry: &mut [T],
    other: Option<&[T]>,
    rslope: &mut [T],
) {
    let crew = crew.worth(VALUE_COST * y.len());
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let part = (y.len() / outputs).div_ceil(crew.threads());
    let parts = y
        .chunks_mut(part * outputs)
        .zip(slope.chunks_mut(part * outputs))
        .zip(ry.chunks_mut(part * outputs).zip(rslope.chunks_mut(part * outputs)))
        .zip(a.chunks(part * inputs));
    crew.each(parts.enumerate(), |(i, (((y, slope), (ry, rslope)), a))| {
        // A residual connection has inputs as wide as outputs.
        let here = i * part * outputs..i * part * outputs + ry.len();
        let ra = ra.filter(|_| finish.residual).map(|ra| &ra[here.clone()]);
        let other = other.map(|other| &other[here]);
        super::activate_r(finish.activation, y, ra, ry, other, rslope);
        super::activate(finish, layer.outputs, a, y, slope);
    });
}
