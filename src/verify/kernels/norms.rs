//! The kernels of the normalisations.

use bytemuck::bytes_of;

use super::{Shape, UNTOUCHED, dispatch, floats, product_tolerance, words};
use crate::cpu;
use crate::engine::stride;
use crate::error::Result;
use crate::gpu::adapter::Gpu;
use crate::gpu::kernels::{
    self, BatchNormArgs, Coefficients, LANES, LayerNormArgs, LayerNormDxArgs, NORM_COLUMNS, NormArgs, Pass, Scaling,
};
use crate::gpu::single::Dispatch;
use crate::verify::{Check, EPS};

/// The checks of all kernels of the normalisations.
pub(super) fn all(gpu: &Gpu, shape: Shape) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for share in [None, Some(0.0), Some(0.1), Some(1.0)] {
        checks.extend(batch_norm(gpu, shape, share)?);
    }
    checks.extend(layer_norm(gpu, shape)?);
    checks.extend([norm_dw(gpu, shape, false)?, norm_dw(gpu, shape, true)?]);
    checks.extend([batch_norm_dx(gpu, shape, false)?, batch_norm_dx(gpu, shape, true)?, layer_norm_dx(gpu, shape)?]);
    Ok(checks)
}

/// Parameters whose running variances are positive, as those of a network are.
fn params(shape: Shape) -> Vec<f64> {
    let mut params = shape.weights(50);
    let variance = shape.layer().statistics + stride(shape.outputs);
    for params in params.chunks_exact_mut(shape.params()) {
        params[variance..][..shape.outputs].iter_mut().for_each(|v| *v = 0.5 + v.abs());
        params[variance + stride(shape.outputs)..].fill(3.0);
    }
    params
}

/// The tolerance for z of deviation 0.6 about its mean, where 1/deviation, about 2, multiplies what sums have rounded.
fn normed_tolerance(n: usize) -> impl Fn(f64) -> f64 {
    let tolerance = 4.0 * product_tolerance(n) + 8.0 * EPS;
    move |x: f64| tolerance * (1.0 + x.abs())
}

/// The shape with at least three rows and outputs: fewer may lie so close together that nothing of their difference is
/// exact.
fn enough(shape: Shape) -> Shape {
    Shape { rows: shape.rows.max(3), outputs: shape.outputs.max(3), ..shape }
}

/// The scale of the loss whose gradients come down; a power of two, so that nothing is rounded by it.
const LOSS_SCALE: f64 = 4.0;

fn scaling(shape: Shape) -> Vec<u32> {
    bytemuck::cast_slice(&vec![Scaling::new(LOSS_SCALE as f32); shape.replicas]).to_vec()
}

fn norm_args(shape: Shape) -> NormArgs {
    let (layer, outputs) = (shape.layer(), stride(shape.outputs));
    NormArgs {
        outputs: outputs as u32 / 4,
        params_stride: shape.params() as u32 / 4,
        gamma: layer.gamma as u32 / 4,
        beta: layer.beta as u32 / 4,
        z_stride: (shape.room() * outputs / 4) as u32,
    }
}

/// The checks of `batch_norm`: x̂, n, the inverse deviations and, in the parameters, the running statistics.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn batch_norm(gpu: &Gpu, shape: Shape, share: Option<f64>) -> Result<[Check; 4]> {
    let shape = enough(shape);
    let outputs = stride(shape.outputs);
    let (mut params, z) = (params(shape), shape.activations(51, shape.outputs));
    let NormArgs { params_stride, gamma, beta, z_stride, .. } = norm_args(shape);
    let statistics = shape.layer().statistics as u32 / 4;
    let args = BatchNormArgs { outputs: outputs as u32 / 4, params_stride, gamma, beta, statistics, z_stride };
    let grid = [args.outputs.div_ceil(NORM_COLUMNS), 1, shape.replicas as u32];
    let constants = [("TRAINING", f64::from(share.is_some()))];
    let coefficients =
        vec![Coefficients { statistics: share.unwrap_or(0.0) as f32, ..Coefficients::default() }; shape.replicas];
    let kernel = shape.kernel(&kernels::batch_norm);
    let kernel = dispatch(&kernel, &constants, bytes_of(&args), shape.pass(), grid);
    let inverse = vec![0; shape.replicas * outputs];
    let got = Dispatch { coefficients: &coefficients, ..kernel }
        .run(gpu, &[words(&params), shape.words(&z), shape.untouched(outputs), inverse])?;

    let (mut want_xhat, mut want_inverse) = (z, Vec::new());
    let share = share.map(|share| f64::from(share as f32));
    let want_n = shape.expect(outputs, |r, n| {
        let xhat = &mut want_xhat[r * shape.room() * outputs..][..shape.rows * outputs];
        let params = &mut params[r * shape.params()..][..shape.params()];
        let mut inverse = vec![0.0; outputs];
        cpu::batch_norm(&shape.layer(), share, params, xhat, n, &mut inverse);
        want_inverse.extend(inverse);
    });
    // The inverse of an output that is padding is 1/√1e-5.
    let bound = normed_tolerance(shape.rows);
    let stored = |x: f64| bound(x) + shape.storing(x);
    let name = |what: &str| shape.name("batch_norm", &format!(" {share:?} {what}").to_lowercase());
    Ok([
        Check::new(name("params"), &floats(&got[0]), &params, &bound),
        Check::new(name("xhat"), &shape.floats(&got[1]), &want_xhat, stored),
        Check::new(name("n"), &shape.floats(&got[2]), &want_n, stored),
        Check::new(name("inverse"), &floats(&got[3]), &want_inverse, &bound),
    ])
}

