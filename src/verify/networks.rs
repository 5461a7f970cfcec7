//! Gradients of whole networks, tensor by tensor.

use std::sync::Arc;

use super::{Check, EPS, Scope, uniform};
use crate::activation::Activation;
use crate::cpu::CpuEngine;
use crate::data::{Augment, Dataset, Features, Order, Samples, Targets};
use crate::engine::{Engine, Layout, Precision, Setup, Slot, Step};
use crate::error::Result;
use crate::gpu::adapter::Gpu;
use crate::gpu::{GpuEngine, Options};
use crate::loss::Loss;
use crate::model::{Init, Mlp, Norm};
use crate::number::{Purpose, Stream};
use crate::schedule::Rate;

/// Widths and batch that fit no tile.
const WIDTHS: [usize; 4] = [19, 17, 33, 5];
const BATCH: usize = 37;
const SAMPLES: usize = 50;
const REPLICAS: usize = 2;

/// The distance of 1 to the next half.
const HALF_EPS: f64 = 9.765625e-4;

/// A subject of the checks, whose gradient of every network is compared with something more exact.
pub trait Subject {
    /// Checks the network of `setup`: its loss, and the gradient of each tensor.
    ///
    /// # Errors
    /// The device is lost.
    fn check(&self, name: &str, setup: &Setup) -> Result<Vec<Check>>;
}

/// The CPU engine in f64, whose gradients are checked against central differences.
pub struct Precise;

/// The checks of whole networks: every activation under cross-entropy with label smoothing, and the squared error on
/// values and on labels; then everything that may stand between layers, and training samples changed at random.
///
/// # Errors
/// The device is lost.
pub fn networks(subject: &dyn Subject, scope: Scope) -> Result<Vec<Check>> {
    let is_full = scope == Scope::Full;
    let mut checks = Vec::new();
    for &activation in if is_full { &Activation::ALL[..] } else { &[Activation::Relu, Activation::Silu] } {
        let setup = setup(activation, Loss::CrossEntropy, labels())?;
        checks.extend(subject.check(&format!("{activation:?}"), &setup)?);
    }
    let values = Targets::Values { width: 5, values: uniform(31, SAMPLES * 5, 1.0) };
    for (name, targets) in
        [("Tanh mse", values.clone()), ("Tanh mse labels", labels())].into_iter().take(most(is_full, 1))
    {
        checks.extend(subject.check(name, &setup(Activation::Tanh, Loss::Mse, targets)?)?);
    }
    let between = [
        (Norm::Batch, true, 0.2),
        (Norm::Layer, true, 0.2),
        (Norm::Batch, false, 0.0),
        (Norm::Layer, false, 0.0),
        (Norm::None, true, 0.0),
        (Norm::None, false, 0.3),
    ];
    for (norm, residual, dropout) in between.into_iter().take(most(is_full, 2)) {
        let name = format!("Silu norm {norm:?} residual {residual} dropout {dropout}");
        let setup = setup(Activation::Silu, Loss::CrossEntropy, labels())?;
        let widths = vec![WIDTHS[0], WIDTHS[1], WIDTHS[1], WIDTHS[1], WIDTHS[3]];
        let model = Mlp { widths, norm, residual, dropout, ..setup.model.clone() };
        checks.extend(subject.check(&name.to_lowercase(), &Setup { model, ..setup })?);
    }
    let mixed = [("mixup", Loss::CrossEntropy, labels()), ("mixup mse", Loss::Mse, values.clone())];
    for (name, loss, targets) in mixed.into_iter().take(most(is_full, 1)) {
        let setup = setup(Activation::Tanh, loss, targets)?;
        let augment = Augment { mixup: 0.5, ..Augment::default() };
        checks.extend(subject.check(name, &Setup { augment, ..setup })?);
    }
    checks.extend(weighted(subject, values, is_full)?);
    Ok(checks)
}

/// All of what is checked, or the first few.
fn most(is_full: bool, few: usize) -> usize {
    if is_full { usize::MAX } else { few }
}

