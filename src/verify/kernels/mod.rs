//! Each kernel against its twin in f64.
//!
//! A function here has its kernel's name. It makes inputs of a given shape, for as many replicas and rows, runs the
//! kernel and the twin, and compares all that the kernel may write: what lies past the last row must keep the value it
//! had. Both see the same f32 values, so what differs is the kernel's own rounding; the tolerances are built from
//! WGSL's accuracy (rounded sums and products; exp within 3 + 2|x| units in the last place, log within 2⁻²¹ or 3
//! units, division and square root within a few).

mod ascent;
mod layers;
mod linear_dw;
mod losses;
mod norms;
mod samples;
mod tangents;
mod updates;

pub use ascent::{ascend, ascent};
pub use layers::{activate, all_forms, linear, linear_dx, plain_forms};
pub use linear_dw::{linear_dw, optimizers};
pub use losses::{Mixing, ensemble, loss_scale, mse, softmax_cross_entropy};
pub use norms::{batch_norm, batch_norm_dx, layer_norm, layer_norm_dx, norm_dw};
pub use samples::{augmentations, gather, gather_augmented};
pub use tangents::{
    activate_r, affine_dx_r, affine_r, combine, linear_dx_r, mse_r, norm_dx_r, norm_r, softmax_cross_entropy_r,
};
pub use updates::{adam, average, axpy, axpy_in_f32, dot, grad_norm, lookahead, rmsprop, scale, sgd, to_half};

use half::f16;

use super::{Check, EPS, Scope, uniform};
use crate::activation::Activation;
use crate::cpu;
use crate::engine::{Layer, stride};
use crate::error::Result;
use crate::gpu::adapter::Gpu;
pub use crate::gpu::forms::Shape;
use crate::gpu::forms::{Form, Variant};
use crate::gpu::kernels::{Kernel, Pass, Product, Stored};
use crate::gpu::single::Dispatch;

/// The value that lies in a buffer where the kernel must not write.
const UNTOUCHED: f64 = -77.0;
/// The number of rows that the buffers have beyond those of the pass.
const SPARE_ROWS: usize = 3;

/// The checks of the kernels in halves, over shapes that straddle their tiles.
///
/// # Errors
/// The device is lost, or refuses a shader.
pub fn in_halves(gpu: &Gpu, scope: Scope) -> Result<Vec<Check>> {
    let is_full = scope == Scope::Full;
    // An adapter with halves of its own packs none.
    let halves = Stored::all(gpu).into_iter().filter(|stored| *stored != Stored::F32);
    let checks = halves.take(if is_full { usize::MAX } else { 1 }).map(|stored| of_rows(gpu, stored, is_full));
    Ok(checks.collect::<Result<Vec<_>>>()?.concat())
}

/// The checks of every kernel in f32, over shapes that straddle its tiles.
///
/// # Errors
/// The device is lost, or refuses a shader.
pub fn in_f32(gpu: &Gpu, scope: Scope) -> Result<Vec<Check>> {
    let is_full = scope == Scope::Full;
    let mut checks = of_rows(gpu, Stored::F32, is_full)?;
    let lengths = [(260, 3), (4, 1), (70_000, 1)];
    for &(n, replicas) in if is_full { &lengths[..] } else { &lengths[..1] } {
        checks.push(grad_norm(gpu, n, replicas)?);
        for flag in [false, true] {
            checks.extend(sgd(gpu, n, replicas, flag)?);
            checks.extend(adam(gpu, n, replicas, flag)?);
            checks.extend(rmsprop(gpu, n, replicas, flag)?);
        }
        for adaptive in [false, true] {
            checks.push(ascent(gpu, n, replicas, adaptive)?);
            checks.push(ascend(gpu, n, replicas, adaptive)?);
        }
        checks.push(average(gpu, n, replicas)?);
        checks.push(lookahead(gpu, n, replicas)?);
        checks.push(to_half(gpu, n, replicas)?);
        checks.push(axpy(gpu, n, replicas)?);
        checks.push(scale(gpu, n, replicas)?);
        checks.push(dot(gpu, n, replicas)?);
    }
    Ok(checks)
}

