//! The kernels of the losses and of what is told about them.

use bytemuck::bytes_of;

use super::{Shape, dispatch, floats, product_tolerance, words};
use crate::cpu;
use crate::engine::stride;
use crate::error::Result;
use crate::gpu::adapter::Gpu;
use crate::gpu::kernels::{
    self, EnsembleArgs, Kernel, LANES, LOSS_SCALE_ROWS, LossArgs, LossScaleArgs, Pass, Scaling, Stored, loss_lanes,
};
use crate::gpu::single::Dispatch;
use crate::number::{Purpose, Stream};
use crate::verify::{Check, EPS, uniform};

/// What is done to the samples of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mixing {
    /// Nothing.
    None,
    /// Each is mixed with another.
    Mixup,
    /// Each is mixed with another, and samples and classes have weights.
    Weighted,
}

impl Mixing {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Mixup, Self::Weighted];
}

/// Does what the two losses have in common: runs `kernel` and returns what it left in z's place, in the metrics and in
/// the scaling.
fn loss(gpu: &Gpu, shape: Shape, kernel: &Kernel, smoothing: f64, case: &LossCase) -> Result<Got> {
    let columns = stride(shape.outputs) / 4;
    let args = LossArgs {
        outputs: shape.outputs as u32,
        columns: columns as u32,
        z_stride: (shape.room() * columns) as u32,
        order_stride: case.samples as u32,
        room: shape.room() as u32,
        samples: case.samples as u32,
    };
    // The step's first pass takes the scale that the step before has left; the others go on with it.
    let is_first = case.mix.is_empty();
    let off = smoothing / shape.outputs as f64;
    let (on, off) = ((1.0 - smoothing + off) as f32, off as f32);
    let total = kernels::Coefficients { total: case.total() as f32, on, off, ..Default::default() };
    let is_weighted = !case.weights.is_empty();
    let targets = [&case.targets[..], &words(&case.weights), &words(&case.class_weights)].concat();
    let (loss, next) = if is_first { (77.0, case.scale) } else { (case.scale, 77.0) };
    let scaling = vec![Scaling { loss: loss as f32, next: next as f32, ..Scaling::new(1.0) }; shape.replicas];
    let buffers = [
        case.order.clone(),
        targets,
        case.mix_words(shape),
        bytemuck::cast_slice(&scaling).to_vec(),
        shape.words(&case.z),
        words(&case.before),
    ];
    let accumulate = u32::from(!is_first);
    let pass = Pass { first: 2, ring_row: 1, batch: case.batch as u32, accumulate, ..shape.pass() };
    let (lanes, mixup) = (loss_lanes(gpu, shape.rows).into(), f64::from(!is_first));
    let constants = [("LANES", lanes), ("MIXUP", mixup), ("WEIGHTED", f64::from(is_weighted))];
    let kernel = shape.kernel(kernel);
    let kernel = dispatch(&kernel, &constants, bytes_of(&args), pass, [1, 1, shape.replicas as u32]);
    let coefficients = vec![total; 2 * shape.replicas];
    let got = Dispatch { coefficients: &coefficients, ..kernel }.run(gpu, &buffers)?;
    let scaling: &[Scaling] = bytemuck::cast_slice(&got[3]);
    let scales = scaling.iter().map(|s| f64::from(s.loss)).collect();
    Ok(Got { dz: shape.floats(&got[4]), metrics: floats(&got[5]), scales })
}

struct Got {
    dz: Vec<f64>,
    metrics: Vec<f64>,
    scales: Vec<f64>,
}

struct LossCase {
    samples: usize,
    batch: usize,
    order: Vec<u32>,
    targets: Vec<u32>,
    z: Vec<f64>,
    /// The other sample and the own share of each replica's rows, with its spare ones; empty without mixup.
    mix: Vec<(u32, f64)>,
    /// The weights of samples and of classes; empty where all count alike.
    weights: Vec<f64>,
    class_weights: Vec<f64>,
    /// The two rows of the metrics before the loss.
    before: Vec<f64>,
    /// The loss scale.
    scale: f64,
}

impl LossCase {
    fn new(shape: Shape, mixing: Mixing, targets: impl FnOnce(&mut Stream, usize) -> Vec<u32>) -> Self {
        let has_mixup = mixing != Mixing::None;
        let samples = shape.rows + 5;
        let mut stream = Stream::new(11, Purpose::Verify, 0);
        let order = (0..shape.replicas * samples).map(|_| stream.below(samples as u64) as u32).collect();
        let z = shape.activations(12, shape.outputs).iter().map(|z| 4.0 * z).collect();
        let targets = targets(&mut stream, samples);
        let mut draw = || (stream.below(samples as u64) as u32, f64::from(stream.uniform() as f32));
        let mix = if has_mixup { (0..shape.replicas * shape.room()).map(|_| draw()).collect() } else { Vec::new() };
        let before = uniform(15, 2 * shape.replicas * 4, 1.0);
        let scale = if shape.stored == Stored::F32 { 1.0 } else { 1024.0 };
        // In [0, 2], so that a row counts up to 4 times.
        let weights = |seed: u64, n: usize| match mixing {
            Mixing::Weighted => uniform(seed, n, 1.0).into_iter().map(|w| 1.0 + w).collect(),
            _ => Vec::new(),
        };
        let (weights, class_weights) = (weights(16, samples), weights(17, shape.outputs));
        Self { samples, batch: shape.rows + 9, order, targets, z, mix, weights, class_weights, before, scale }
    }

