//! Each kernel against its twin in f64.
//!
//! A function here has its kernel's name. It makes inputs of a given shape, for as many replicas and rows, runs the
//! kernel and the twin, and compares all that the kernel may write: what lies past the last row must keep the value it
//! had. Both see the same f32 values, so what differs is the kernel's own rounding; the tolerances are built from
//! WGSL's accuracy (rounded sums and products; exp within 3 + 2|x| units in the last place, log within 2⁻²¹ or 3
//! units, division and square root within a few).

use bytemuck::bytes_of;

use super::{Check, EPS, uniform};
use crate::activation::Activation;
use crate::cpu;
use crate::data::{Dataset, Features, Normalize, Samples, Targets};
use crate::error::Result;
use crate::gpu::Dispatch;
use crate::gpu::adapter::Gpu;
use crate::gpu::kernels::{
    self, COLUMNS, Coefficients, DW_ROWS, GatherArgs, GradNormArgs, Kernel, LANES, LinearArgs, LinearDwArgs,
    LinearDxArgs, LossArgs, MetricsArgs, PARTS, Pass, ROWS, UpdateArgs,
};
use crate::model::{Layer, stride};
use crate::optimizer::{Optimizer, Rule};
use crate::rng::{Purpose, Stream};
use crate::schedule::Rate;

/// What every kernel is tried with.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Models side by side.
    pub replicas: usize,
    /// Samples of the pass.
    pub rows: usize,
    /// Features of a sample, or inputs of a layer.
    pub inputs: usize,
    /// Outputs of a layer, or classes.
    pub outputs: usize,
}

/// What lies in a buffer where the kernel must not write.
const UNTOUCHED: f64 = -77.0;
/// Rows that the buffers have beyond those of the pass.
const SPARE_ROWS: usize = 3;
/// Lanes of the products' workgroups, as small as any subgroup.
const PRODUCT_LANES: u32 = 8;