/// The checks of the kernels that read or write rows.
fn of_rows(gpu: &Gpu, stored: Stored, is_full: bool) -> Result<Vec<Check>> {
    let shape = |replicas, rows, inputs, outputs| Shape { replicas, rows, inputs, outputs, stored };
    let mut checks = Vec::new();
    for bytes in [true, false] {
        checks.push(gather(gpu, shape(2, 5, 67, 1), bytes)?);
        for augment in augmentations() {
            checks.extend(gather_augmented(gpu, &augment, bytes, stored)?);
        }
    }
    let shapes = [shape(2, 17, 33, 65), shape(1, 1, 3, 1), shape(1, 33, 130, 64)];
    // Drivers take seconds to compile some kernels. Of halves, one shape and the plain forms stand for all, and two updates:
    // those that keep the fewest and the most vectors. What a form has done once, the first form stands for otherwise.
    let is_whole = is_full && stored == Stored::F32;
    for &shape in if is_whole { &shapes[..] } else { &shapes[..1] } {
        let [of_linear, of_dx, of_dw] = Product::ALL.map(|product| plain_forms(gpu, product, shape));
        let [first_linear, first_dx, first_dw] =
            [&of_linear, &of_dx, &of_dw].map(|forms| if is_full { &forms[..] } else { &forms[..1] });
        for activation in Activation::ALL {
            if is_full || activation == Activation::Gelu {
                checks.extend(linear(gpu, shape, activation, 0.0, &of_linear)?);
            }
            checks.extend(activate(gpu, shape, activation, 0.3)?);
        }
        checks.extend(linear(gpu, Shape { inputs: shape.outputs, ..shape }, Activation::Silu, 0.3, first_linear)?);
        checks.extend(linear_dx(gpu, shape, false, first_dx)?);
        checks.extend(linear_dx(gpu, shape, true, &of_dx)?);
        checks.extend(linear_dw(gpu, shape, true, None, first_dw)?);
        let mut tried = optimizers();
        if !is_whole {
            tried = vec![tried[0], tried[4]];
        }
        for (n, optimizer) in tried.into_iter().enumerate() {
            let forms = if n == 0 { &of_dw } else { first_dw };
            checks.extend(linear_dw(gpu, shape, false, Some(optimizer), forms)?);
        }
        if is_whole || is_full && stored == Stored::F16 && gpu.cooperative.is_some() {
            checks.extend(every_form(gpu, shape)?);
        }
        checks.extend(norms::all(gpu, shape)?);
        if stored == Stored::F32 {
            checks.extend(tangents::all(gpu, shape)?);
        }
        for mixing in Mixing::ALL {
            checks.extend(softmax_cross_entropy(gpu, shape, 0.1, mixing)?);
            checks.extend(mse(gpu, shape, mixing)?);
        }
        for softmax in [false, true] {
            checks.extend(ensemble(gpu, shape, softmax)?);
        }
        checks.extend(loss_scale(gpu, shape)?);
    }
    if is_full || stored == Stored::F32 {
        checks.extend(of_sums(gpu, stored, is_full)?);
    }
    Ok(checks)
}

