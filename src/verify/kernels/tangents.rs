//! The kernels that carry along how values move with the weights, and that which sums up what is known of them.

use bytemuck::bytes_of;

use super::{Shape, UNTOUCHED, dispatch, product_tolerance, words};
use crate::activation::Activation;
use crate::cpu;
use crate::engine::stride;
use crate::error::Result;
use crate::gpu::adapter::Gpu;
use crate::gpu::kernels::{self, CombineArgs, Kernel, LANES, Pass, TangentArgs};
use crate::verify::{Check, EPS, uniform};

/// The checks of all of them.
pub(super) fn all(gpu: &Gpu, shape: Shape) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for activation in Activation::ALL {
        checks.extend(activate_r(gpu, shape, activation)?);
    }
    for is_batch in [false, true] {
        checks.extend(norm_r(gpu, shape, is_batch)?);
        checks.extend(norm_dx_r(gpu, shape, is_batch)?);
    }
    checks.push(affine_r(gpu, shape)?);
    checks.extend(affine_dx_r(gpu, shape)?);
    checks.extend([softmax_cross_entropy_r(gpu, shape)?, mse_r(gpu, shape)?, linear_dx_r(gpu, shape)?]);
    checks.push(combine(gpu, shape)?);
    Ok(checks)
}

/// A kernel over the rows of a layer's output.
struct Rows<'a> {
    gpu: &'a Gpu,
    shape: Shape,
    kernel: &'a Kernel,
    flags: &'a [(&'static str, f64)],
}

impl Rows<'_> {
    fn run(&self, grid: [u32; 2], buffers: &[Vec<u32>]) -> Result<Vec<Vec<f64>>> {
        let (shape, layer) = (self.shape, self.shape.layer());
        let outputs = stride(shape.outputs) as u32 / 4;
        let args = TangentArgs {
            outputs,
            width: shape.outputs as u32,
            params_stride: shape.params() as u32 / 4,
            gamma: layer.gamma as u32 / 4,
            beta: layer.beta as u32 / 4,
            z_stride: shape.room() as u32 * outputs,
            room: shape.room() as u32,
        };
        let grid = [grid[0], grid[1], shape.replicas as u32];
        let got = dispatch(self.kernel, self.flags, bytes_of(&args), shape.pass(), grid).run(self.gpu, buffers)?;
        Ok(got.iter().map(|words| super::floats(words)).collect())
    }

    /// With an invocation for each vec4.
    fn by_vec4s(&self, buffers: &[Vec<u32>]) -> Result<Vec<Vec<f64>>> {
        let outputs = stride(self.shape.outputs) as u32 / 4;
        self.run([outputs.div_ceil(LANES), self.shape.rows as u32], buffers)
    }

    fn check(&self, more: &str, got: &[f64], want: &[f64], tolerance: f64) -> Check {
        Check::new(self.shape.name(self.kernel.name, more), got, want, |x| tolerance * (1.0 + x.abs()))
    }
}

impl Shape {
    /// Applies `f` to the rows of each replica in `values`, and leaves the spare ones.
    fn each(self, values: &mut [f64], mut f: impl FnMut(usize, &mut [f64])) {
        let row = stride(self.outputs);
        for (r, part) in values.chunks_exact_mut(self.room() * row).enumerate() {
            f(r, &mut part[..self.rows * row]);
        }
    }

    /// Replica r's parameters.
    fn params_of(self, values: &[f64], r: usize) -> &[f64] {
        &values[r * self.params()..][..self.params()]
    }
}

