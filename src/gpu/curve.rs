//! The products of the evaluated loss's second derivatives with a vector (Pearlmutter, 1994): passes that carry along how all they
//! make moves as the weights move along the vector. What moves has the name of what it is with an r before it.
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

use wgpu::Buffer;

use super::builder::Builder;
use super::dataset::Feed;
use super::kernels::{self, LANES};
use super::products::DxBuffers;
use super::program::{Extent, Op};
use crate::engine::{Setup, stride};
use crate::error::Result;
use crate::loss::Loss;
use crate::model::Norm;

/// The dispatches of derivatives of the evaluated loss, made when they are asked for first.
pub(super) struct CurvePrograms {
    pub tangents: Tangents,
    /// Forward, and how it moves.
    pub forward: Vec<Op>,
    /// Back, of the Hessian and of the Gauss-Newton matrix.
    pub hessian: Vec<Op>,
    pub gauss_newton: Vec<Op>,
    /// The sum of both parts of the product.
    pub sum: Op,
}

/// The buffers that a pass needs beside those of a step.
pub(super) struct Tangents {
    pub v: Buffer,
    pub part: Buffer,
    ra: Vec<Buffer>,
    rslope: Vec<Buffer>,
    rxhat: Vec<Option<[Buffer; 2]>>,
    rdz: Vec<Buffer>,
    da: Vec<Buffer>,
    rda: Vec<Buffer>,
    other: Buffer,
}

impl Tangents {
    /// The buffers for passes of the setup's rows, which `take` allocates by name and bytes.
    ///
    /// # Errors
    /// Too little memory.
    pub fn new(setup: &Setup, vector: u64, mut take: impl FnMut(String, u64) -> Result<Buffer>) -> Result<Self> {
        let (model, layers) = (&setup.model, setup.model.layers());
        let room = (setup.replicas * setup.room()) as u64 * 4;
        let rows = |l: usize| room * stride(model.widths[l]) as u64;
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
        Ok(Self {
            rslope: each("rslope", 0..layers, 1)?,
            da: each("every da", 1..layers, 0)?,
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
    /// Makes the dispatches of products with second derivatives over the samples of `feed`.
    ///
    /// # Errors
    /// The device is lost.
    pub fn curve_programs(&self, feed: &Feed, tangents: Tangents) -> Result<CurvePrograms> {
        Ok(CurvePrograms {
            forward: self.forward_r(feed, &tangents)?,
            hessian: self.backward_r(Some(feed), &tangents)?,
            gauss_newton: self.backward_r(None, &tangents)?,
            // part, grads -> grads
            sum: self.axpy(&tangents.part, &self.buffers.grads),
            tangents,
        })
    }

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
