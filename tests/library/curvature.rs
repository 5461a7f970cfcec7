//! Eigenvalues, traces, densities and rises of the loss, against closed forms and against PyTorch and NumPy
//! (`tests/golden/spectra.py`).

use std::sync::Arc;

use serde_json::Value;
use thalweg::activation::Activation;
use thalweg::cpu::CpuEngine;
use thalweg::data::{Dataset, Samples};
use thalweg::engine::{Curvature, Engine, Setup, Slot};
use thalweg::explore::curvature::{CurvaturePlan, Eigenpair, LossShape, Rise, TopEigenvalue, curvature, eigenvectors};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::Mlp;
use thalweg::optimizer::Optimizer;

use crate::common::{self, Tolerance, assert_close};

/// A number of samples with orthogonal features (rows of Hadamard's matrix without its first, which is the bias), each scaled.
struct Quadratic {
    samples: usize,
    outputs: usize,
    scales: Vec<f64>,
}

impl Quadratic {
    /// The scales fall from 4, those of a few features far above the rest.
    fn new(samples: usize, outputs: usize) -> Self {
        let scale = |j: usize| if j < 3 { 4.0 / f64::from(1 << j) } else { 0.5 };
        Self { samples, outputs, scales: (0..samples - 1).map(scale).collect() }
    }

    fn sign(i: usize, j: usize) -> f64 {
        if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 }
    }

    /// The weights of least loss, which is 0, in PyTorch's order: eighths, so that all targets are exact.
    fn least(&self) -> Vec<f64> {
        (0..self.outputs * self.samples).map(|k| (k * 7 % 9) as f64 / 8.0 - 0.5).collect()
    }

    fn setup(&self, replicas: usize) -> Setup {
        let (n, inputs, least) = (self.samples, self.samples - 1, self.least());
        let x = |i: usize, j: usize| self.scales[j] * Self::sign(i, j + 1);
        let features: Vec<f32> = (0..n).flat_map(|i| (0..inputs).map(move |j| x(i, j) as f32)).collect();
        let target = |i: usize, o: usize| {
            let sum: f64 = (0..inputs).map(|j| least[o * inputs + j] * x(i, j)).sum();
            sum + least[self.outputs * inputs + o]
        };
        let targets: Vec<f32> = (0..n).flat_map(|i| (0..self.outputs).map(move |o| target(i, o) as f32)).collect();
        let samples = Samples::valued(features, targets, self.outputs);
        let dataset = Dataset::new("hadamard", [inputs, 1, 1], samples, None).unwrap();
        setup(Mlp::new(inputs, self.outputs), dataset, replicas)
    }

    /// The second derivative by each parameter, in PyTorch's order: the Hessian has no others.
    fn diagonal(&self) -> Vec<f64> {
        let scale =
            |k: usize| if k < self.outputs * self.scales.len() { self.scales[k % self.scales.len()] } else { 1.0 };
        (0..self.outputs * self.samples).map(|k| 2.0 / self.outputs as f64 * scale(k).powi(2)).collect()
    }
}

fn setup(model: Mlp, dataset: Dataset, replicas: usize) -> Setup {
    let batch = dataset.train.len();
    Setup { replicas, batch, optimizer: Optimizer::sgd(1.0), ..Setup::new(model, Arc::new(dataset)) }
}

/// Gives a replica's weights, in PyTorch's order, to the engine.
fn upload(engine: &mut dyn Engine, r: usize, values: &[f64]) {
    let layout = engine.layout().clone();
    let mut tensors = layout.unpack(&vec![0.0; layout.len]);
    let mut at = values.iter();
    tensors.iter_mut().for_each(|tensor| tensor.values.iter_mut().for_each(|value| *value = *at.next().unwrap()));
    assert_eq!(at.next(), None);
    engine.upload(Slot::Live, r, &layout.pack(&tensors).unwrap()).unwrap();
}

fn measure(engine: &mut dyn Engine, plan: &CurvaturePlan) -> Vec<LossShape> {
    let mut work = Vec::new();
    let shapes = curvature(engine, plan, &mut |done, all| work.push((done, all))).unwrap();
    // Progress only grows, and ends with all.
    assert!(work.is_sorted() && work.last().is_some_and(|(done, all)| done == all), "{work:?}");
    shapes
}

