//! The gradient of the evaluated loss, and the products of its second derivatives with a vector (Pearlmutter, 1994): passes that
//! carry along how all they make moves as the weights move along the vector. What moves has the name of what it is with an r before
//! it.
//!
//! | tensor | shape | it is |
//! | --- | --- | --- |
//! | v | (R, P) | the vector |
//! | matrices | (R, P) | the weights, with 0 for biases and all that follows: no sum may have a bias twice |
//! | ra\[l + 1\], rslope\[l\] | (R, room, outputs) | how a\[l + 1\] and slope\[l\] move; the last `ra` becomes the last `rdz` |
//! | rxhat\[l\], rinverse\[l\] | (R, room, outputs), (R, room) | how x̂ and 1/√(variance + ε) do |
//! | rdz\[l\], rda\[l\] | (R, room, outputs), (R, room, inputs) | how dz\[l\] and da\[l\] do |
//! | other | (R, room, widest) | the second term of a sum |
//! | grads, part | (R, P) | the product: what comes from a and `rdz`, and what comes from `ra` and dz |

use std::ops::Range;

use wgpu::{Buffer, CommandEncoder};

use super::builder::Builder;
use super::dataset::Feed;
use super::engine::GpuEngine;
use super::kernels::{self, LANES, PASS_BYTES, Pass};
use super::products::DxBuffers;
use super::program::{Extent, Op};
use crate::data::Part;
use crate::engine::{Curvature, Evaluation, Slot, stride};
use crate::error::Result;
use crate::loss::Loss;
use crate::model::Norm;

/// The dispatches of derivatives of the evaluated loss, made when they are asked for first.
pub(super) struct CurvePrograms {
    tangents: Tangents,
    /// Forward, and how it moves.
    forward: Vec<Op>,
    /// Back, of the Hessian and of the Gauss-Newton matrix.
    hessian: Vec<Op>,
    gauss_newton: Vec<Op>,
    /// The sum of both parts of the product.
    sum: Op,
}

/// The buffers that a pass needs beside those of a step.
struct Tangents {
    v: Buffer,
    part: Buffer,
    ra: Vec<Buffer>,
    rslope: Vec<Buffer>,
    rxhat: Vec<Option<[Buffer; 2]>>,
    rdz: Vec<Buffer>,
    da: Vec<Buffer>,
    rda: Vec<Buffer>,
    other: Buffer,
}

impl GpuEngine {
    /// Leaves in the gradient's slot the gradient of the evaluated loss over positions of the order.
    pub(super) fn slope_over(&mut self, over: Range<usize>) -> Result<Vec<Evaluation>> {
        if self.slope.is_empty()
            && let Some(part) = self.part(Part::Train)
        {
            let feed = part.feed(&self.setup, self.streamed()).of_evaluation(&self.buffers.order, part);
            let builder = self.builder()?;
            self.slope = [builder.forward_and_loss(&self.buffers.params, &feed)?, builder.backward(false, true)?]
                .into_iter()
                .flatten()
                .collect();
        }
        self.clear_statistics_of_gradient();
        self.pass_over(over.clone(), |_| self.slope.iter().collect())?;
        let sums = self.read(&self.buffers.metrics, 0, self.setup.replicas as u64 * 16)?;
        let n = over.len() as f64;
        let evaluation = |row: &[f32]| Evaluation { loss: f64::from(row[0]) / n, accuracy: f64::from(row[1]) / n };
        Ok(sums.chunks_exact(4).map(evaluation).collect())
    }

    /// Multiplies the vector in `x` with second derivatives of the evaluated loss over positions of the order.
    pub(super) fn curve_over(&mut self, of: Curvature, over: Range<usize>, x: Slot, into: Slot) -> Result<()> {
        let programs = match self.curve.take() {
            Some(programs) => programs,
            None => self.curve_programs()?,
        };
        let t = &programs.tangents;
        self.copy_vectors(self.buffers.slot(x)?, (&t.v, 0));
        self.copy_vectors((&self.buffers.params, 0), (&self.buffers.eval_params, 0));
        let mut encoder = self.encoder();
        encoder.clear_buffer(&t.part, 0, None);
        encoder.clear_buffer(&self.buffers.grads, 0, None);
        let layout = &self.layout;
        self.clear(&mut encoder, &t.v, layout.trained..layout.len);
        self.clear(&mut encoder, &self.buffers.eval_params, layout.weights..layout.len);
        self.gpu.queue.submit([encoder.finish()]);
        let back = if of == Curvature::Hessian { &programs.hessian } else { &programs.gauss_newton };
        self.pass_over(over, |_| programs.forward.iter().chain(back).collect())?;
        // What biases and β got there belongs to the gradient.
        let mut encoder = self.encoder();
        self.clear(&mut encoder, &t.part, layout.weights..layout.biases);
        for layer in layout.layers.iter().filter(|layer| layer.beta > 0) {
            self.clear(&mut encoder, &t.part, layer.beta..layer.beta + stride(layer.outputs));
        }
        self.gpu.queue.submit([encoder.finish()]);
        self.write_alpha(&vec![1.0; self.setup.replicas]);
        self.dispatch(&programs.sum)?;
        self.copy_vectors((&self.buffers.grads, 0), self.buffers.slot(into)?);
        self.curve = Some(programs);
        self.gpu.check()
    }