/// The checks of `layer_norm`: x̂, n and the inverse deviations.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn layer_norm(gpu: &Gpu, shape: Shape) -> Result<[Check; 3]> {
    let shape = enough(shape);
    let outputs = stride(shape.outputs);
    let (params, z) = (params(shape), shape.activations(52, shape.outputs));
    let NormArgs { params_stride, gamma, beta, z_stride, .. } = norm_args(shape);
    let (width, room) = (shape.outputs as u32, shape.room() as u32);
    let args = LayerNormArgs { outputs: outputs as u32 / 4, width, params_stride, gamma, beta, z_stride, room };
    let grid = [shape.rows as u32, 1, shape.replicas as u32];
    let kernel = shape.kernel(&kernels::layer_norm);
    let kernel = dispatch(&kernel, &[], bytes_of(&args), shape.pass(), grid);
    let inverse = words(&vec![UNTOUCHED; shape.replicas * shape.room()]);
    let got = kernel.run(gpu, &[words(&params), shape.words(&z), shape.untouched(outputs), inverse])?;

    let (mut want_xhat, mut inverses) = (z, Vec::new());
    let want_n = shape.expect(outputs, |r, n| {
        let xhat = &mut want_xhat[r * shape.room() * outputs..][..shape.rows * outputs];
        let mut inverse = vec![0.0; shape.rows];
        cpu::layer_norm(&shape.layer(), &params[r * shape.params()..], xhat, n, &mut inverse);
        inverses.push(inverse);
    });
    let want_inverse = shape.expect(1, |r, inverse| inverse.copy_from_slice(&inverses[r]));
    // Three outputs may lie close together: the inverse multiplies what the sums have rounded once more.
    let largest = want_inverse.iter().fold(1.0f64, |max, x| max.max(x.abs()));
    let bound = |x: f64| largest * largest * normed_tolerance(shape.outputs)(x);
    let stored = |x: f64| bound(x) + shape.storing(x);
    let name = |what: &str| shape.name("layer_norm", &format!(" {what}"));
    Ok([
        Check::new(name("xhat"), &shape.floats(&got[1]), &want_xhat, stored),
        Check::new(name("n"), &shape.floats(&got[2]), &want_n, stored),
        Check::new(name("inverse"), &floats(&got[3]), &want_inverse, bound),
    ])
}

/// The check of `norm_dw`: dγ and dβ.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn norm_dw(gpu: &Gpu, shape: Shape, accumulate: bool) -> Result<Check> {
    let args = norm_args(shape);
    let (xhat, dn) = (shape.activations(53, shape.outputs), shape.activations(54, shape.outputs));
    let mut want = shape.weights(55);
    let grid = [args.outputs.div_ceil(NORM_COLUMNS), 1, shape.replicas as u32];
    let pass = Pass { accumulate: u32::from(accumulate), ..shape.pass() };
    let kernel = shape.kernel(&kernels::norm_dw);
    let kernel = dispatch(&kernel, &[], bytes_of(&args), pass, grid);
    let got = kernel.run(gpu, &[shape.words(&xhat), shape.words(&dn), scaling(shape), words(&want)])?;
    let dn: Vec<f64> = dn.iter().map(|d| d / LOSS_SCALE).collect();
    for (r, grads) in want.chunks_exact_mut(shape.params()).enumerate() {
        let (xhat, dn) = (shape.rows_of(&xhat, r, shape.outputs), shape.rows_of(&dn, r, shape.outputs));
        cpu::norm_dw(&shape.layer(), accumulate, xhat, dn, grads);
    }
    // Products of up to 1 make sums of √rows.
    let tolerance = product_tolerance(shape.rows) * (shape.rows as f64).sqrt();
    let name = shape.name("norm_dw", if accumulate { " accumulated" } else { "" });
    Ok(Check::new(name, &floats(&got[3]), &want, |x| tolerance + EPS * x.abs()))
}