fn descending(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(|a, b| b.total_cmp(a));
    values
}

fn within(rel: f64, abs: f64) -> Tolerance {
    Tolerance { abs, rel }
}

/// A linear model under the squared error: all is known. Weights of least loss and others, side by side.
#[test]
fn a_quadratic_has_its_closed_form() {
    let quadratic = Quadratic::new(16, 3);
    let (diagonal, least) = (quadratic.diagonal(), quadratic.least());
    let away: Vec<f64> = (0..least.len()).map(|k| least[k] + ((k * 5 % 7) as f64 - 2.5) / 16.0).collect();
    let setup = quadratic.setup(2);
    // A product is right but for some roundings of its sums of 16, of numbers up to the largest eigenvalue, and the trace is a sum
    // of 48 such.
    for (mut engine, epsilon) in engines(&setup) {
        let engine = engine.as_mut();
        upload(engine, 0, &least);
        upload(engine, 1, &away);
        let before = engine.download(Slot::Live, 1).unwrap();
        let shapes = measure(engine, &CurvaturePlan { top: 48, ..CurvaturePlan::default() });
        assert_eq!(engine.download(Slot::Live, 1).unwrap(), before);
        let sorted = descending(diagonal.clone());
        let bound = 64.0 * epsilon * sorted[0];
        for shape in &shapes {
            assert_eq!(shape.parameters, 48);
            assert_close("eigenvalues", &shape.eigenvalues, &sorted, within(0.0, bound));
            assert_close("smallest", &[shape.smallest], &[sorted[47]], within(0.0, bound));
            assert!(shape.eigenvalue_errors.iter().all(|error| *error <= bound), "{:?}", shape.eigenvalue_errors);
            assert_close("trace", &[shape.trace.mean], &[diagonal.iter().sum()], within(0.0, 48.0 * bound));
            assert_eq!(shape.trace.error, 0.0);
            assert_close("density", &shape.density.nodes, &sorted, within(0.0, bound));
            assert_close("shares", &shape.density.weights, &[1.0 / 48.0; 48], within(1e-12, 0.0));
        }
        let z = |of: &dyn Fn(usize) -> f64| (0..48).map(of).collect::<Vec<_>>();
        for (shape, weights) in shapes.iter().zip([&least, &away]) {
            let slope = z(&|k| diagonal[k] * (weights[k] - least[k]));
            let rise = |z: &[f64]| (0..48).map(|k| slope[k] * z[k] + 0.5 * diagonal[k] * z[k] * z[k]).sum::<f64>();
            let loss = rise_from_least(&diagonal, weights, &least);
            // The loss is a mean of 48 squares, each of a sum of 16; a rise is the difference of two such.
            let noise = 64.0 * epsilon * (1.0 + loss);
            assert_close("loss", &[shape.loss], &[loss], within(64.0 * epsilon, noise));
            let norm = slope.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert_close("gradient", &[shape.gradient_norm], &[norm], within(64.0 * epsilon, noise));
            let width = z(&|k| Rise::EPSILON * (weights[k].abs() + 1.0));
            let corner = rise(&z(&|k| if slope[k] < 0.0 { -width[k] } else { width[k] }));
            // Weights of about 1 are moved by about 1e-3, each rounded: their part of the rise, to a thousand roundings.
            let moved = 1e3 * epsilon * (norm + sorted[0]) * Rise::EPSILON;
            let Rise { largest, relative, mean, ascent } = shape.sharpness;
            assert_close("largest", &[largest], &[corner], within(64.0 * epsilon, noise + moved));
            assert_close(
                "relative",
                &[relative],
                &[100.0 * corner / (1.0 + loss)],
                within(1e-3, 100.0 * (noise + moved)),
            );
            let expected = (0..48).map(|k| diagonal[k] * width[k] * width[k]).sum::<f64>() / 6.0;
            assert_close("mean", &[mean.mean], &[expected], within(0.0, 4.0 * mean.error + noise + moved));
            let up = z(&|k| if norm > 0.0 { Rise::RHO * slope[k] / norm } else { 0.0 });
            if norm > 0.0 {
                assert_close("ascent", &[ascent], &[rise(&up)], within(64.0 * epsilon, noise + 50.0 * moved));
            }
        }
        // About the least weights each output's filter goes along its own largest eigenvalue; ten steps come within 4^-20 of it.
        let filters: Vec<&[f64]> = least[..45].chunks(15).collect();
        let lengths = filters.iter().map(|filter| filter.iter().map(|w| w * w).sum::<f64>());
        let largest: f64 = lengths.map(|square| 0.5 * sorted[0] * square * Rise::SHARE.powi(2)).sum();
        assert_close("filters", &[shapes[0].filter_sharpness.largest], &[largest], within(1e-5, 128.0 * epsilon));
    }
}