    /// Carries out the dispatches of passes over positions of the order, all of which count as one batch.
    fn pass_over<'a>(&'a self, over: Range<usize>, ops: impl Fn(&Pass) -> Vec<&'a Op>) -> Result<()> {
        let (room, replicas) = (self.setup.room(), self.setup.replicas as u32);
        let pass = |first: usize| Pass {
            first: first as u32,
            rows: room.min(over.end - first) as u32,
            batch: over.len() as u32,
            accumulate: u32::from(first > over.start),
            replicas,
            ..Pass::default()
        };
        let mut passes: Vec<Pass> = over.clone().step_by(room).map(pass).collect();
        for passes in passes.chunks_mut(self.passes_at_once(room, self.setup.replicas)) {
            self.stage(Part::Train, passes, false);
            let mut recorder = self.recorder();
            for (i, pass) in passes.iter().enumerate() {
                recorder.dispatch(&ops(pass), (i as u64 * PASS_BYTES) as u32, pass.rows);
            }
            recorder.submit();
        }
        self.gpu.check()
    }

    /// Puts 0 into a range of every replica's vector.
    fn clear(&self, encoder: &mut CommandEncoder, vectors: &Buffer, range: Range<usize>) {
        for r in (0..self.setup.replicas).filter(|_| !range.is_empty()) {
            let at = (r * self.layout.len + range.start) as u64 * 4;
            encoder.clear_buffer(vectors, at, Some(range.len() as u64 * 4));
        }
    }

    fn curve_programs(&mut self) -> Result<CurvePrograms> {
        let before = self.taken.len();
        let tangents = self.tangents().inspect_err(|_| self.taken.truncate(before));
        let tangents = tangents?;
        let part = self.part(Part::Train).ok_or_else(|| self.setup.dataset.missing(Part::Train))?;
        let feed = part.feed(&self.setup, self.streamed()).of_evaluation(&self.buffers.order, part);
        let builder = self.builder()?;
        let forward = builder.forward_r(&feed, &tangents)?;
        let hessian = builder.backward_r(Some(&feed), &tangents)?;
        let gauss_newton = builder.backward_r(None, &tangents)?;
        let sum = builder.axpy(&tangents.part, &self.buffers.grads);
        Ok(CurvePrograms { tangents, forward, hessian, gauss_newton, sum })
    }

    /// # Errors
    /// Too little memory.
    fn tangents(&mut self) -> Result<Tangents> {
        let (model, layers) = (self.setup.model.clone(), self.setup.model.layers());
        let room = (self.setup.replicas * self.setup.room()) as u64 * 4;
        let rows = |l: usize| room * stride(model.widths[l]) as u64;
        let vector = self.buffers.params.size();
        let mut take = |name: String, bytes: u64| self.allocate_bytes(name, bytes);
        let mut rxhat = Vec::new();
        for l in 0..layers {
            rxhat.push(match model.norm_after(l) {
                Norm::None => None,
                _ => Some([take(format!("rxhat {l}"), rows(l + 1))?, take(format!("rinverse {l}"), room)?]),
            });
        }
        let mut each = |name: &str, range: Range<usize>, next: usize| -> Result<Vec<Buffer>> {
            range.map(|l| take(format!("{name} {l}"), rows(l + next))).collect()
        };
        let ra = each("ra", 0..layers, 1)?;
        let mut rdz = each("rdz", 0..layers - 1, 1)?;
        rdz.extend(ra.last().cloned());
        Ok(Tangents {
            rslope: each("rslope", 0..layers, 1)?,
            da: each("moving da", 1..layers, 0)?,
            rda: each("rda", 1..layers, 0)?,
            ra,
            rdz,
            rxhat,
            other: take("other".into(), (1..=layers).map(rows).max().unwrap_or_default())?,
            v: take("v".into(), vector)?,
            part: take("part".into(), vector)?,
        })
    }
}