/// The checks of `activate_r`: ry and rslope. rn is up to 2; derivatives of up to 1.2 are made of a dozen roundings and of exp and
/// tanh within 11 units in the last place, the bound of the erf formula is 1.5e-7.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn activate_r(gpu: &Gpu, shape: Shape, activation: Activation) -> Result<Vec<Check>> {
    let [n, ra, other, rn] = [80, 81, 82, 83].map(|seed| shape.activations(seed, shape.outputs));
    let mut checks = Vec::new();
    for is_full in [false, true] {
        let flag = f64::from(is_full);
        let flags =
            [("ACTIVATION", f64::from(activation.code())), ("RESIDUAL", flag), ("SUM", flag), ("LANES", LANES.into())];
        let task = Rows { gpu, shape, kernel: &kernels::activate_r, flags: &flags };
        let untouched = words(&vec![UNTOUCHED; n.len()]);
        let got = task.by_vec4s(&[words(&n), words(&ra), words(&other), words(&rn), untouched])?;
        let (mut ry, mut rslope) = (rn.clone(), vec![UNTOUCHED; n.len()]);
        let rows = |values, r| shape.rows_of(values, r, shape.outputs);
        shape.each(&mut ry, |r, ry| {
            let mut moved = vec![0.0; ry.len()];
            let [ra, other] = [&ra, &other].map(|values| is_full.then(|| rows(values, r)));
            cpu::activate_r(activation, rows(&n, r), ra, ry, other, &mut moved);
            rslope[r * shape.room() * stride(shape.outputs)..][..moved.len()].copy_from_slice(&moved);
        });
        let tolerance = 2.0 * (24.0 * EPS + 3e-7);
        let more = |what| format!(" {activation:?}{} {what}", if is_full { " residual" } else { "" }).to_lowercase();
        checks.push(task.check(&more("ry"), &got[3], &ry, tolerance));
        checks.push(task.check(&more("rslope"), &got[4], &rslope, tolerance));
    }
    Ok(checks)
}

/// Values between 1 and 2, as 1/√(variance + ε) are: one a row, or an output.
fn inverses(shape: Shape, is_batch: bool) -> Vec<f64> {
    let each = if is_batch { stride(shape.outputs).max(shape.room()) } else { shape.room() };
    uniform(84, shape.replicas * each, 1.0).iter().map(|x| 1.0 + x.abs()).collect()
}

/// Replica r's part of them.
fn inverses_of(shape: Shape, is_batch: bool, inverse: &[f64], r: usize) -> &[f64] {
    &inverse[r * if is_batch { stride(shape.outputs) } else { shape.room() }..]
}

/// The tolerance of what is made of means of values up to 2 and multiplied with up to 4.
fn means_tolerance(shape: Shape) -> f64 {
    4.0 * (2.0 * product_tolerance(shape.outputs) + 8.0 * EPS)
}

/// The checks of `norm_r`: rx̂ and rinverse.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn norm_r(gpu: &Gpu, shape: Shape, is_batch: bool) -> Result<Vec<Check>> {
    let [xhat, other, rz] = [85, 86, 87].map(|seed| shape.activations(seed, shape.outputs));
    let inverse = inverses(shape, is_batch);
    let mut checks = Vec::new();
    for is_sum in [false, true] {
        let flags = [("BATCH", f64::from(is_batch)), ("SUM", f64::from(is_sum))];
        let task = Rows { gpu, shape, kernel: &kernels::norm_r, flags: &flags };
        let untouched = vec![UNTOUCHED; shape.replicas * shape.room()];
        let buffers = [words(&xhat), words(&inverse), words(&other), words(&rz), words(&untouched)];
        let got = task.run([shape.rows as u32, 1], &buffers)?;
        let (mut rxhat, mut rinverse) = (rz.clone(), untouched);
        shape.each(&mut rxhat, |r, rxhat| {
            let [xhat, other] = [&xhat, &other].map(|values| shape.rows_of(values, r, shape.outputs));
            let moved = &mut rinverse[r * shape.room()..][..shape.room()];
            let inverse = inverses_of(shape, is_batch, &inverse, r);
            cpu::norm_r(&shape.layer(), is_batch, xhat, inverse, rxhat, is_sum.then_some(other), moved);
        });
        let tolerance = means_tolerance(shape);
        let more =
            |what| format!("{}{} {what}", if is_batch { " batch" } else { "" }, if is_sum { " sum" } else { "" });
        checks.push(task.check(&more("rxhat"), &got[3], &rxhat, tolerance));
        checks.push(task.check(&more("rinverse"), &got[4], &rinverse, tolerance));
    }
    Ok(checks)
}