    /// What the step's samples count; any number will do.
    fn total(&self) -> f64 {
        if self.weights.is_empty() { self.batch as f64 } else { 0.75 * self.batch as f64 }
    }

    fn weighting(&self) -> Option<cpu::Weighting<'_, f64>> {
        (!self.weights.is_empty()).then_some(cpu::Weighting { samples: &self.weights, classes: &self.class_weights })
    }

    /// How much a row's loss and gradient may be larger than without weights.
    fn most(&self) -> f64 {
        if self.weights.is_empty() { 1.0 } else { 4.0 }
    }

    fn mix_words(&self, shape: Shape) -> Vec<u32> {
        let mut mix: Vec<u32> =
            self.mix.iter().flat_map(|&(sample, share)| [sample, (share as f32).to_bits()]).collect();
        mix.resize(2 * shape.replicas * shape.room(), 0);
        mix
    }

    /// The other sample and the own share of replica r's rows; none without mixup.
    fn mix_of(&self, shape: Shape, r: usize) -> Option<&[(u32, f64)]> {
        (!self.mix.is_empty()).then(|| &self.mix[r * shape.room()..])
    }

    /// The samples of replica r's rows.
    fn order_of(&self, shape: Shape, r: usize) -> &[u32] {
        &self.order[r * self.samples + 2..][..shape.rows]
    }
}

/// Compares dz, in z's place, and the metrics.
fn loss_checks(
    shape: Shape,
    name: &str,
    case: &LossCase,
    got: Got,
    [dz_tolerance, loss_tolerance]: [f64; 2],
    mut twin: impl FnMut(usize, &mut [f64], &mut [f64], &mut [bool]),
) -> [Check; 2] {
    let (width, scale, most) = (stride(shape.outputs), case.scale, case.most());
    let (mut want_dz, mut want) = (case.z.clone(), case.before.clone());
    for r in 0..shape.replicas {
        let dz = &mut want_dz[r * shape.room() * width..][..shape.rows * width];
        let (mut loss, mut correct) = (vec![0.0; shape.rows], vec![false; shape.rows]);
        twin(r, dz, &mut loss, &mut correct);
        dz.iter_mut().for_each(|d| *d *= scale);
        let mut sums = (0.0, 0);
        cpu::metrics(&loss, &correct, &mut sums);
        let of_row = &mut want[(shape.replicas + r) * 4..][..4];
        if case.mix.is_empty() {
            of_row.fill(0.0);
        }
        of_row[0] += sums.0;
        of_row[1] += sums.1 as f64;
        of_row[2..].copy_from_slice(&[0.0, scale]);
    }
    want.extend(vec![scale; shape.replicas]);
    let metrics = [got.metrics, got.scales].concat();
    let rows = shape.rows as f64;
    [
        Check::new(shape.name(name, " dz"), &got.dz, &want_dz, |x| {
            scale * most * dz_tolerance + 4.0 * EPS * x.abs() + shape.storing(x)
        }),
        // A sum of so many losses is rounded as often.
        Check::new(shape.name(name, " metrics"), &metrics, &want, |x| {
            rows * most * loss_tolerance + (4.0 + rows.sqrt()) * EPS * x.abs()
        }),
    ]
}

/// The checks of `softmax_cross_entropy`. Logits in ±4 differ by at most 8: exp is within 19 units in the last place,
/// and so are the sum and the quotient; log adds 2⁻²¹, and the smoothed sum rounds C values of up to 8.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn softmax_cross_entropy(gpu: &Gpu, shape: Shape, smoothing: f64, mixing: Mixing) -> Result<[Check; 2]> {
    let labels = |stream: &mut Stream, n| (0..n).map(|_| stream.below(shape.outputs as u64) as u32).collect();
    let case = LossCase::new(shape, mixing, labels);
    let got = loss(gpu, shape, &kernels::softmax_cross_entropy, smoothing, &case)?;
    let tolerances = [2.0 * 20.0 * EPS / case.total(), EPS * (20.0 + 4.0 + 8.0) + 4.8e-7];
    Ok(loss_checks(shape, "softmax_cross_entropy", &case, got, tolerances, |r, dz, loss, correct| {
        let z = shape.rows_of(&case.z, r, shape.outputs);
        let order = case.order_of(shape, r);
        let (mix, labels) = (case.mix_of(shape, r), &case.targets);
        let (total, weighting) = (case.total(), case.weighting());
        cpu::softmax_cross_entropy(
            shape.outputs,
            smoothing,
            total,
            order,
            mix,
            labels,
            weighting,
            z,
            dz,
            loss,
            correct,
        );
    }))
}