impl Builder<'_> {
    /// Makes the dispatches of the forward pass, and of how it moves.
    fn forward_r(&self, feed: &Feed, t: &Tangents) -> Result<Vec<Op>> {
        let (b, model) = (self.buffers, &self.setup.model);
        let mut ops = self.gather(feed, &b.a[0], &b.mix);
        for l in 0..self.layout.layers.len() {
            let (a, y, ry) = (&b.a[l], &b.a[l + 1], &t.ra[l]);
            // x does not move.
            let ra = (l > 0).then(|| &t.ra[l - 1]);
            if let Some(ra) = ra {
                // matrices, ra[l] -> other
                ops.push(self.linear_plain(l, feed, &b.eval_params, ra, &t.other)?);
            }
            let mut has_other = ra.is_some();
            match (&b.norms[l], &t.rxhat[l]) {
                (Some(norm), Some([rxhat, rinverse])) => {
                    // w, a[l] -> z, in xhat[l]; v, a[l] -> rz without other, in rxhat[l]
                    ops.push(self.linear_plain(l, feed, &b.params, a, &norm.xhat)?);
                    ops.push(self.linear_plain(l, feed, &t.v, a, rxhat)?);
                    // w, z -> xhat[l], inverse[l], n in a[l + 1]
                    ops.push(self.norm(l, feed, &b.params, &norm.xhat, y, &norm.inverse));
                    // xhat[l], inverse[l], rz -> rxhat[l], rinverse[l]
                    let buffers = [&norm.xhat, &norm.inverse, &t.other, rxhat, rinverse];
                    let flags = [("BATCH", f64::from(model.norm == Norm::Batch)), ("SUM", f64::from(has_other))];
                    ops.push(self.row_r(&kernels::norm_r, l, &flags, &buffers));
                    has_other = false;
                    // w, v, xhat[l], rxhat[l] -> rn, in ra[l + 1]
                    ops.push(self.vec4_r(&kernels::affine_r, l, &[], &[&b.params, &t.v, &norm.xhat, rxhat, ry]));
                }
                _ => {
                    // w, a[l] -> z, in a[l + 1]; v, a[l] -> rz without other, in ra[l + 1]
                    ops.push(self.linear_plain(l, feed, &b.params, a, y)?);
                    ops.push(self.linear_plain(l, feed, &t.v, a, ry)?);
                }
            }
            // n, ra[l], rn -> ra[l + 1], rslope[l]
            let flags = [
                ("ACTIVATION", f64::from(model.activation_after(l).code())),
                ("RESIDUAL", f64::from(model.is_residual(l) && ra.is_some())),
                ("SUM", f64::from(has_other)),
            ];
            let other = [y, ra.unwrap_or(&b.unused[0]), &t.other, ry, &t.rslope[l]];
            ops.push(self.vec4_r(&kernels::activate_r, l, &flags, &other));
            // n, a[l] -> a[l + 1], slope[l]
            ops.push(self.activate(l, feed, a, y, &b.slope[l]));
        }
        Ok(ops)
    }

    /// Makes the dispatches of the backward pass and of how it moves; without a feed, of the second alone, as if the first were 0.
    fn backward_r(&self, feed: Option<&Feed>, t: &Tangents) -> Result<Vec<Op>> {
        let (b, last) = (self.buffers, self.layout.layers.len() - 1);
        // logits, their tangents -> the last rdz, in the tangents' place
        let mut ops = vec![self.loss_r(last, &b.a[last + 1], &t.rdz[last])];
        // logits, targets -> the last dz, in the logits' place
        ops.extend(feed.map(|feed| self.loss(feed, &b.a[last + 1], &b.metrics)));
        for l in (0..=last).rev() {
            if let (Some(norm), Some([rxhat, rinverse])) = (&b.norms[l], &t.rxhat[l]) {
                // xhat[l], rdn in rdz[l] -> rdγ, rdβ in grads, but what comes from dn
                ops.push(self.norm_dw(l, &norm.xhat, &t.rdz[l], &b.grads));
                if feed.is_some() {
                    // rxhat[l], dn -> the rest of rdγ in part
                    ops.push(self.norm_dw(l, rxhat, &b.dz[l], &t.part));
                    // w, v, dn, rdn -> dx̂ in dz[l], rdx̂ in rdz[l]
                    ops.push(self.vec4_r(&kernels::affine_dx_r, l, &[], &[&b.params, &t.v, &b.dz[l], &t.rdz[l]]));
                    // xhat[l], inverse[l], rxhat[l], rinverse[l], dx̂, rdx̂ -> dz[l], rdz[l]
                    let flags = [("BATCH", f64::from(self.setup.model.norm == Norm::Batch))];
                    let buffers = [&norm.xhat, &norm.inverse, rxhat, rinverse, &b.dz[l], &t.rdz[l]];
                    ops.push(self.row_r(&kernels::norm_dx_r, l, &flags, &buffers));
                } else {
                    ops.push(self.norm_dx(l, true, &b.params, &b.grads, norm, &t.rdz[l]));
                }
            }
            // a[l], rdz[l] -> rdW, rdb in grads, but what comes from dz
            ops.push(self.linear_dw_of(l, &b.a[l], &t.rdz[l], &b.grads)?);
            if l == 0 {
                continue;
            }
            let is_residual = self.setup.model.is_residual(l);
            let above = t.rda.get(l).filter(|_| is_residual);
            let (slope, rdx, rda) = (&b.slope[l - 1], &t.rdz[l - 1], &t.rda[l - 1]);
            if feed.is_some() {
                // ra[l], dz[l] -> the rest of rdW in part
                ops.push(self.linear_dw_of(l, &t.ra[l - 1], &b.dz[l], &t.part)?);
                // w, dz[l], slope[l - 1], da[l + 1] -> dz[l - 1], da[l]
                let (dz, da) = (&b.dz[l], &t.da[l - 1]);
                let of_da = t.da.get(l).filter(|_| is_residual);
                let dx = DxBuffers { w: &b.params, dz, slope, above: of_da, dx: &b.dz[l - 1], da: Some(da) };
                ops.push(self.linear_dx_of(l, &dx)?);
                // v, dz[l], rda[l + 1] -> rda[l] without what comes from rdz[l], in other
                let dx = DxBuffers { w: &t.v, dz, slope, above, dx: rdx, da: Some(&t.other) };
                ops.push(self.linear_dx_of(l, &dx)?);
            }
            // w, rdz[l], slope[l - 1], other -> rdz[l - 1] without what comes from rslope[l - 1], rda[l]
            let above = if feed.is_some() { Some(&t.other) } else { above };
            let dx = DxBuffers { w: &b.params, dz: &t.rdz[l], slope, above, dx: rdx, da: Some(rda) };
            ops.push(self.linear_dx_of(l, &dx)?);
            if feed.is_some() {
                // da[l], rslope[l - 1] -> rdz[l - 1]
                ops.push(self.vec4_r(&kernels::linear_dx_r, l - 1, &[], &[&t.da[l - 1], &t.rslope[l - 1], rdx]));
            }
        }
        Ok(ops)
    }

    fn loss_r(&self, l: usize, logits: &Buffer, rdz: &Buffer) -> Op {
        if self.setup.loss == Loss::Mse {
            return self.vec4_r(&kernels::mse_r, l, &[], &[rdz]);
        }
        let grid = self.grid(Extent::Rows(LANES), Extent::Fixed(1));
        let constants = [("LANES", LANES.into())];
        let buffers = [logits, rdz];
        self.op(&kernels::softmax_cross_entropy_r, &constants, &self.tangent_args(l), &buffers, grid).of_layer(l)
    }

    /// A kernel of one invocation for each vec4 of layer l's output.
    fn vec4_r(&self, kernel: &kernels::Kernel, l: usize, flags: &[(&'static str, f64)], buffers: &[&Buffer]) -> Op {
        let args = self.tangent_args(l);
        let constants = [flags, &[("LANES", LANES.into())]].concat();
        self.op(kernel, &constants, &args, buffers, self.vec4s(args.outputs)).of_layer(l)
    }

    /// A kernel of one workgroup for each row.
    fn row_r(&self, kernel: &kernels::Kernel, l: usize, flags: &[(&'static str, f64)], buffers: &[&Buffer]) -> Op {
        let grid = self.grid(Extent::Rows(1), Extent::Fixed(1));
        self.op(kernel, flags, &self.tangent_args(l), buffers, grid).of_layer(l)
    }

    fn tangent_args(&self, l: usize) -> kernels::TangentArgs {
        let layer = &self.layout.layers[l];
        let (_, outputs, params_stride) = self.dims(layer);
        kernels::TangentArgs {
            outputs,
            width: layer.outputs as u32,
            params_stride,
            gamma: layer.gamma as u32 / 4,
            beta: layer.beta as u32 / 4,
            z_stride: self.rows_stride(layer.outputs),
            room: self.setup.room() as u32,
        }
    }
}