/// The check of `affine_r`: rn.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn affine_r(gpu: &Gpu, shape: Shape) -> Result<Check> {
    let task = Rows { gpu, shape, kernel: &kernels::affine_r, flags: &[("LANES", LANES as f64)] };
    let [params, v] = [88, 89].map(|seed| shape.weights(seed));
    let [xhat, rxhat] = [90, 91].map(|seed| shape.activations(seed, shape.outputs));
    let mut want = vec![UNTOUCHED; xhat.len()];
    let got = task.by_vec4s(&[words(&params), words(&v), words(&xhat), words(&rxhat), words(&want)])?;
    shape.each(&mut want, |r, rn| {
        let [params, v] = [&params, &v].map(|values| shape.params_of(values, r));
        let [xhat, rxhat] = [&xhat, &rxhat].map(|values| shape.rows_of(values, r, shape.outputs));
        cpu::affine_r(&shape.layer(), params, v, xhat, rxhat, rn);
    });
    // Four roundings of values up to 3.
    Ok(task.check("", &got[4], &want, 8.0 * EPS))
}

/// The checks of `affine_dx_r`: dx̂ and rdx̂.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn affine_dx_r(gpu: &Gpu, shape: Shape) -> Result<Vec<Check>> {
    let task = Rows { gpu, shape, kernel: &kernels::affine_dx_r, flags: &[("LANES", LANES as f64)] };
    let [params, v] = [92, 93].map(|seed| shape.weights(seed));
    let [mut dz, mut rdz] = [94, 95].map(|seed| shape.activations(seed, shape.outputs));
    let got = task.by_vec4s(&[words(&params), words(&v), words(&dz), words(&rdz)])?;
    let row = stride(shape.outputs);
    shape.each(&mut dz, |r, dz| {
        let rdz = &mut rdz[r * shape.room() * row..][..dz.len()];
        let [params, v] = [&params, &v].map(|values| shape.params_of(values, r));
        cpu::affine_dx_r(&shape.layer(), params, v, dz, rdz);
    });
    // Three roundings of values up to 2.
    Ok(vec![task.check(" dz", &got[2], &dz, 4.0 * EPS), task.check(" rdz", &got[3], &rdz, 4.0 * EPS)])
}

/// The checks of `norm_dx_r`: dz and rdz.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn norm_dx_r(gpu: &Gpu, shape: Shape, is_batch: bool) -> Result<Vec<Check>> {
    let flags = [("BATCH", f64::from(is_batch))];
    let task = Rows { gpu, shape, kernel: &kernels::norm_dx_r, flags: &flags };
    let [xhat, rxhat, mut dz, mut rdz] = [96, 97, 98, 99].map(|seed| shape.activations(seed, shape.outputs));
    let (inverse, rinverse) = (inverses(shape, is_batch), uniform(100, shape.replicas * shape.room(), 1.0));
    let buffers = [words(&xhat), words(&inverse), words(&rxhat), words(&rinverse), words(&dz), words(&rdz)];
    let got = task.run([shape.rows as u32, 1], &buffers)?;
    let row = stride(shape.outputs);
    shape.each(&mut dz, |r, dz| {
        let rdz = &mut rdz[r * shape.room() * row..][..dz.len()];
        let [xhat, rxhat] = [&xhat, &rxhat].map(|values| shape.rows_of(values, r, shape.outputs));
        let (inverse, rinverse) = (inverses_of(shape, is_batch, &inverse, r), &rinverse[r * shape.room()..]);
        cpu::norm_dx_r(&shape.layer(), is_batch, xhat, inverse, rxhat, rinverse, dz, rdz);
    });
    let more = |what| format!("{} {what}", if is_batch { " batch" } else { "" });
    let tolerance = means_tolerance(shape);
    Ok(vec![task.check(&more("dz"), &got[4], &dz, tolerance), task.check(&more("rdz"), &got[5], &rdz, tolerance)])
}

