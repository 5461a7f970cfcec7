//! The kernels of the losses and of what is told about them.

use bytemuck::bytes_of;

use super::{Shape, dispatch, floats, product_tolerance, words};
use crate::cpu;
use crate::error::Result;
use crate::gpu::adapter::Gpu;
use crate::gpu::kernels::{self, EnsembleArgs, Kernel, LANES, LossArgs, MetricsArgs, Pass};
use crate::model::stride;
use crate::rng::{Purpose, Stream};
use crate::verify::{Check, EPS, uniform};

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
    let buffers = [
        case.order.clone(),
        case.targets.clone(),
        words(&case.z),
        case.mix_words(shape),
        shape.untouched(row_stride),
        shape.untouched(2),
    ];
    let pass = Pass { first: 2, batch: case.batch as u32, ..shape.pass() };
    let constants = [("LANES", LANES.into()), ("MIXUP", f64::from(!case.mix.is_empty()))];
    let got = dispatch(kernel, &constants, bytes_of(&args), pass, grid).run(gpu, &buffers)?;
    Ok([floats(&got[4]), floats(&got[5])])
}

struct LossCase {
    samples: usize,
    batch: usize,
    order: Vec<u32>,
    targets: Vec<u32>,
    z: Vec<f64>,
    /// Of each replica's rows, with its spare ones; empty without mixup.
    mix: Vec<(u32, f64)>,
}

impl LossCase {
    fn new(shape: Shape, has_mixup: bool, targets: impl FnOnce(&mut Stream, usize) -> Vec<u32>) -> Self {
        let samples = shape.rows + 5;
        let mut stream = Stream::new(11, Purpose::Verify, 0);
        let order = (0..shape.replicas * samples).map(|_| stream.below(samples as u64) as u32).collect();
        let z = shape.activations(12, shape.outputs).iter().map(|z| 4.0 * z).collect();
        let targets = targets(&mut stream, samples);
        let mut draw = || (stream.below(samples as u64) as u32, f64::from(stream.uniform() as f32));
        let mix = if has_mixup { (0..shape.replicas * shape.room()).map(|_| draw()).collect() } else { Vec::new() };
        Self { samples, batch: shape.rows + 9, order, targets, z, mix }
    }

    fn mix_words(&self, shape: Shape) -> Vec<u32> {
        let mut mix: Vec<u32> =
            self.mix.iter().flat_map(|&(sample, share)| [sample, (share as f32).to_bits()]).collect();
        mix.resize(2 * shape.replicas * shape.room(), 0);
        mix
    }

    /// Of replica r's rows.
    fn mix_of(&self, shape: Shape, r: usize) -> Option<&[(u32, f64)]> {
        (!self.mix.is_empty()).then(|| &self.mix[r * shape.room()..])
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
pub fn softmax_cross_entropy(gpu: &Gpu, shape: Shape, smoothing: f64, has_mixup: bool) -> Result<[Check; 2]> {
    let labels = |stream: &mut Stream, n| (0..n).map(|_| stream.below(shape.outputs as u64) as u32).collect();
    let case = LossCase::new(shape, has_mixup, labels);
    let got = loss(gpu, shape, &kernels::softmax_cross_entropy, smoothing, &case)?;
    let tolerances = [2.0 * 20.0 * EPS / case.batch as f64, EPS * (20.0 + 4.0 + 8.0) + 4.8e-7];
    Ok(loss_checks(shape, "softmax_cross_entropy", got, tolerances, |r, dz, loss, correct| {
        let z = shape.rows_of(&case.z, r, shape.outputs);
        let order = case.order_of(shape, r);
        let (mix, labels) = (case.mix_of(shape, r), &case.targets);
        cpu::softmax_cross_entropy(shape.outputs, smoothing, case.batch, order, mix, labels, z, dz, loss, correct);
    }))
}

/// Differences of up to 5 are squared, summed and divided.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn mse(gpu: &Gpu, shape: Shape, has_mixup: bool) -> Result<[Check; 2]> {
    let targets = uniform(13, (shape.rows + 5) * shape.outputs, 1.0);
    let case = LossCase::new(shape, has_mixup, |_, _| words(&targets));
    let got = loss(gpu, shape, &kernels::mse, 0.0, &case)?;
    let tolerances = [8.0 * EPS / case.batch as f64, 25.0 * product_tolerance(shape.outputs)];
    Ok(loss_checks(shape, "mse", got, tolerances, |r, dz, loss, correct| {
        let z = shape.rows_of(&case.z, r, shape.outputs);
        let (order, mix) = (case.order_of(shape, r), case.mix_of(shape, r));
        cpu::mse(shape.outputs, case.batch, order, mix, &targets, z, dz, loss, correct);
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

/// Three members, one after the other: the mean of their predictions, and what becomes of the last one's logits.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn ensemble(gpu: &Gpu, shape: Shape, softmax: bool) -> Result<[Check; 2]> {
    let (row_stride, members, first) = (stride(shape.outputs), 3, 2);
    let args = EnsembleArgs {
        outputs: shape.outputs as u32,
        row_stride: row_stride as u32,
        z_stride: (shape.room() * row_stride) as u32,
        mean_stride: ((first + shape.room()) * row_stride) as u32,
    };
    let constants = [("SOFTMAX", f64::from(softmax)), ("LANES", f64::from(LANES))];
    let grid = [(shape.rows as u32).div_ceil(LANES), 1, shape.replicas as u32];
    let of_replica = args.mean_stride as usize;
    let mut want_mean = uniform(41, shape.replicas * of_replica, 1.0);
    let mut mean = words(&want_mean);
    let (mut z, mut want_z) = (Vec::new(), Vec::new());
    for member in 0..members {
        want_z = shape.activations(42 + member as u64, shape.outputs).iter().map(|z| 4.0 * z).collect();
        let (member_word, members_word) = (member as u32, members as u32);
        let pass = Pass { first: first as u32, member: member_word, members: members_word, ..shape.pass() };
        let kernel = dispatch(&kernels::ensemble, &constants, bytes_of(&args), pass, grid);
        let mut got = kernel.run(gpu, &[words(&want_z), mean])?;
        (mean, z) = (got.swap_remove(1), got.swap_remove(0));
        for r in 0..shape.replicas {
            let z = &mut want_z[r * shape.room() * row_stride..][..shape.rows * row_stride];
            let mean = &mut want_mean[r * of_replica + first * row_stride..][..shape.rows * row_stride];
            cpu::ensemble(shape.outputs, softmax, member, members, z, mean);
        }
    }
    let name = |what: &str| shape.name("ensemble", &format!(" {}{what}", if softmax { "softmax " } else { "" }));
    // A probability is off by a part of itself, as in a softmax cross-entropy, and its logarithm by that part; outputs of
    // up to 4 may cancel.
    let size = if softmax { 1e-6 } else { 4.0 };
    Ok([
        Check::new(name("mean"), &floats(&mean), &want_mean, |x| 24.0 * EPS * (x.abs() + size)),
        Check::new(name("z"), &floats(&z), &want_z, |x| 32.0 * EPS * (1.0 + x.abs()) + 4.8e-7),
    ])
}