/// Every kernel, over shapes that straddle its tiles.
///
/// # Errors
/// The device is lost, or refuses a shader.
pub fn all(gpu: &Gpu) -> Result<Vec<Check>> {
    let shape = |replicas, rows, inputs, outputs| Shape { replicas, rows, inputs, outputs };
    let mut checks = Vec::new();
    for bytes in [true, false] {
        checks.push(gather(gpu, shape(2, 5, 67, 1), bytes)?);
    }
    for shape in [shape(1, 1, 3, 1), shape(2, 17, 33, 65), shape(1, 33, 130, 64)] {
        for activation in Activation::ALL {
            checks.extend(linear(gpu, shape, activation)?);
        }
        checks.push(linear_dx(gpu, shape)?);
        checks.extend([linear_dw(gpu, shape, false)?, linear_dw(gpu, shape, true)?]);
        checks.extend(softmax_cross_entropy(gpu, shape, 0.1)?);
        checks.extend(mse(gpu, shape)?);
        checks.push(metrics(gpu, shape)?);
    }
    for (n, replicas) in [(4, 1), (260, 3), (70_000, 1)] {
        checks.push(grad_norm(gpu, n, replicas)?);
        for nesterov in [false, true] {
            checks.push(sgd(gpu, n, replicas, nesterov)?);
        }
        for flag in [false, true] {
            checks.extend([adam(gpu, n, replicas, flag)?, rmsprop(gpu, n, replicas, flag)?]);
            checks.push(average(gpu, n, replicas, flag)?);
        }
    }
    Ok(checks)
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
        let bias = stride(self.inputs) * stride(self.outputs);
        Layer { inputs: self.inputs, outputs: self.outputs, weight: 0, bias }
    }

    /// Length of one replica's flat parameter vector.
    fn params(self) -> usize {
        self.layer().bias + stride(self.outputs)
    }

    /// Replicas × room × stride(width) deviates, 0 in the padding of each row.
    fn activations(self, seed: u64, width: usize) -> Vec<f64> {
        let mut values = uniform(seed, self.replicas * self.room() * stride(width), 1.0);
        for row in values.chunks_exact_mut(stride(width)) {
            row[width..].fill(0.0);
        }
        values
    }

    /// Weights of ±1/√inputs, so that sums stay near 1, in every replica; 0 in the padding.
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
        words(&vec![UNTOUCHED; self.replicas * self.room() * width])
    }

    fn name(self, kernel: &str, more: &str) -> String {
        let Self { replicas, rows, inputs, outputs } = self;
        format!("{kernel} {replicas}x{rows}x{inputs}x{outputs}{more}")
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

/// Exact up to the rounding of one product and one sum, which a GPU may fuse.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn gather(gpu: &Gpu, shape: Shape, bytes: bool) -> Result<Check> {
    let (n, width) = (29, shape.inputs);
    let mut stream = Stream::new(1, Purpose::Verify, 0);
    let features = if bytes {
        Features::U8((0..n * width).map(|_| stream.below(256) as u8).collect())
    } else {
        Features::F32(uniform(2, n * width, 3.0).into_iter().map(|x| x as f32).collect())
    };
    let order: Vec<u32> = (0..shape.replicas * n).map(|_| stream.below(n as u64) as u32).collect();
    let labels = Targets::Labels(vec![0; n]);
    let data = Dataset::new("verify", [1, 1, width], Samples { features: features.clone(), targets: labels }, None)?
        .normalize(Normalize::Channel);
    let (scale, shift) = (data.normalization.scale[0], data.normalization.shift[0]);

    let (columns, record_words) = (stride(width), if bytes { stride(width) / 4 } else { width });
    let records: Vec<u32> = match &features {
        Features::U8(v) => v
            .chunks_exact(width)
            .flat_map(|row| {
                let mut row = row.to_vec();
                row.resize(columns, 0);
                bytemuck::pod_collect_to_vec(&row)
            })
            .collect(),
        Features::F32(v) => v.iter().map(|x| x.to_bits()).collect(),
        Features::F64(_) => Vec::new(),
    };
    let args = |first: usize, records: usize| GatherArgs {
        width: width as u32,
        columns: columns as u32 / 4,
        pixels: width as u32,
        record_words: record_words as u32,
        first_record: first as u32,
        records: records as u32,
        order_stride: n as u32,
        x_stride: (shape.room() * columns / 4) as u32,
    };
    let pass = Pass { first: 7, ..shape.pass() };
    let constants = [("BYTES", f64::from(bytes)), ("LANES", f64::from(LANES))];
    let grid = [(columns as u32 / 4).div_ceil(LANES), shape.rows as u32, shape.replicas as u32];
    let mut x = shape.untouched(columns);
    // The records lie in two buffers, as those of a large data set do.
    for (first, count) in [(0, 11), (11, n - 11)] {
        let piece = records[first * record_words..][..count * record_words].to_vec();
        let buffers = [piece, order.clone(), words(&[scale, shift]), x];
        let args = args(first, count);
        x = dispatch(&kernels::gather, &constants, bytes_of(&args), pass, grid).run(gpu, &buffers)?.swap_remove(3);
    }
    let want = shape.expect(columns, |r, x| {
        cpu::gather(&data, &features, &order[r * n + 7..][..shape.rows], x);
    });
    let name = shape.name("gather", if bytes { " u8" } else { " f32" });
    // Scale and shift are rounded to f32, and so is each result: the product is at most |x| + |shift|.
    Ok(Check::new(name, &floats(&x), &want, |x| 2.0 * EPS * (x.abs() + shift.abs())))
}

/// Error of a sum of n products of magnitude 1/√n each, which rounds a value near 1 n times.
fn product_tolerance(n: usize) -> f64 {
    4.0 * (n as f64).sqrt() * EPS
}