/// The check of `softmax_cross_entropy_r`: rdz.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn softmax_cross_entropy_r(gpu: &Gpu, shape: Shape) -> Result<Check> {
    let task = Rows { gpu, shape, kernel: &kernels::softmax_cross_entropy_r, flags: &[("LANES", LANES as f64)] };
    let [z, mut rdz] = [101, 102].map(|seed| shape.activations(seed, shape.outputs));
    let got = task.run([(shape.rows as u32).div_ceil(LANES), 1], &[words(&z), words(&rdz)])?;
    shape.each(&mut rdz, |r, rdz| {
        let z = shape.rows_of(&z, r, shape.outputs);
        cpu::softmax_cross_entropy_r(shape.outputs, shape.rows as f64, z, rdz);
    });
    // exp of arguments down to -2 within 7 units, a mean of values up to 1, and a handful of roundings.
    Ok(task.check("", &got[1], &rdz, product_tolerance(shape.outputs) + 24.0 * EPS))
}

/// The check of `mse_r`: rdz.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn mse_r(gpu: &Gpu, shape: Shape) -> Result<Check> {
    let task = Rows { gpu, shape, kernel: &kernels::mse_r, flags: &[("LANES", LANES as f64)] };
    let mut rdz = shape.activations(103, shape.outputs);
    let got = task.by_vec4s(&[words(&rdz)])?;
    shape.each(&mut rdz, |_, rdz| cpu::mse_r(shape.outputs, shape.rows as f64, rdz));
    // A quotient within 2.5 units and two roundings.
    Ok(task.check("", &got[0], &rdz, 8.0 * EPS))
}

/// The check of `linear_dx_r`: rdx.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn linear_dx_r(gpu: &Gpu, shape: Shape) -> Result<Check> {
    let task = Rows { gpu, shape, kernel: &kernels::linear_dx_r, flags: &[("LANES", LANES as f64)] };
    let [da, rslope, mut rdx] = [104, 105, 106].map(|seed| shape.activations(seed, shape.outputs));
    let got = task.by_vec4s(&[words(&da), words(&rslope), words(&rdx)])?;
    shape.each(&mut rdx, |r, rdx| {
        let [da, rslope] = [&da, &rslope].map(|values| shape.rows_of(values, r, shape.outputs));
        cpu::linear_dx_r(da, rslope, rdx);
    });
    // Two roundings of values up to 2.
    Ok(task.check("", &got[2], &rdx, 4.0 * EPS))
}

/// The check of `combine`: z.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn combine(gpu: &Gpu, shape: Shape) -> Result<Check> {
    const FIRST: usize = 3;
    let row = stride(shape.outputs);
    let outputs = row as u32 / 4;
    let args = CombineArgs { outputs, z_stride: shape.room() as u32 * outputs };
    let parts = [107, 108, 109].map(|seed| uniform(seed, (FIRST + shape.rows) * row, 1.0));
    let c = uniform(110, 3 * shape.replicas, 1.0);
    let mut want = vec![UNTOUCHED; shape.replicas * shape.room() * row];
    let pass = Pass { first: FIRST as u32, ..shape.pass() };
    let grid = [outputs.div_ceil(LANES), shape.rows as u32, shape.replicas as u32];
    let constants = [("LANES", f64::from(LANES))];
    let dispatch = dispatch(&kernels::combine, &constants, bytes_of(&args), pass, grid);
    let [p, q, r] = &parts;
    let got = dispatch.run(gpu, &[words(&c), words(p), words(q), words(r), words(&want)])?;
    shape.each(&mut want, |replica, z| {
        let c = std::array::from_fn(|i| c[3 * replica + i]);
        let parts = parts.each_ref().map(|part| &part[FIRST * row..]);
        cpu::combine(c, parts, z);
    });
    // Five roundings of values up to 3.
    Ok(Check::new(shape.name("combine", ""), &super::floats(&got[4]), &want, |x| 8.0 * EPS * (1.0 + x.abs())))
}
