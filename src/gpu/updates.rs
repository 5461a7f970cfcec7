//! What changes whole vectors: clipping and the optimizer, averages, and the operations that callers ask for.

use std::ops::Range;

use wgpu::Buffer;

use super::builder::Builder;
use super::kernels::{self, Kernel, LANES, PARTS};
use super::program::{Extent, Op};
use crate::engine::stride;
use crate::sam::Sam;

impl Builder<'_> {
    /// The next loss scale: dz of the lowest layer, scaling -> scaling: (R); nothing in full precision
    pub fn loss_scale(&self, dz: &Buffer) -> Option<Op> {
        let width = self.layout.layers[0].outputs;
        let args = kernels::LossScaleArgs { columns: stride(width) as u32 / 4, dz_stride: self.rows_stride(width) };
        let grid = self.grid(Extent::Fixed(1), Extent::Rows(kernels::LOSS_SCALE_ROWS));
        let op = || self.op(&kernels::loss_scale, &[], &args, &[dz, &self.buffers.scaling], grid);
        self.setup.is_mixed().then(op)
    }

    /// The clipping of the gradient: grads -> norm in metrics, clip in scaling: (R); nothing without a largest norm
    pub fn clip(&self) -> Vec<Op> {
        if self.setup.clip_norm.is_none() {
            return Vec::new();
        }
        let b = self.buffers;
        let (params, trained) = (self.layout.len as u32 / 4, self.layout.trained as u32 / 4);
        let args = kernels::GradNormArgs { params, trained };
        let op = |(entry_point, groups)| {
            let grid = self.grid(Extent::Fixed(groups), Extent::Fixed(1));
            let buffers = [&b.grads, &b.parts, &b.scaling, &b.metrics];
            self.op_at(&kernels::grad_norm, entry_point, &[], &args, &buffers, grid)
        };
        [("square", PARTS), ("root", 1)].map(op).into()
    }

    /// The ascent: w, grads -> ascended, grads of 0: (R, P)
    pub fn ascend(&self, sam: &Sam, ascended: &Buffer) -> Vec<Op> {
        let (b, trained) = (self.buffers, self.layout.trained);
        let constants = [("ADAPTIVE", f64::from(sam.adaptive)), ("ETA", Sam::ETA)];
        let (params, trained_vec4s) = (self.layout.len as u32 / 4, trained as u32 / 4);
        let args = kernels::AscentArgs { params, trained: trained_vec4s };
        let factor = |(entry_point, groups)| {
            let grid = self.grid(Extent::Fixed(groups), Extent::Fixed(1));
            let buffers = [&b.params, &b.grads, &b.parts, &b.alpha];
            self.op_at(&kernels::ascent, entry_point, &constants, &args, &buffers, grid)
        };
        // w, grads -> parts: (R, PARTS) -> the factor of the direction, in alpha: (R)
        let mut ops: Vec<Op> = [("square", PARTS), ("root", 1)].map(factor).into();
        // alpha, w, grads -> grads, ascended
        ops.push(self.over(&kernels::ascend, &constants, 0..trained, &[&b.alpha, &b.params, &b.grads, ascended]));
        ops
    }

    /// The optimizer's update: grads, params, state -> params, state, working: (R, P), from `first` on
    pub fn update(&self, first: usize) -> Op {
        let b = self.buffers;
        let kernels::Update { kernel, flag, .. } = kernels::update(self.setup.optimizer.rule());
        let constants = [&[flag][..], &self.keep()].concat();
        let buffers = [&b.scaling, &b.grads, &b.params, &b.state, &b.working];
        self.over(&kernel, &constants, first..self.layout.trained, &buffers)
    }

    /// The constants of what follows new weights: where in state the EMA lies, and whether there is a working copy.
    pub(super) fn keep(&self) -> [(&'static str, f64); 2] {
        let ema = if self.setup.updates_ema() { self.setup.optimizer.state_vectors() } else { 0 };
        [("EMA", ema as f64), ("MIXED", f64::from(self.setup.is_mixed()))]
    }

    /// The working copy of the weights in halves: params -> working: (R, P)
    pub fn to_half(&self, params: &Buffer) -> Op {
        self.over(&kernels::to_half, &[], 0..self.layout.trained, &[params, &self.buffers.working])
    }

    /// The mean of SWA or of the EMA: params, mean -> mean: (R, P)
    pub fn average(&self, params: &Buffer, mean: &Buffer, is_ema: bool) -> Op {
        let is_ema = [("IS_EMA", f64::from(is_ema))];
        self.over(&kernels::average, &is_ema, 0..self.layout.trained, &[params, mean])
    }

    /// The step of lookahead: params, slow -> params, slow: (R, P)
    pub fn lookahead(&self, params: &Buffer, slow: &Buffer) -> Op {
        self.over(&kernels::lookahead, &[], 0..self.layout.trained, &[params, slow])
    }

    /// The sum with a multiple of another vector: alpha, x, y -> y: (R, P)
    pub fn axpy(&self, x: &Buffer, y: &Buffer) -> Op {
        self.over(&kernels::axpy, &[], 0..self.layout.len, &[&self.buffers.alpha, x, y])
    }

    /// The multiple of a vector: alpha, x -> x: (R, P)
    pub fn scale(&self, x: &Buffer) -> Op {
        self.over(&kernels::scale, &[], 0..self.layout.len, &[&self.buffers.alpha, x])
    }

    /// The parts of an inner product: x, y -> parts: (R, PARTS)
    pub fn dot(&self, x: &Buffer, y: &Buffer) -> Op {
        let args = kernels::DotArgs { params: self.layout.len as u32 / 4 };
        let grid = self.grid(Extent::Fixed(PARTS), Extent::Fixed(1));
        self.op(&kernels::dot, &[], &args, &[x, y, &self.buffers.parts], grid)
    }

    /// The dispatch of a kernel, with constants of its own, over a range of each vector.
    fn over(&self, kernel: &Kernel, own: &[(&'static str, f64)], range: Range<usize>, buffers: &[&Buffer]) -> Op {
        let constants = [own, &[("LANES", LANES.into())]].concat();
        self.op(kernel, &constants, &self.vector_args(range.clone()), buffers, self.vector_grid(range))
    }

    fn vector_args(&self, range: Range<usize>) -> kernels::UpdateArgs {
        kernels::UpdateArgs {
            first: range.start as u32 / 4,
            params: self.layout.len as u32 / 4,
            trained: range.end as u32 / 4,
            decayed: self.setup.decayed(self.layout) as u32 / 4,
        }
    }
}