/// The product's error passes through the activation, whose slope is at most 1.2; exp and tanh of arguments up to 4
/// add 11 units in the last place, the bound of the erf formula 1.5e-7.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn linear(gpu: &Gpu, shape: Shape, activation: Activation) -> Result<[Check; 2]> {
    let (params, a) = (shape.weights(3), shape.activations(4, shape.inputs));
    let (inputs, outputs) = (stride(shape.inputs), stride(shape.outputs));
    let args = LinearArgs {
        inputs: inputs as u32 / 4,
        outputs: outputs as u32 / 4,
        weight: 0,
        bias: shape.layer().bias as u32 / 4,
        params_stride: shape.params() as u32 / 4,
        a_stride: (shape.room() * inputs / 4) as u32,
        y_stride: (shape.room() * outputs / 4) as u32,
    };
    let constants = [("ACTIVATION", f64::from(activation.code())), ("LANES", f64::from(PRODUCT_LANES))];
    let grid = [
        (outputs as u32 / 4).div_ceil(PRODUCT_LANES * COLUMNS),
        (shape.rows as u32).div_ceil(ROWS),
        shape.replicas as u32,
    ];
    let buffers = [words(&params), words(&a), shape.untouched(outputs), shape.untouched(outputs)];
    let got = dispatch(&kernels::linear, &constants, bytes_of(&args), shape.pass(), grid).run(gpu, &buffers)?;

    let mut slopes = Vec::new();
    let y = shape.expect(outputs, |r, y| {
        let mut slope = vec![0.0; y.len()];
        let params = &params[r * shape.params()..][..shape.params()];
        cpu::linear(&shape.layer(), activation, params, shape.rows_of(&a, r, shape.inputs), y, &mut slope);
        slopes.push(slope);
    });
    let slope = shape.expect(outputs, |r, slope| slope.copy_from_slice(&slopes[r]));
    let bound = move |x: f64| 1.2 * product_tolerance(shape.inputs) + EPS * (8.0 + 11.0 * x.abs());
    let name = |what: &str| shape.name("linear", &format!(" {activation:?} {what}").to_lowercase());
    Ok([Check::new(name("y"), &floats(&got[2]), &y, bound), Check::new(name("slope"), &floats(&got[3]), &slope, bound)])
}

/// # Errors
/// The device is lost, or refuses the shader.
pub fn linear_dx(gpu: &Gpu, shape: Shape) -> Result<Check> {
    let (inputs, outputs) = (stride(shape.inputs), stride(shape.outputs));
    let (params, dz) = (shape.weights(5), shape.activations(6, shape.outputs));
    let slope = shape.activations(7, shape.inputs);
    let args = LinearDxArgs {
        inputs: inputs as u32 / 4,
        outputs: outputs as u32 / 4,
        weight: 0,
        params_stride: shape.params() as u32 / 4,
        dz_stride: (shape.room() * outputs / 4) as u32,
        dx_stride: (shape.room() * inputs / 4) as u32,
    };
    let constants = [("LANES", f64::from(PRODUCT_LANES))];
    let grid = [(inputs as u32 / 4).div_ceil(PRODUCT_LANES), (shape.rows as u32).div_ceil(ROWS), shape.replicas as u32];
    let buffers = [words(&params), words(&dz), words(&slope), shape.untouched(inputs)];
    let got = dispatch(&kernels::linear_dx, &constants, bytes_of(&args), shape.pass(), grid).run(gpu, &buffers)?;
    let want = shape.expect(inputs, |r, dx| {
        let params = &params[r * shape.params()..][..shape.params()];
        let (dz, slope) = (shape.rows_of(&dz, r, shape.outputs), shape.rows_of(&slope, r, shape.inputs));
        cpu::linear_dx(&shape.layer(), params, dz, slope, dx);
    });
    // Weights of ±1/√inputs make sums of √(outputs/inputs).
    let scale = (shape.outputs as f64 / shape.inputs as f64).sqrt().max(1.0);
    let tolerance = scale * product_tolerance(shape.outputs);
    Ok(Check::new(shape.name("linear_dx", ""), &floats(&got[3]), &want, |x| tolerance + EPS * x.abs()))
}