/// The loss above the least one.
fn rise_from_least(diagonal: &[f64], weights: &[f64], least: &[f64]) -> f64 {
    let all = diagonal.iter().zip(weights).zip(least);
    all.map(|((h, w), l)| 0.5 * h * (w - l).powi(2)).sum()
}

/// The CPU engine in each precision, and the GPU engine.
fn engines(setup: &Setup) -> Vec<(Box<dyn Engine>, f64)> {
    let mut engines = on_the_cpu(setup);
    if let Some(gpu) = common::gpu() {
        let engine = GpuEngine::new(gpu, setup.clone(), Options::default()).unwrap();
        engines.push((Box::new(engine), f64::from(f32::EPSILON)));
    }
    engines
}

fn on_the_cpu(setup: &Setup) -> Vec<(Box<dyn Engine>, f64)> {
    vec![
        (Box::new(CpuEngine::<f64>::new(setup.clone()).unwrap()), f64::EPSILON),
        (Box::new(CpuEngine::<f32>::new(setup.clone()).unwrap()), f64::from(f32::EPSILON)),
    ]
}

/// More parameters than are looked at one by one; each eigenvalue is there once for each output, and is found as often.
#[test]
fn equal_eigenvalues_are_found_in_a_larger_network() {
    let quadratic = Quadratic::new(128, 4);
    let diagonal = quadratic.diagonal();
    let sorted = descending(diagonal.clone());
    for (mut engine, epsilon) in on_the_cpu(&quadratic.setup(1)) {
        upload(engine.as_mut(), 0, &quadratic.least());
        let shape = &measure(engine.as_mut(), &CurvaturePlan { top: 9, ..CurvaturePlan::default() })[0];
        let bound = 1e-6_f64.max(256.0 * epsilon) * sorted[0];
        assert_close("eigenvalues", &shape.eigenvalues, &sorted[..9], within(0.0, bound));
        assert_close("smallest", &[shape.smallest], &[sorted[511]], within(0.0, bound));
        let trace: f64 = diagonal.iter().sum();
        assert_close("trace", &[shape.trace.mean], &[trace], within(0.0, 4.0 * shape.trace.error + 512.0 * bound));
        assert!(shape.trace.error < 0.02 * trace, "{:?}", shape.trace);
        // The density has the trace's mean and its own spread, here to some standard errors of its ten vectors over 512 parameters.
        let mean: f64 =
            shape.density.nodes.iter().zip(&shape.density.weights).map(|(node, weight)| node * weight).sum();
        let spread = (diagonal.iter().map(|h| h * h).sum::<f64>() / 512.0).sqrt();
        assert_close("density", &[mean], &[trace / 512.0], within(0.0, 4.0 * spread * (2.0 / 5120.0_f64).sqrt()));
        let below: f64 =
            shape.density.nodes.iter().zip(&shape.density.weights).filter(|(n, _)| **n < 0.3).map(|p| p.1).sum();
        let share = diagonal.iter().filter(|h| **h < 0.3).count() as f64 / 512.0;
        assert_close("share of the bulk", &[below], &[share], within(0.0, 0.02));
        // The same area, however it is spread.
        let area: f64 = (-400..1600).map(|i| shape.density.at(f64::from(i) * 0.01, 0.1) * 0.01).sum();
        assert_close("area", &[area], &[1.0], within(1e-6, 0.0));
    }
}