/// The checks of weights of samples and classes, mixed with one another or not.
fn weighted(subject: &dyn Subject, values: Targets, is_full: bool) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    let all = [(Loss::CrossEntropy, labels()), (Loss::Mse, labels()), (Loss::Mse, values)];
    let cases = all.into_iter().flat_map(|case| [(case.clone(), 0.5), (case, 0.0)]);
    for ((loss, targets), mixup) in cases.take(most(is_full, 1)) {
        let class_weights = if let Targets::Labels(_) = targets { vec![0.5, 3.0, 1.0, 0.0, 2.0] } else { Vec::new() };
        let name = format!("weights {loss:?} mixup {mixup} classes {}", class_weights.len()).to_lowercase();
        let setup = setup(Activation::Tanh, loss, targets)?;
        let mut dataset = (*setup.dataset).clone();
        dataset.train = dataset.train.weighted((0..SAMPLES).map(|i| (i % 4) as f64));
        let augment = Augment { mixup, ..Augment::default() };
        let setup = Setup { augment, class_weights, dataset: Arc::new(dataset), ..setup };
        checks.extend(subject.check(&name, &setup)?);
    }
    Ok(checks)
}

fn labels() -> Targets {
    let mut stream = Stream::new(32, Purpose::Verify, 0);
    Targets::Labels((0..SAMPLES).map(|i| if i < 5 { i as u32 } else { stream.below(5) as u32 }).collect())
}

fn setup(activation: Activation, loss: Loss, targets: Targets) -> Result<Setup> {
    let features = uniform(33, SAMPLES * WIDTHS[0], 1.0).into_iter().map(|x| x as f32).collect();
    let train = Samples { features: Features::F32(features), targets, weights: None };
    let model = Mlp::new(WIDTHS[0], WIDTHS[3]).hidden([WIDTHS[1], WIDTHS[2]]).activation(activation);
    let dataset = Dataset::new("verify", [WIDTHS[0], 1, 1], train, None)?;
    let label_smoothing = if loss == Loss::CrossEntropy { 0.1 } else { 0.0 };
    Ok(Setup { loss, label_smoothing, replicas: REPLICAS, batch: BATCH, ..Setup::new(model, Arc::new(dataset)) })
}

/// Gives every replica its own weights and order, and returns the step that is checked.
fn prepare(engine: &mut dyn Engine) -> Result<Step> {
    let model = engine.setup().model.clone();
    for r in 0..REPLICAS {
        let weights = engine.layout().init(&model, Init::Xavier, r as u64);
        // As f32 has them, so that both precisions start alike.
        let weights: Vec<f64> = weights.into_iter().map(|w| f64::from(w as f32)).collect();
        engine.upload(Slot::Live, r, &weights)?;
    }
    let orders: Vec<_> = (0..REPLICAS).map(|r| Order::Shuffle.permutation(SAMPLES, r as u64, 0)).collect();
    engine.set_order(&orders)?;
    Ok(Step { index: 0, first: 3, rows: BATCH, rates: vec![Rate::default(); REPLICAS], ..Step::default() })
}

/// The checks of the loss and of each tensor, over all replicas; a tensor may be off by `tolerance` of the network's
/// largest gradient for a bias before a batch normalisation, whose own is 0, a sum of terms that cancel, and of its own
/// values else.
fn compare(
    name: &str,
    layout: &Layout,
    got: &[(f64, Vec<f64>)],
    want: &[(f64, Vec<f64>)],
    tolerance: impl Fn(&[f64]) -> f64,
) -> Vec<Check> {
    let losses = |all: &[(f64, Vec<f64>)]| all.iter().map(|(loss, _)| *loss).collect::<Vec<_>>();
    let want_losses = losses(want);
    let bound = tolerance(&want_losses);
    let mut checks = vec![Check::new(format!("{name}: loss"), &losses(got), &want_losses, |_| bound)];
    let tensors = |all: &[(f64, Vec<f64>)]| all.iter().map(|(_, flat)| layout.unpack(flat)).collect::<Vec<_>>();
    let largest: Vec<f64> = want.iter().flat_map(|(_, flat)| flat.clone()).collect();
    let (got, want) = (tensors(got), tensors(want));
    for t in 0..want[0].len() {
        let all = |of: &[Vec<crate::engine::Tensor>]| of.iter().flat_map(|r| r[t].values.clone()).collect::<Vec<_>>();
        let (got, want_values) = (all(&got), all(&want));
        let is_zero = want_values.iter().all(|g| g.abs() < 1e-12);
        let bound = tolerance(if is_zero { &largest } else { &want_values });
        checks.push(Check::new(format!("{name}: d {}", want[0][t].name), &got, &want_values, |_| bound));
    }
    checks
}