/// # Errors
/// The device is lost, or refuses the shader.
pub fn linear_dw(gpu: &Gpu, shape: Shape, accumulate: bool) -> Result<Check> {
    let (inputs, outputs) = (stride(shape.inputs), stride(shape.outputs));
    let (a, dz) = (shape.activations(8, shape.inputs), shape.activations(9, shape.outputs));
    let before = shape.weights(10);
    let args = LinearDwArgs {
        inputs: inputs as u32 / 4,
        outputs: outputs as u32 / 4,
        weight: 0,
        bias: shape.layer().bias as u32 / 4,
        params_stride: shape.params() as u32 / 4,
        a_stride: (shape.room() * inputs / 4) as u32,
        dz_stride: (shape.room() * outputs / 4) as u32,
    };
    let constants = [("LANES", f64::from(PRODUCT_LANES))];
    let grid = [
        (outputs as u32 / 4).div_ceil(PRODUCT_LANES * COLUMNS),
        (inputs as u32 / 4).div_ceil(DW_ROWS),
        shape.replicas as u32,
    ];
    let pass = Pass { accumulate: u32::from(accumulate), ..shape.pass() };
    let buffers = [words(&a), words(&dz), words(&before)];
    let got = dispatch(&kernels::linear_dw, &constants, bytes_of(&args), pass, grid).run(gpu, &buffers)?;
    let mut want = before;
    for (r, grads) in want.chunks_exact_mut(shape.params()).enumerate() {
        let (a, dz) = (shape.rows_of(&a, r, shape.inputs), shape.rows_of(&dz, r, shape.outputs));
        cpu::linear_dw(&shape.layer(), accumulate, a, dz, grads);
    }
    // Products of up to 1 make sums of √rows.
    let tolerance = product_tolerance(shape.rows) * (shape.rows as f64).sqrt();
    let name = shape.name("linear_dw", if accumulate { " accumulated" } else { "" });
    Ok(Check::new(name, &floats(&got[2]), &want, |x| tolerance + EPS * x.abs()))
}

/// What the two losses have in common: runs `kernel` and returns what it wrote to dz and to the rows' sums.
fn loss(gpu: &Gpu, shape: Shape, kernel: &Kernel, smoothing: f64, case: &LossCase) -> Result<[Vec<f64>; 2]> {
    let row_stride = stride(shape.outputs);
    let off = smoothing / shape.outputs as f64;
    let args = LossArgs {
        outputs: shape.outputs as u32,
        row_stride: row_stride as u32,
        z_stride: (shape.room() * row_stride) as u32,
        order_stride: case.samples as u32,
        room: shape.room() as u32,
        on: (1.0 - smoothing + off) as f32,
        off: off as f32,
    };
    let grid = [(shape.rows as u32).div_ceil(LANES), 1, shape.replicas as u32];
    let buffers =
        [case.order.clone(), case.targets.clone(), words(&case.z), shape.untouched(row_stride), shape.untouched(2)];
    let pass = Pass { first: 2, batch: case.batch as u32, ..shape.pass() };
    let got = dispatch(kernel, &[("LANES", LANES.into())], bytes_of(&args), pass, grid).run(gpu, &buffers)?;
    Ok([floats(&got[3]), floats(&got[4])])
}

struct LossCase {
    samples: usize,
    batch: usize,
    order: Vec<u32>,
    targets: Vec<u32>,
    z: Vec<f64>,
}

impl LossCase {
    fn new(shape: Shape, targets: impl FnOnce(&mut Stream, usize) -> Vec<u32>) -> Self {
        let samples = shape.rows + 5;
        let mut stream = Stream::new(11, Purpose::Verify, 0);
        let order = (0..shape.replicas * samples).map(|_| stream.below(samples as u64) as u32).collect();
        let z = shape.activations(12, shape.outputs).iter().map(|z| 4.0 * z).collect();
        Self { samples, batch: shape.rows + 9, order, targets: targets(&mut stream, samples), z }
    }

    /// The samples of replica r's rows.
    fn order_of(&self, shape: Shape, r: usize) -> &[u32] {
        &self.order[r * self.samples + 2..][..shape.rows]
    }
}

/// Compares dz, and the rows' losses and right answers.
fn loss_checks(
    shape: Shape,
    name: &str,
    [dz, sums]: [Vec<f64>; 2],
    tolerances: [f64; 2],
    mut twin: impl FnMut(usize, &mut [f64], &mut [f64], &mut [bool]),
) -> [Check; 2] {
    let mut rows = Vec::new();
    let want_dz = shape.expect(stride(shape.outputs), |r, dz| {
        let (mut loss, mut correct) = (vec![0.0; shape.rows], vec![false; shape.rows]);
        twin(r, dz, &mut loss, &mut correct);
        rows.push((loss, correct));
    });
    let want_sums = shape.expect(2, |r, sums| {
        for (i, sum) in sums.chunks_exact_mut(2).enumerate() {
            sum.copy_from_slice(&[rows[r].0[i], f64::from(u8::from(rows[r].1[i]))]);
        }
    });
    let [dz_tolerance, loss_tolerance] = tolerances;
    [
        Check::new(shape.name(name, " dz"), &dz, &want_dz, |x| dz_tolerance + 4.0 * EPS * x.abs()),
        Check::new(shape.name(name, " loss"), &sums, &want_sums, |x| loss_tolerance + 4.0 * EPS * x.abs()),
    ]
}

