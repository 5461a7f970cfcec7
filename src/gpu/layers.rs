//! What stands between the products of two layers: normalisation and activation, forward and backward.

use wgpu::Buffer;

use super::buffers::NormBuffers;
use super::builder::Builder;
use super::dataset::Feed;
use super::kernels::{self, LANES, NORM_COLUMNS};
use super::program::{Extent, Op};
use crate::model::Norm;
use crate::number::hash;

impl Builder<'_> {
    /// The normalisation after layer l: w, z in xhat -> xhat, n: (R, room, outputs); inverse
    pub fn norm(&self, l: usize, feed: &Feed, w: &Buffer, xhat: &Buffer, n: &Buffer, inverse: &Buffer) -> Op {
        let layer = &self.layout.layers[l];
        let (_, outputs, params_stride) = self.dims(layer);
        let (gamma, beta) = (layer.gamma as u32 / 4, layer.beta as u32 / 4);
        let z_stride = self.rows_stride(layer.outputs);
        let buffers = [w, xhat, n, inverse];
        if self.setup.model.norm == Norm::Batch {
            let statistics = layer.statistics as u32 / 4;
            let args = kernels::BatchNormArgs { outputs, params_stride, gamma, beta, statistics, z_stride };
            let constants = [("TRAINING", f64::from(feed.is_training()))];
            let grid = self.grid(Extent::Fixed(outputs.div_ceil(NORM_COLUMNS)), Extent::Fixed(1));
            return self.op(&kernels::batch_norm, &constants, &args, &buffers, grid).of_layer(l);
        }
        let (width, room) = (layer.outputs as u32, self.setup.room() as u32);
        let args = kernels::LayerNormArgs { outputs, width, params_stride, gamma, beta, z_stride, room };
        let grid = self.grid(Extent::Rows(1), Extent::Fixed(1));
        self.op(&kernels::layer_norm, &[], &args, &buffers, grid).of_layer(l)
    }

    /// The activation after a normalisation: a, n in y -> y, slope: (R, room, outputs)
    pub fn activate(&self, l: usize, feed: &Feed, a: &Buffer, y: &Buffer, slope: &Buffer) -> Op {
        let args = self.activate_args(l, feed);
        let constants = [&self.finish(l, feed)[..], &[("LANES", LANES.into())]].concat();
        let a = if self.setup.model.is_residual(l) { a } else { &self.buffers.unused[0] };
        self.op(&kernels::activate, &constants, &args, &[a, y, slope], self.vec4s(args.outputs)).of_layer(l)
    }

    pub(super) fn activate_args(&self, l: usize, feed: &Feed) -> kernels::ActivateArgs {
        let layer = &self.layout.layers[l];
        let shares_x = l == 0 && !feed.has_own_samples();
        kernels::ActivateArgs {
            outputs: self.dims(layer).1,
            a_stride: if shares_x { 0 } else { self.rows_stride(layer.inputs) },
            y_stride: self.rows_stride(layer.outputs),
            purpose: hash::DROPOUT + l as u32,
            width: layer.outputs as u32,
        }
    }

    /// The constants of what becomes of a layer's `z`.
    pub(super) fn finish(&self, l: usize, feed: &Feed) -> [(&'static str, f64); 5] {
        let model = &self.setup.model;
        [
            ("ACTIVATION", f64::from(model.activation_after(l).code())),
            ("RESIDUAL", f64::from(model.is_residual(l))),
            ("DROPOUT", f64::from(feed.is_drawn && model.is_hidden(l) && model.dropout > 0.0)),
            ("SLOPE", f64::from(feed.is_kept)),
            ("CLEARED", f64::from(!model.activation_after(l).keeps_zero())),
        ]
    }

    /// The gradients of a normalisation's γ and β: xhat, dn in dz -> dγ, dβ in grads: (R, P)
    pub fn norm_dw(&self, l: usize, xhat: &Buffer, dz: &Buffer, grads: &Buffer) -> Op {
        let args = self.norm_args(l);
        let grid = self.grid(Extent::Fixed(args.outputs.div_ceil(NORM_COLUMNS)), Extent::Fixed(1));
        self.op(&kernels::norm_dw, &[], &args, &[xhat, dz, &self.buffers.scaling, grads], grid).of_layer(l)
    }

    /// The input gradient of a normalisation, whose running statistics may be kept: w, grads, xhat, inverse, dn in dz -> dz:
    /// (R, room, outputs)
    pub fn norm_dx(&self, l: usize, is_kept: bool, w: &Buffer, grads: &Buffer, norm: &NormBuffers, dz: &Buffer) -> Op {
        let NormBuffers { xhat, inverse } = norm;
        let args = self.norm_args(l);
        if self.setup.model.norm == Norm::Batch {
            let grid = self.grid(Extent::Fixed(args.outputs.div_ceil(LANES)), Extent::Rows(1));
            let buffers = [w, grads, xhat, inverse, &self.buffers.scaling, dz];
            let constants = [("KEPT", f64::from(is_kept)), ("LANES", LANES.into())];
            return self.op(&kernels::batch_norm_dx, &constants, &args, &buffers, grid).of_layer(l);
        }
        let kernels::NormArgs { outputs, params_stride, gamma, z_stride, .. } = args;
        let (width, room) = (self.layout.layers[l].outputs as u32, self.setup.room() as u32);
        let args = kernels::LayerNormDxArgs { outputs, width, params_stride, gamma, z_stride, room };
        let grid = self.grid(Extent::Rows(1), Extent::Fixed(1));
        self.op(&kernels::layer_norm_dx, &[], &args, &[w, xhat, inverse, dz], grid).of_layer(l)
    }

    fn norm_args(&self, l: usize) -> kernels::NormArgs {
        let layer = &self.layout.layers[l];
        let (_, outputs, params_stride) = self.dims(layer);
        let (gamma, beta) = (layer.gamma as u32 / 4, layer.beta as u32 / 4);
        kernels::NormArgs { outputs, params_stride, gamma, beta, z_stride: self.rows_stride(layer.outputs) }
    }
}