/// The checks of `mse`. Differences of up to 5 are squared, summed and divided.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn mse(gpu: &Gpu, shape: Shape, mixing: Mixing) -> Result<[Check; 2]> {
    let targets = uniform(13, (shape.rows + 5) * shape.outputs, 1.0);
    let case = LossCase::new(shape, mixing, |_, _| words(&targets));
    let got = loss(gpu, shape, &kernels::mse, 0.0, &case)?;
    let tolerances = [8.0 * EPS / case.total(), 25.0 * product_tolerance(shape.outputs)];
    Ok(loss_checks(shape, "mse", &case, got, tolerances, |r, dz, loss, correct| {
        let z = shape.rows_of(&case.z, r, shape.outputs);
        let (order, mix) = (case.order_of(shape, r), case.mix_of(shape, r));
        cpu::mse(shape.outputs, case.total(), order, mix, &targets, case.weighting(), z, dz, loss, correct);
    }))
}

/// The checks of `loss_scale`: rows that fit; then of the last replica one that does not: NaN, or an infinity in full
/// precision too.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn loss_scale(gpu: &Gpu, shape: Shape) -> Result<Vec<Check>> {
    let width = stride(shape.outputs);
    let args = LossScaleArgs { columns: width as u32 / 4, dz_stride: (shape.room() * width / 4) as u32 };
    let mut dz = shape.activations(16, shape.outputs);
    // What lies past the last row does not count.
    dz[shape.rows * width..shape.room() * width].fill(f64::INFINITY);
    let last = ((shape.replicas - 1) * shape.room() + shape.rows) * width - 1;
    let kernel = shape.kernel(&kernels::loss_scale);
    let mut checks = Vec::new();
    for (bad, accumulate, steps) in [(0.0, 0, 3), (0.0, 0, cpu::STEPS - 1), (0.0, 1, 7), (f64::NAN, 0, 9), (-1e5, 1, 9)]
    {
        dz[last] = if bad < 0.0 { f64::NEG_INFINITY } else { bad };
        let before = Scaling { factor: 0.5, clip: 3.0, loss: 8.0, next: 16.0, steps, progress: 0 };
        let grid = [1, (shape.rows as u32).div_ceil(LOSS_SCALE_ROWS), shape.replicas as u32];
        let pass = Pass { accumulate, ..shape.pass() };
        let buffers = [shape.words(&dz), bytemuck::cast_slice(&vec![before; shape.replicas]).to_vec()];
        let got = dispatch(&kernel, &[], bytes_of(&args), pass, grid).run(gpu, &buffers)?;
        let got: &[Scaling] = bytemuck::cast_slice(&got[1]);
        let got: Vec<f64> = got
            .iter()
            .flat_map(|s| {
                let counts = [s.steps, s.progress].map(f64::from);
                [s.factor, s.clip, s.loss, s.next].map(f64::from).into_iter().chain(counts)
            })
            .collect();
        let want = (0..shape.replicas).flat_map(|r| {
            let mut s = cpu::LossScaling { factor: 0.5, loss: 8.0, next: 16.0, steps };
            cpu::loss_scale(shape.rows_of(&dz, r, shape.outputs), accumulate == 1, &mut s);
            [s.factor, 3.0, s.loss, s.next, f64::from(s.steps), 0.0]
        });
        let name = shape.name("loss_scale", &format!(" {bad} {accumulate} {steps}"));
        checks.push(Check::new(name, &got, &want.collect::<Vec<_>>(), |x| EPS * x.abs()));
    }
    Ok(checks)
}

/// The checks of `ensemble`, three members one after the other: the mean of their predictions, and what becomes of the
/// last one's logits.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn ensemble(gpu: &Gpu, shape: Shape, softmax: bool) -> Result<[Check; 2]> {
    let (row_stride, members, first) = (stride(shape.outputs), 3, 2);
    let args = EnsembleArgs {
        outputs: shape.outputs as u32,
        columns: row_stride as u32 / 4,
        z_stride: (shape.room() * row_stride / 4) as u32,
        mean_stride: ((first + shape.room()) * row_stride / 4) as u32,
    };
    let constants = [("SOFTMAX", f64::from(softmax)), ("LANES", f64::from(LANES))];
    let grid = [(shape.rows as u32).div_ceil(LANES), 1, shape.replicas as u32];
    let of_replica = 4 * args.mean_stride as usize;
    let mut want_mean = uniform(41, shape.replicas * of_replica, 1.0);
    let mut mean = words(&want_mean);
    let (mut z, mut want_z) = (Vec::new(), Vec::new());
    for member in 0..members {
        want_z = shape.activations(42 + member as u64, shape.outputs).iter().map(|z| 4.0 * z).collect();
        let (member_word, members_word) = (member as u32, members as u32);
        let pass = Pass { first: first as u32, member: member_word, members: members_word, ..shape.pass() };
        let kernel = shape.kernel(&kernels::ensemble);
        let mut got =
            dispatch(&kernel, &constants, bytes_of(&args), pass, grid).run(gpu, &[shape.words(&want_z), mean])?;
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
        Check::new(name("z"), &shape.floats(&z), &want_z, |x| 32.0 * EPS * (1.0 + x.abs()) + 4.8e-7 + shape.storing(x)),
    ])
}