/// Logits in ±4 differ by at most 8: exp is within 19 units in the last place, and so are the sum and the quotient;
/// log adds 2⁻²¹, and the smoothed sum rounds C values of up to 8.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn softmax_cross_entropy(gpu: &Gpu, shape: Shape, smoothing: f64) -> Result<[Check; 2]> {
    let case = LossCase::new(shape, |stream, n| (0..n).map(|_| stream.below(shape.outputs as u64) as u32).collect());
    let got = loss(gpu, shape, &kernels::softmax_cross_entropy, smoothing, &case)?;
    let tolerances = [2.0 * 20.0 * EPS / case.batch as f64, EPS * (20.0 + 4.0 + 8.0) + 4.8e-7];
    Ok(loss_checks(shape, "softmax_cross_entropy", got, tolerances, |r, dz, loss, correct| {
        let z = shape.rows_of(&case.z, r, shape.outputs);
        let order = case.order_of(shape, r);
        cpu::softmax_cross_entropy(shape.outputs, smoothing, case.batch, order, &case.targets, z, dz, loss, correct);
    }))
}

/// Differences of up to 5 are squared, summed and divided.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn mse(gpu: &Gpu, shape: Shape) -> Result<[Check; 2]> {
    let targets = uniform(13, (shape.rows + 5) * shape.outputs, 1.0);
    let case = LossCase::new(shape, |_, _| words(&targets));
    let got = loss(gpu, shape, &kernels::mse, 0.0, &case)?;
    let tolerances = [8.0 * EPS / case.batch as f64, 25.0 * product_tolerance(shape.outputs)];
    Ok(loss_checks(shape, "mse", got, tolerances, |r, dz, loss, correct| {
        let z = shape.rows_of(&case.z, r, shape.outputs);
        cpu::mse(shape.outputs, case.batch, case.order_of(shape, r), &targets, z, dz, loss, correct);
    }))
}

/// # Errors
/// The device is lost, or refuses the shader.
pub fn metrics(gpu: &Gpu, shape: Shape) -> Result<Check> {
    let mut sums = uniform(14, shape.replicas * shape.room() * 2, 1.0);
    sums.iter_mut().skip(1).step_by(2).for_each(|c| *c = f64::from(u8::from(*c > 0.0)));
    let before = uniform(15, 2 * shape.replicas * 4, 1.0);
    let args = MetricsArgs { room: shape.room() as u32 };
    let pass = Pass { slot: 1, accumulate: 1, ..shape.pass() };
    let grid = [1, 1, shape.replicas as u32];
    let buffers = [words(&sums), words(&before)];
    let got = dispatch(&kernels::metrics, &[], bytes_of(&args), pass, grid).run(gpu, &buffers)?;
    let mut want = before;
    for r in 0..shape.replicas {
        let rows = &sums[r * shape.room() * 2..][..shape.rows * 2];
        let loss: Vec<f64> = rows.iter().step_by(2).copied().collect();
        let correct: Vec<bool> = rows.iter().skip(1).step_by(2).map(|&c| c > 0.0).collect();
        let mut total = (0.0, 0);
        cpu::metrics(&loss, &correct, &mut total);
        let at = (shape.replicas + r) * 4;
        want[at] += total.0;
        want[at + 1] += total.1 as f64;
        want[at + 2..at + 4].fill(0.0);
    }
    // Sums of rows values below 1.
    let tolerance = (shape.rows as f64).sqrt() * product_tolerance(shape.rows);
    Ok(Check::new(shape.name("metrics", ""), &floats(&got[1]), &want, |x| tolerance + EPS * x.abs()))
}