/// The check of `batch_norm_dx`: dz, under running statistics or the batch's own.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn batch_norm_dx(gpu: &Gpu, shape: Shape, is_kept: bool) -> Result<Check> {
    let (args, outputs) = (norm_args(shape), stride(shape.outputs));
    let (params, grads) = (shape.weights(56), shape.weights(57));
    let (xhat, dz) = (shape.activations(58, shape.outputs), shape.activations(59, shape.outputs));
    let inverse: Vec<f64> =
        crate::verify::uniform(60, shape.replicas * outputs, 1.0).iter().map(|x| 1.0 + x.abs()).collect();
    let grid = [args.outputs.div_ceil(LANES), shape.rows as u32, shape.replicas as u32];
    let constants = [("KEPT", f64::from(is_kept)), ("LANES", f64::from(LANES))];
    let kernel = shape.kernel(&kernels::batch_norm_dx);
    let kernel = dispatch(&kernel, &constants, bytes_of(&args), shape.pass(), grid);
    let (rows, dn) = (shape.words(&xhat), shape.words(&dz));
    let got = kernel.run(gpu, &[words(&params), words(&grads), rows, words(&inverse), scaling(shape), dn])?;
    let grads: Vec<f64> = grads.iter().map(|g| g * LOSS_SCALE).collect();
    let mut want = dz;
    for r in 0..shape.replicas {
        let dz = &mut want[r * shape.room() * outputs..][..shape.rows * outputs];
        let at = r * shape.params()..(r + 1) * shape.params();
        let (params, grads) = (&params[at.clone()], &grads[at]);
        let (xhat, inverse) = (shape.rows_of(&xhat, r, shape.outputs), &inverse[r * outputs..][..outputs]);
        cpu::batch_norm_dx(&shape.layer(), is_kept, params, grads, xhat, inverse, dz);
    }
    // A handful of roundings of values below 4.
    let bound = |x: f64| 8.0 * EPS * (1.0 + x.abs()) + shape.storing(x);
    let more = if is_kept { " kept" } else { "" };
    Ok(Check::new(shape.name("batch_norm_dx", more), &shape.floats(&got[5]), &want, bound))
}

/// The check of `layer_norm_dx`: dz.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn layer_norm_dx(gpu: &Gpu, shape: Shape) -> Result<Check> {
    let outputs = stride(shape.outputs);
    let NormArgs { params_stride, gamma, z_stride, .. } = norm_args(shape);
    let (width, room) = (shape.outputs as u32, shape.room() as u32);
    let args = LayerNormDxArgs { outputs: outputs as u32 / 4, width, params_stride, gamma, z_stride, room };
    let params = shape.weights(61);
    let (xhat, dz) = (shape.activations(62, shape.outputs), shape.activations(63, shape.outputs));
    let inverse: Vec<f64> =
        crate::verify::uniform(64, shape.replicas * shape.room(), 1.0).iter().map(|x| 1.0 + x.abs()).collect();
    let grid = [shape.rows as u32, 1, shape.replicas as u32];
    let kernel = shape.kernel(&kernels::layer_norm_dx);
    let kernel = dispatch(&kernel, &[], bytes_of(&args), shape.pass(), grid);
    let got = kernel.run(gpu, &[words(&params), shape.words(&xhat), words(&inverse), shape.words(&dz)])?;
    let mut want = dz;
    for r in 0..shape.replicas {
        let dz = &mut want[r * shape.room() * outputs..][..shape.rows * outputs];
        let (xhat, inverse) = (shape.rows_of(&xhat, r, shape.outputs), &inverse[r * shape.room()..]);
        cpu::layer_norm_dx(&shape.layer(), &params[r * shape.params()..], xhat, inverse, dz);
    }
    // Means of values below 1, and a handful of roundings.
    let tolerance = product_tolerance(shape.outputs) + 8.0 * EPS;
    let bound = |x: f64| tolerance * (1.0 + x.abs()) + shape.storing(x);
    Ok(Check::new(shape.name("layer_norm_dx", ""), &shape.floats(&got[3]), &want, bound))
}