/// The checks of the products in the forms for long sums, which are split, and for few rows.
fn of_sums(gpu: &Gpu, stored: Stored, is_full: bool) -> Result<Vec<Check>> {
    let shape = |replicas, rows, inputs, outputs| Shape { replicas, rows, inputs, outputs, stored };
    let mut checks = Vec::new();
    let forms_of = |is_one: fn(&Form) -> bool, product, shape| {
        let mut forms = all_forms(gpu, product, shape);
        forms.retain(is_one);
        forms.truncate(if is_full { usize::MAX } else { 1 });
        forms
    };
    let split_forms = |product, shape| forms_of(|form| form.variant == Variant::Split, product, shape);
    // As many inputs as outputs, for a residual connection.
    let long = shape(2, 3, 300, 300);
    checks.extend(linear(gpu, long, Activation::Silu, 0.3, &split_forms(Product::Linear, long))?);
    checks.extend(linear_dx(gpu, long, true, &split_forms(Product::LinearDx, long))?);
    let long = shape(2, 259, 21, 13);
    let forms = split_forms(Product::LinearDw, long);
    checks.extend(linear_dw(gpu, long, true, None, &forms)?);
    for optimizer in [optimizers()[0], optimizers()[4]] {
        checks.extend(linear_dw(gpu, long, false, Some(optimizer), &forms)?);
    }
    // Few rows, which `every_form` has in full.
    if !is_full {
        let few = shape(2, 1, 33, 65);
        let forms = forms_of(|form| matches!(form.variant, Variant::Few { .. }), Product::LinearDw, few);
        checks.extend(linear_dw(gpu, few, true, None, &forms)?);
    }
    Ok(checks)
}

/// The checks of the matrix products in every form that is tried for passes of the shape's rows.
///
/// # Errors
/// The device is lost, or refuses a shader.
pub fn every_form(gpu: &Gpu, shape: Shape) -> Result<Vec<Check>> {
    let mut checks = linear(gpu, shape, Activation::Relu, 0.0, &all_forms(gpu, Product::Linear, shape))?;
    checks.extend(linear_dx(gpu, shape, false, &all_forms(gpu, Product::LinearDx, shape))?);
    checks.extend(linear_dw(gpu, shape, false, None, &all_forms(gpu, Product::LinearDw, shape))?);
    Ok(checks)
}

/// Whether the cooperative variants compute what their twins do, on one shape that is a multiple of nothing. Their way to the
/// device is new in every driver, so it is looked at before it is used.
///
/// # Errors
/// The device is lost.
pub fn cooperative_works(gpu: &Gpu) -> Result<bool> {
    let shape = Shape { replicas: 2, rows: 17, inputs: 33, outputs: 65, stored: Stored::F16 };
    let of = |product| {
        let mut forms = all_forms(gpu, product, shape);
        forms.retain(Form::is_cooperative);
        forms.truncate(1);
        forms
    };
    let mut checks = linear(gpu, shape, Activation::Relu, 0.0, &of(Product::Linear))?;
    checks.extend(linear_dx(gpu, shape, false, &of(Product::LinearDx))?);
    checks.extend(linear_dw(gpu, shape, false, None, &of(Product::LinearDw))?);
    Ok(!checks.is_empty() && checks.iter().all(Check::passed))
}

fn halves(values: &[f64]) -> Vec<f16> {
    let mut halves = vec![f16::ZERO; values.len()];
    cpu::to_half(values, &mut halves);
    halves
}

fn of_halves(words: &[u32]) -> Vec<f64> {
    bytemuck::cast_slice::<u32, u16>(words).iter().map(|&h| f16::from_bits(h).to_f64()).collect()
}

fn words(values: &[f64]) -> Vec<u32> {
    values.iter().map(|&v| (v as f32).to_bits()).collect()
}

fn floats(words: &[u32]) -> Vec<f64> {
    words.iter().map(|&w| f64::from(f32::from_bits(w))).collect()
}

impl Shape {
    fn room(self) -> usize {
        self.rows + SPARE_ROWS
    }

    fn pass(self) -> Pass {
        Pass { rows: self.rows as u32, batch: self.rows as u32, replicas: self.replicas as u32, ..Pass::default() }
    }

    fn layer(self) -> Layer {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let bias = stride(inputs) * stride(outputs);
        let [gamma, beta, statistics] = [1, 2, 3].map(|i| bias + i * stride(outputs));
        Layer { inputs, outputs, weight: 0, bias, gamma, beta, statistics }
    }

    /// The length of one replica's flat parameter vector.
    fn params(self) -> usize {
        self.layer().statistics + 2 * stride(self.outputs) + stride(1)
    }