/// # Errors
/// The device is lost, or refuses the shader.
pub fn grad_norm(gpu: &Gpu, n: usize, replicas: usize) -> Result<Check> {
    let grads = uniform(16, n * replicas, 1.0);
    let max_norm = 0.5 * (n as f64 / 3.0).sqrt();
    let args = GradNormArgs { params: n as u32 / 4, max_norm: max_norm as f32 };
    let pass = Pass { replicas: replicas as u32, ..Pass::default() };
    let zeros = |n: usize| vec![0; n];
    let mut buffers = vec![words(&grads), zeros(replicas * PARTS as usize), zeros(replicas), zeros(4 * replicas)];
    for (entry_point, groups) in [("square", PARTS), ("root", 1)] {
        let grid = [groups, 1, replicas as u32];
        let first = dispatch(&kernels::grad_norm, &[], bytes_of(&args), pass, grid);
        buffers = Dispatch { entry_point, ..first }.run(gpu, &buffers)?;
    }
    let (clip, metrics) = (floats(&buffers[2]), floats(&buffers[3]));
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for r in 0..replicas {
        got.extend([metrics[4 * r + 2], clip[r]]);
        let (norm, scale) = cpu::grad_norm(&grads[r * n..][..n], max_norm);
        want.extend([norm, scale]);
    }
    // A sum of n squares, all of one sign, halved by the root; division and root add a few units.
    let tolerance = product_tolerance(n) + 8.0 * EPS;
    Ok(Check::new(format!("grad_norm {replicas}x{n}"), &got, &want, |x| tolerance * x.abs()))
}

/// Two updates from a state that is not 0; the second one's result, weights and state.
fn update(
    gpu: &Gpu,
    kernel: &Kernel,
    flag: (&str, f64),
    optimizer: Optimizer,
    n: usize,
    replicas: usize,
) -> Result<Check> {
    let vectors = optimizer.state_vectors();
    let (grads, weights) = (uniform(17, n * replicas, 1.0), uniform(18, n * replicas, 1.0));
    // Second moments are not negative; a centered one, in state 0, lies above the square of the mean.
    let least = |i: usize| if i == 0 { 0.5 } else { 0.1 };
    let mut state: Vec<Vec<f64>> = (0..vectors)
        .map(|i| uniform(19 + i as u64, n * replicas, 0.3).into_iter().map(|x| x.abs() + least(i)).collect())
        .collect();
    let rates: Vec<Rate> =
        (0..replicas).map(|r| Rate { lr: 0.1 / (r + 1) as f64, momentum: optimizer.momentum() }).collect();
    let coefficients: Vec<_> = rates.iter().map(|&rate| optimizer.coefficients(3, rate)).collect();
    let on_gpu: Vec<Coefficients> = coefficients.iter().map(|&c| c.into()).collect();
    // What the kernel reads is rounded to f32; the twin gets the rounded numbers too.
    let rounded = |c: &crate::optimizer::Coefficients| crate::optimizer::Coefficients {
        step_size: f64::from(c.step_size as f32),
        momentum: f64::from(c.momentum as f32),
        gain: f64::from(c.gain as f32),
        decay: f64::from(c.decay as f32),
        fresh: f64::from(c.fresh as f32),
        correction: f64::from(c.correction as f32),
        eps: f64::from(c.eps as f32),
        weight_decay: f64::from(c.weight_decay as f32),
        shrink: f64::from(c.shrink as f32),
    };
    let clip: Vec<f64> = (0..replicas).map(|r| 1.0 / (1 << r) as f64).collect();

    let args = UpdateArgs { params: n as u32 / 4 };
    let pass = Pass { replicas: replicas as u32, ..Pass::default() };
    let groups = args.params.div_ceil(LANES);
    let constants = [flag, ("LANES", f64::from(LANES))];
    let mut buffers = vec![words(&clip), words(&grads), words(&weights)];
    buffers.extend(state.iter().map(|s| words(s)));
    buffers.resize(kernel.bindings.len() - 1, vec![0; 4]);
    // Two rows of workgroups, as a long vector has.
    let grid = [groups.div_ceil(2), 2, replicas as u32];
    let dispatch = Dispatch { coefficients: &on_gpu, ..dispatch(kernel, &constants, bytes_of(&args), pass, grid) };
    let buffers = dispatch.run(gpu, &buffers)?;

    let mut want = weights;
    for r in 0..replicas {
        let at = r * n..(r + 1) * n;
        let c = rounded(&coefficients[r]).into();
        let mut parts: Vec<&mut [f64]> = state.iter_mut().map(|s| &mut s[at.clone()]).collect();
        let (g, w) = (&grads[at.clone()], &mut want[at]);
        match (optimizer.rule(), &mut parts[..]) {
            (Rule::Sgd { nesterov }, [v]) => cpu::sgd(&c, nesterov, clip[r], g, w, v),
            (Rule::Adam { .. }, [m, v]) => cpu::adam(&c, clip[r], g, w, m, v, None),
            (Rule::Adam { .. }, [m, v, largest]) => cpu::adam(&c, clip[r], g, w, m, v, Some(largest)),
            (Rule::Rmsprop { .. }, [v, b]) => cpu::rmsprop(&c, clip[r], g, w, v, b, None),
            (Rule::Rmsprop { .. }, [v, b, mean]) => cpu::rmsprop(&c, clip[r], g, w, v, b, Some(mean)),
            _ => unreachable!("a rule has its number of state vectors"),
        }
    }
    want.extend(state.concat());
    let got: Vec<f64> = buffers[2..3 + vectors].iter().flat_map(|b| floats(b)).collect();
    let name =
        format!("{} {replicas}x{n} {}", kernel.name, if flag.1 > 0.0 { flag.0.to_lowercase() } else { "plain".into() });
    // A dozen roundings of values below 4; a centered variance, above 0.2 of a second moment below 1, loses a factor
    // of 5 to cancellation, and half of that survives the root.
    let units = if flag == ("CENTERED", 1.0) { 2.5 * 12.0 } else { 12.0 };
    Ok(Check::new(name.trim(), &got, &want, |x| units * EPS * (1.0 + x.abs())))
}