impl Subject for Precise {
    /// With h = 6e-6, near the cube root of ε, a difference is off by h²/6 times the third derivative, below 100
    /// here, and by the loss's own rounding, about 20ε, over h: together below 2e-9.
    fn check(&self, name: &str, setup: &Setup) -> Result<Vec<Check>> {
        let h = 6e-6;
        let mut engine = CpuEngine::<f64>::new(setup.clone())?;
        let step = prepare(&mut engine)?;
        let got = engine.gradients(&step)?;
        let layout = engine.layout().clone();
        let starts = (0..REPLICAS).map(|r| engine.download(Slot::Live, r)).collect::<Result<Vec<_>>>()?;
        let mut want: Vec<(f64, Vec<f64>)> = got.iter().map(|(loss, _)| (*loss, vec![0.0; layout.len])).collect();
        // The padding is no parameter: its value must not matter, so it is left out.
        let is_parameter = layout.pack(&ones(&layout)).unwrap_or_default();
        for i in (0..layout.trained).filter(|&i| is_parameter[i] == 1.0) {
            for sign in [1.0, -1.0] {
                for (r, start) in starts.iter().enumerate() {
                    let mut weights = start.clone();
                    weights[i] += sign * h;
                    engine.upload(Slot::Live, r, &weights)?;
                }
                for (r, (loss, _)) in engine.gradients(&step)?.into_iter().enumerate() {
                    want[r].1[i] += sign * loss / (2.0 * h);
                }
            }
            for (r, start) in starts.iter().enumerate() {
                engine.upload(Slot::Live, r, start)?;
            }
        }
        Ok(compare(&format!("CPU f64 vs differences, {name}"), &layout, &got, &want, |_| 2e-9))
    }
}

/// A tensor of ones for every name of the layout.
fn ones(layout: &Layout) -> Vec<crate::engine::Tensor> {
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let values = vec![1.0; shape.iter().product()];
        crate::engine::Tensor { name, shape, values }
    };
    layout.names().into_iter().map(tensor).collect()
}

impl Subject for Gpu {
    /// A gradient passes through three products forward and three backward; each adds 4√n ε relative to its largest
    /// values, with n at most 37. The sum, doubled for the activations' own error: 300 ε of the tensor's largest value.
    fn check(&self, name: &str, setup: &Setup) -> Result<Vec<Check>> {
        against_cpu(self, &format!("GPU vs CPU f64, {name}"), setup, 300.0 * EPS)
    }
}

/// The GPU engine in mixed precision.
pub struct Mixed<'a>(pub &'a Gpu);

impl Subject for Mixed<'_> {
    /// Through four layers, weights, activations and gradients are rounded to halves a dozen times, each by half of their ε
    /// at most, and sums average most of it out; the normalisations' division may double what is left: 8 ε of halves. Where the
    /// activation has a kink, a z within that of 0 may be on its other side, which changes the share of one sample in the batch: two such.
    fn check(&self, name: &str, setup: &Setup) -> Result<Vec<Check>> {
        let has_kink = setup.model.activation.has_kink();
        let relative = 8.0 * HALF_EPS + if has_kink { 2.0 / BATCH as f64 } else { 0.0 };
        let setup = Setup { precision: Precision::Mixed, ..setup.clone() };
        against_cpu(self.0, &format!("GPU mixed vs CPU f64, {name}"), &setup, relative)
    }
}

/// Compares the gradients of the GPU engine with those of the CPU in f64; each may be off by `relative` of its tensor's
/// largest value.
fn against_cpu(gpu: &Gpu, name: &str, setup: &Setup, relative: f64) -> Result<Vec<Check>> {
    let mut precise = CpuEngine::<f64>::new(Setup { precision: Precision::F64, ..setup.clone() })?;
    let step = prepare(&mut precise)?;
    let want = precise.gradients(&step)?;
    let gpu = Gpu::open(gpu.description.index)?;
    let mut engine = GpuEngine::new(gpu, setup.clone(), Options::default())?;
    prepare(&mut engine)?;
    let got = engine.gradients(&step)?;
    let tolerance = |want: &[f64]| relative * want.iter().fold(0.0f64, |max, x| max.max(x.abs()));
    Ok(compare(name, engine.layout(), &got, &want, tolerance))
}