fn case(golden: &Value, replicas: usize) -> (Setup, Vec<f64>) {
    let widths: Vec<usize> =
        golden["widths"].as_array().unwrap().iter().map(|w| w.as_u64().unwrap() as usize).collect();
    let (n, inputs, outputs) = (24, widths[0], widths[3]);
    let features: Vec<f32> = (0..n * inputs).map(|i| (i * 37 % 101) as f32 / 64.0 - 0.75).collect();
    let (activation, samples) = if golden["name"] == "tanh" {
        let labels: Vec<u32> = (0..n).map(|i| (i * 7 % 11 % outputs) as u32).collect();
        (Activation::Tanh, Samples::labelled(features, labels))
    } else {
        let values: Vec<f32> = (0..n * outputs).map(|i| (i * 29 % 31) as f32 / 16.0 - 1.0).collect();
        (Activation::Gelu, Samples::valued(features, values, outputs))
    };
    let dataset = Dataset::new("golden", [inputs, 1, 1], samples, None).unwrap();
    let model = Mlp::new(inputs, outputs).hidden([widths[1], widths[2]]).activation(activation);
    let weights = (0..model.parameters()).map(|i| 0.6 * (0.7 * i as f64).sin()).collect();
    (setup(model, dataset, replicas), weights)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Networks of some hundred parameters against dense matrices: their ends, their traces and their densities' moments.
#[test]
fn networks_have_the_eigenvalues_of_dense_matrices() {
    let golden: Value = serde_json::from_str(include_str!("../golden/spectra.json")).unwrap();
    let plans = [
        ("hessian", CurvaturePlan::default()),
        ("gauss_newton", CurvaturePlan { of: Curvature::GaussNewton, ..CurvaturePlan::default() }),
        ("weights_only", CurvaturePlan { weights_only: true, ..CurvaturePlan::default() }),
    ];
    for golden in golden.as_array().unwrap() {
        let (setup, weights) = case(golden, 1);
        // Of the GPU one network is enough: the software driver takes its time.
        let all = if golden["name"] == "gelu" { engines(&setup) } else { on_the_cpu(&setup) };
        for (mut engine, epsilon) in all {
            let engine = engine.as_mut();
            upload(engine, 0, &weights);
            let plans = if engine.device().is_some() { &plans[..1] } else { &plans[..] };
            for (key, plan) in plans {
                let wanted = numbers(&golden[*key]);
                let last = wanted.len() - 1;
                let shape = &measure(engine, plan)[0];
                let name = format!("{} {key}", golden["name"]);
                assert_eq!(shape.parameters, wanted.len(), "{name}");
                // An error of the vector counts twice, so that the search's tolerance leaves its square over a gap; beside it are
                // some roundings of each value in four layers and back.
                let tolerance: f64 = if epsilon > 1e-10 { 1e-3 } else { 1e-8 };
                let bound = within(tolerance.powi(2) * 100.0 + 256.0 * epsilon, 256.0 * epsilon);
                assert_close(&name, &shape.eigenvalues, &wanted[..5], bound);
                let abs = if *key == "gauss_newton" { 1e-3 } else { 0.0 };
                assert_close(&name, &[shape.smallest], &[wanted[last]], Tolerance { abs: bound.abs + abs, ..bound });
                let trace: f64 = wanted.iter().sum();
                let rounding = 256.0 * epsilon * wanted.iter().map(|h| h.abs()).sum::<f64>();
                assert_close(&name, &[shape.trace.mean], &[trace], within(0.0, 4.0 * shape.trace.error + rounding));
                // A share of the density is right to √(2 / (10 · parameters)), its moments in units of the spread.
                let squares = |nodes: &[f64], weight: &dyn Fn(usize) -> f64| -> f64 {
                    nodes.iter().enumerate().map(|(i, node)| weight(i) * node * node).sum()
                };
                let found = squares(&shape.density.nodes, &|i| shape.density.weights[i]);
                let expected = squares(&wanted, &|_| 1.0 / wanted.len() as f64);
                let fourths = wanted.iter().map(|h| h.powi(4)).sum::<f64>() / wanted.len() as f64;
                let spread = fourths.sqrt() * (2.0 / (10.0 * wanted.len() as f64)).sqrt();
                assert_close(&name, &[found], &[expected], within(0.0, 4.0 * spread));
            }
        }
    }
}

/// What is found of weights is the same beside others as alone, but for when the search ends.
#[test]
fn sets_side_by_side_are_as_alone() {
    let golden: Value = serde_json::from_str(include_str!("../golden/spectra.json")).unwrap();
    let (setup, weights) = case(&golden[1], 3);
    let plan = CurvaturePlan { steps: Some(20), ..CurvaturePlan::default() };
    let scaled = |factor: f64| weights.iter().map(|w| factor * w).collect::<Vec<f64>>();
    let all = [weights.clone(), scaled(0.5), scaled(1.5)];
    let mut engine = CpuEngine::<f32>::new(setup.clone()).unwrap();
    all.iter().enumerate().for_each(|(r, weights)| upload(&mut engine, r, weights));
    let together = measure(&mut engine, &plan);
    for (weights, found) in all.iter().zip(&together) {
        let mut engine = CpuEngine::<f32>::new(Setup { replicas: 1, ..setup.clone() }).unwrap();
        upload(&mut engine, 0, weights);
        assert_eq!(&measure(&mut engine, &plan)[0], found);
    }
}

/// A filter's scale does not matter where the next layer takes it back: of a ReLU network only the filters' measure knows.
#[test]
fn the_measure_of_filters_is_invariant_to_their_scale() {
    let golden: Value = serde_json::from_str(include_str!("../golden/spectra.json")).unwrap();
    let (mut setup, mut weights) = case(&golden[1], 2);
    setup.model = setup.model.activation(Activation::Relu);
    // Without biases, which are no filters.
    let mut engine = CpuEngine::<f64>::new(setup.clone()).unwrap();
    let layout = engine.layout().clone();
    let mut at = 0;
    for tensor in layout.unpack(&vec![0.0; layout.len]) {
        if tensor.shape.len() == 1 {
            weights[at..at + tensor.values.len()].fill(0.0);
        }
        at += tensor.values.len();
    }
    upload(&mut engine, 0, &weights);
    // The first layer times 4, the second divided by it.
    weights[..60].iter_mut().for_each(|w| *w *= 4.0);
    weights[70..150].iter_mut().for_each(|w| *w /= 4.0);
    upload(&mut engine, 1, &weights);
    let shapes = measure(&mut engine, &CurvaturePlan { weights_only: true, ..CurvaturePlan::default() });
    let [one, other] = [0, 1].map(|r| shapes[r].filter_sharpness);
    assert_close("loss", &[shapes[1].loss], &[shapes[0].loss], within(1e-12, 0.0));
    let values = |rise: Rise| [rise.largest, rise.relative, rise.mean.mean, rise.ascent];
    assert_close("filters", &values(other), &values(one), within(1e-9, 0.0));
    assert!((shapes[0].eigenvalues[0] / shapes[1].eigenvalues[0] - 1.0).abs() > 0.1);
    assert!((shapes[0].sharpness.largest / shapes[1].sharpness.largest - 1.0).abs() > 0.1);
}

/// A matrix times each vector is its eigenvalue times the vector.
#[test]
fn eigenvectors_are_what_they_say() {
    let golden: Value = serde_json::from_str(include_str!("../golden/spectra.json")).unwrap();
    let (setup, weights) = case(&golden[0], 1);
    let mut engine = CpuEngine::<f64>::new(setup).unwrap();
    upload(&mut engine, 0, &weights);
    let found = eigenvectors(&mut engine, &CurvaturePlan { top: 2, ..CurvaturePlan::default() }).unwrap();
    assert_eq!((found.len(), found[0].len()), (1, 2));
    let (x, image) = (Slot::Scratch(0), Slot::Scratch(1));
    engine.allocate(x).unwrap();
    engine.allocate(image).unwrap();
    for (Eigenpair { value, vector }, wanted) in found[0].iter().zip(numbers(&golden[0]["hessian"])) {
        assert_close("value", &[*value], &[wanted], within(1e-12, 0.0));
        engine.upload(x, 0, vector).unwrap();
        assert_close("length", &engine.norm(x).unwrap(), &[1.0], within(1e-12, 0.0));
        engine.curve(Curvature::Hessian, 0..24, x, image).unwrap();
        engine.axpy(&[-value], x, image).unwrap();
        // The tolerance of the search.
        assert!(engine.norm(image).unwrap()[0] <= 1e-8 * value);
    }
}

#[test]
fn plans_that_do_not_fit_are_refused() {
    let (setup, plan) = (Quadratic::new(4, 1).setup(1), CurvaturePlan::default);
    let mut engine = CpuEngine::<f64>::new(setup.clone()).unwrap();
    let mut refused = |plan: CurvaturePlan| curvature(&mut engine, &plan, &mut |_, _| ()).unwrap_err().to_string();
    assert_eq!(refused(plan()), "top: expected 1 to 4, as many as parameters take part, found 5");
    assert!(refused(CurvaturePlan { top: 0, ..plan() }).starts_with("top: expected 1 to 4"));
    assert!(
        refused(CurvaturePlan { top: 2, steps: Some(2), ..plan() }).starts_with("steps: expected at least 3, found 2")
    );
    assert!(refused(CurvaturePlan { top: 2, probes: 1, ..plan() }).starts_with("probes: expected at least 2"));
    engine.upload(Slot::Live, 0, &vec![f64::MAX; engine.layout().len]).unwrap();
    let error = curvature(&mut engine, &CurvaturePlan { top: 1, ..plan() }, &mut |_, _| ()).unwrap_err().to_string();
    assert!(error.starts_with("curvature: expected a finite loss, found "), "{error}");
    let mut alone = CpuEngine::<f64>::new(Setup { evaluation_only: true, ..setup }).unwrap();
    let error = curvature(&mut alone, &CurvaturePlan { top: 1, ..plan() }, &mut |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("expected an engine that trains"), "{error}");
}

/// The largest eigenvalue is followed as weights move, with few products once its vector is known; also where another one becomes
/// the largest, which a search from the old vector alone would miss.
#[test]
fn the_largest_eigenvalue_is_followed() {
    let golden: Value = serde_json::from_str(include_str!("../golden/spectra.json")).unwrap();
    let (setup, weights) = case(&golden[0], 2);
    for (mut engine, _) in on_the_cpu(&setup) {
        let engine = engine.as_mut();
        let mut top = TopEigenvalue::new(engine, usize::MAX, 0).unwrap();
        for step in 0..6 {
            let moved = |r: usize| -> Vec<f64> {
                let factor = 1.0 + 0.05 * step as f64 * (1.0 - 1.5 * r as f64);
                weights.iter().map(|w| factor * w).collect()
            };
            (0..2).for_each(|r| upload(engine, r, &moved(r)));
            let before = engine.download(Slot::Live, 1).unwrap();
            let found = top.measure(engine).unwrap();
            assert_eq!(engine.download(Slot::Live, 1).unwrap(), before);
            let shapes = measure(engine, &CurvaturePlan { steps: Some(120), ..CurvaturePlan::default() });
            let wanted: Vec<f64> = shapes.iter().map(|shape| shape.eigenvalues[0]).collect();
            // The square of the relative length that a search ends with, over the gap to the next eigenvalue.
            assert_close("largest", &found, &wanted, within(1e-3, 0.0));
            // What it begins with again is what it found.
            engine.copy(top.begun(), top.found()).unwrap();
            assert_eq!(top.measure(engine).unwrap(), found);
        }
    }
    // A search that begins with the wrong eigenvector, here that of the bias, finds the right one.
    let quadratic = Quadratic::new(128, 1);
    let mut engine = CpuEngine::<f64>::new(quadratic.setup(1)).unwrap();
    let mut top = TopEigenvalue::new(&mut engine, 128, 0).unwrap();
    let layout = engine.layout().clone();
    let mut bias = vec![0.0; layout.len];
    bias[layout.layers[0].bias] = 1.0;
    engine.upload(top.found(), 0, &bias).unwrap();
    assert_close("largest", &top.measure(&mut engine).unwrap(), &[32.0], within(1e-3, 0.0));
    assert!(TopEigenvalue::new(&mut engine, 0, 0).is_err());
    // Where nothing is finite there is nothing to find, and the next search begins anew.
    let (setup, weights) = case(&golden[0], 1);
    let mut engine = CpuEngine::<f64>::new(setup).unwrap();
    let mut top = TopEigenvalue::new(&mut engine, 24, 0).unwrap();
    engine.upload(Slot::Live, 0, &vec![f64::MAX; engine.layout().len]).unwrap();
    assert!(top.measure(&mut engine).unwrap()[0].is_nan());
    upload(&mut engine, 0, &weights);
    let wanted = numbers(&golden[0]["hessian"])[0];
    assert_close("again", &top.measure(&mut engine).unwrap(), &[wanted], within(1e-3, 0.0));
}