/// # Errors
/// The device is lost, or refuses the shader.
pub fn average(gpu: &Gpu, n: usize, replicas: usize, ema: bool) -> Result<Check> {
    let (weights, mut want) = (uniform(26, n * replicas, 1.0), uniform(27, n * replicas, 1.0));
    let k = |r: usize| 1.0 / (1 << (r + 1)) as f64;
    let coefficients: Vec<Coefficients> = (0..replicas)
        .map(|r| {
            let k = k(r) as f32;
            if ema {
                Coefficients { ema: k, ..Default::default() }
            } else {
                Coefficients { swa: k, ..Default::default() }
            }
        })
        .collect();
    let args = UpdateArgs { params: n as u32 / 4 };
    let pass = Pass { replicas: replicas as u32, ..Pass::default() };
    let constants = [("EMA", f64::from(ema)), ("LANES", f64::from(LANES))];
    let grid = [args.params.div_ceil(LANES).div_ceil(2), 2, replicas as u32];
    let kernel = dispatch(&kernels::average, &constants, bytes_of(&args), pass, grid);
    let got = Dispatch { coefficients: &coefficients, ..kernel }.run(gpu, &[words(&weights), words(&want)])?;
    for (r, mean) in want.chunks_exact_mut(n).enumerate() {
        cpu::average(k(r), &weights[r * n..][..n], mean);
    }
    let name = format!("average {replicas}x{n} {}", if ema { "ema" } else { "swa" });
    // A difference, a product and a sum of values below 2.
    Ok(Check::new(name, &floats(&got[1]), &want, |x| 2.0 * EPS * (1.0 + x.abs())))
}

/// # Errors
/// The device is lost, or refuses the shader.
pub fn sgd(gpu: &Gpu, n: usize, replicas: usize, nesterov: bool) -> Result<Check> {
    let optimizer = Optimizer::Sgd { lr: 0.1, momentum: 0.9, dampening: 0.1, weight_decay: 0.01, nesterov };
    update(gpu, &kernels::sgd, ("NESTEROV", f64::from(nesterov)), optimizer, n, replicas)
}

/// # Errors
/// The device is lost, or refuses the shader.
pub fn adam(gpu: &Gpu, n: usize, replicas: usize, amsgrad: bool) -> Result<Check> {
    let optimizer = Optimizer::Adamw { lr: 0.1, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.01, amsgrad };
    update(gpu, &kernels::adam, ("AMSGRAD", f64::from(amsgrad)), optimizer, n, replicas)
}

/// # Errors
/// The device is lost, or refuses the shader.
pub fn rmsprop(gpu: &Gpu, n: usize, replicas: usize, centered: bool) -> Result<Check> {
    let optimizer = Optimizer::Rmsprop { lr: 0.1, alpha: 0.9, eps: 1e-8, weight_decay: 0.01, momentum: 0.5, centered };
    update(gpu, &kernels::rmsprop, ("CENTERED", f64::from(centered)), optimizer, n, replicas)
}