    /// The kernel with rows in this memory.
    fn kernel(self, kernel: &Kernel) -> Kernel {
        kernel.with_stored(self.stored)
    }

    /// The values as they are in this memory.
    fn rounded(self, values: Vec<f64>) -> Vec<f64> {
        if self.stored == Stored::F32 { values } else { halves(&values).iter().map(|h| h.to_f64()).collect() }
    }

    /// The bits of values in this memory; a word holds one value, or two halves.
    fn words(self, values: &[f64]) -> Vec<u32> {
        if self.stored == Stored::F32 { words(values) } else { bytemuck::pod_collect_to_vec(&halves(values)) }
    }

    /// The values of bits in this memory.
    fn floats(self, words: &[u32]) -> Vec<f64> {
        if self.stored == Stored::F32 { floats(words) } else { of_halves(words) }
    }

    /// The error that storing adds to that of `x`: nothing, or half a unit in the last of a half's 11 bits, or of its
    /// smallest step of 2⁻²⁴; a device may also round the other way.
    fn storing(self, x: f64) -> f64 {
        if self.stored == Stored::F32 { 0.0 } else { 2f64.powi(-10) * x.abs() + 2f64.powi(-24) }
    }

    /// Activations of replicas × room × stride(width) deviates, 0 in the padding of each row.
    fn activations(self, seed: u64, width: usize) -> Vec<f64> {
        let mut values = self.rounded(uniform(seed, self.replicas * self.room() * stride(width), 1.0));
        for row in values.chunks_exact_mut(stride(width)) {
            row[width..].fill(0.0);
        }
        values
    }

    /// Parameters of ±1/√inputs, so that sums stay near 1, in every replica; 0 in the padding.
    fn weights(self, seed: u64) -> Vec<f64> {
        let mut values = uniform(seed, self.replicas * self.params(), 1.0 / (self.inputs as f64).sqrt());
        let columns = stride(self.outputs);
        for replica in values.chunks_exact_mut(self.params()) {
            for (i, row) in replica.chunks_exact_mut(columns).enumerate() {
                let is_padding = i >= self.inputs && i < stride(self.inputs);
                row[if is_padding { 0 } else { self.outputs }..].fill(0.0);
            }
        }
        values
    }

    /// Replica r's part of a buffer, without its spare rows.
    fn rows_of(self, values: &[f64], r: usize, width: usize) -> &[f64] {
        let row = stride(width);
        &values[r * self.room() * row..][..self.rows * row]
    }

    /// An output of the twin for all replicas, untouched in the spare rows; `f` fills replica r's rows.
    fn expect(self, width: usize, mut f: impl FnMut(usize, &mut [f64])) -> Vec<f64> {
        let mut want = vec![UNTOUCHED; self.replicas * self.room() * width];
        for (r, part) in want.chunks_exact_mut(self.room() * width).enumerate() {
            f(r, &mut part[..self.rows * width]);
        }
        want
    }

    fn untouched(self, width: usize) -> Vec<u32> {
        self.words(&vec![UNTOUCHED; self.replicas * self.room() * width])
    }

    fn name(self, kernel: &str, more: &str) -> String {
        let Self { replicas, rows, inputs, outputs, stored } = self;
        let memory = if stored == Stored::F32 { String::new() } else { format!(" {stored:?}").to_lowercase() };
        format!("{kernel} {replicas}x{rows}x{inputs}x{outputs}{memory}{more}")
    }
}

fn dispatch<'a>(
    kernel: &'a Kernel,
    constants: &'a [(&'a str, f64)],
    args: &'a [u8],
    pass: Pass,
    grid: [u32; 3],
) -> Dispatch<'a> {
    Dispatch { kernel, entry_point: "main", constants, args, pass, coefficients: &[], grid }
}

/// The error of a sum of n products of magnitude 1/√n each, which rounds a value near 1 n times.
fn product_tolerance(n: usize) -> f64 {
    4.0 * (n as f64).sqrt() * EPS
}
