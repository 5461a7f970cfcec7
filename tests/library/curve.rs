//! Products of second derivatives with a vector, and the gradient of the evaluated loss: in f64 beside central differences, and
//! the engines beside each other.

use std::ops::Range;
use std::sync::Arc;

use thalweg::cpu::CpuEngine;
use thalweg::data::{Features, Part, Samples};
use thalweg::engine::{Curvature, Diagnose, Engine, Setup, Slot};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::loss::Loss;
use thalweg::model::Norm;
use thalweg::{Activation, Dataset, Error, Mlp};

use crate::common::{Tolerance, assert_close};
use crate::tiny::engines;

const X: Slot = Slot::Scratch(0);
const HX: Slot = Slot::Scratch(1);
const ROWS: usize = 45;
/// Not from the order's beginning, and not to its end.
const OVER: Range<usize> = 3..41;

fn uniform(salt: u64, n: usize) -> Vec<f64> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..n).map(|_| draw()).collect()
}

/// Every kind of network in small: one layer as wide as the one before, so that a residual connection has a place.
fn networks() -> Vec<Setup> {
    let features: Vec<f32> = uniform(1, ROWS * 6).into_iter().map(|v| v as f32).collect();
    let labels: Vec<u32> = (0..ROWS as u32).map(|i| i * 7 % 3).collect();
    let values = uniform(2, ROWS * 3);
    let of = |samples| Arc::new(Dataset::new("rows", [6, 1, 1], samples, None).unwrap());
    let labelled = of(Samples::labelled(features.clone(), labels));
    let regression = of(Samples::valued(features, values, 3));
    let mut setups = Vec::new();
    for (i, activation) in Activation::ALL.into_iter().enumerate() {
        for norm in [Norm::None, Norm::Layer, Norm::Batch] {
            for residual in [false, true] {
                let model = Mlp::new(6, 3).hidden([6, 5, 5]).activation(activation).norm(norm);
                let model = Mlp { residual, dropout: 0.4, ..model };
                let (dataset, loss, label_smoothing) = match i % 2 {
                    0 => (&labelled, Loss::CrossEntropy, 0.1),
                    _ => (&regression, Loss::Mse, 0.0),
                };
                // Two passes.
                let eval_rows = Some(25);
                let batch = 8;
                setups.push(Setup { loss, label_smoothing, eval_rows, batch, ..Setup::new(model, dataset.clone()) });
            }
        }
    }
    setups
}

/// Weights, with running statistics that are none of a beginning, and a vector that has none.
fn vectors(engine: &dyn Engine, model: &Mlp) -> [Vec<f64>; 2] {
    let layout = engine.layout();
    let padded = |flat: Vec<f64>| layout.pack(&layout.unpack(&flat)).unwrap();
    let mut weights = padded(uniform(5, layout.len));
    let mut v = padded(uniform(6, layout.len));
    v[layout.trained..].fill(0.0);
    if model.norm == Norm::Batch {
        // Variances are above 0.
        weights[layout.trained..].iter_mut().for_each(|w| *w = 0.5 + 0.4 * *w);
        weights = padded(weights);
    }
    [weights, v]
}

/// An engine with these weights in order of the samples' own, and room for two vectors.
fn begin(engine: &mut dyn Engine, weights: &[f64], v: &[f64]) {
    let (samples, replicas) = (engine.setup().dataset.train.len() as u32, engine.setup().replicas);
    engine.set_order(&vec![(0..samples).collect(); replicas]).unwrap();
    engine.allocate(X).unwrap();
    engine.allocate(HX).unwrap();
    for r in 0..replicas {
        let of_replica = |values: &[f64]| -> Vec<f64> { values.iter().map(|v| v * (1.0 + 0.25 * r as f64)).collect() };
        engine.upload(Slot::Live, r, &of_replica(weights)).unwrap();
        engine.upload(X, r, &of_replica(v)).unwrap();
    }
}

fn name(setup: &Setup) -> String {
    let Mlp { activation, norm, residual, .. } = &setup.model;
    format!("{activation:?} {norm:?} residual {residual} {:?}", setup.loss)
}

/// The gradient of the loss at `weights + h v`.
fn gradient_at(engine: &mut dyn Engine, weights: &[f64], v: &[f64], h: f64) -> Vec<f64> {
    let moved: Vec<f64> = weights.iter().zip(v).map(|(w, v)| w + h * v).collect();
    engine.upload(Slot::Live, 0, &moved).unwrap();
    engine.slope(OVER).unwrap();
    engine.download(Slot::Gradient, 0).unwrap()
}

/// A product with the Hessian is the derivative of the gradient along the vector.
#[test]
fn products_are_the_central_differences_of_gradients() {
    for setup in networks() {
        let mut engine = CpuEngine::<f64>::new(setup.clone()).unwrap();
        let [weights, v] = vectors(&engine, &setup.model);
        begin(&mut engine, &weights, &v);
        engine.curve(Curvature::Hessian, OVER, X, HX).unwrap();
        let got = engine.download(HX, 0).unwrap();
        assert_eq!(engine.download(Slot::Live, 0).unwrap(), weights, "the weights stay");
        assert_eq!(engine.download(X, 0).unwrap(), v, "the vector stays");
        // A kink's neighbourhood is small; what is cut off is h² of third derivatives, what is rounded ε/h of gradients.
        let h = 1e-5;
        let (above, below) = (gradient_at(&mut engine, &weights, &v, h), gradient_at(&mut engine, &weights, &v, -h));
        let want: Vec<f64> = above.iter().zip(&below).map(|(a, b)| (a - b) / (2.0 * h)).collect();
        let largest = want.iter().fold(0.0f64, |max, v| max.max(v.abs()));
        assert_close(&name(&setup), &got, &want, Tolerance { abs: 1e-6 * largest, rel: 0.0 });
    }
}

/// The gradient is that of the loss that an evaluation has: neither dropout nor the batch's own statistics.
#[test]
fn slopes_are_the_central_differences_of_evaluations() {
    for setup in networks() {
        let mut engine = CpuEngine::<f64>::new(setup.clone()).unwrap();
        let [weights, v] = vectors(&engine, &setup.model);
        begin(&mut engine, &weights, &v);
        let all = 0..ROWS;
        let here = engine.slope(all.clone()).unwrap();
        assert_eq!(here, engine.evaluate(Part::Train, &[Slot::Live]).unwrap(), "{}", name(&setup));
        let along: f64 = engine.dot(Slot::Gradient, X).unwrap()[0];
        let h = 1e-5;
        let mut loss = |h: f64| {
            let moved: Vec<f64> = weights.iter().zip(&v).map(|(w, v)| w + h * v).collect();
            engine.upload(HX, 0, &moved).unwrap();
            engine.evaluate(Part::Train, &[HX]).unwrap()[0].loss
        };
        let want = (loss(h) - loss(-h)) / (2.0 * h);
        assert_close(&name(&setup), &[along], &[want], Tolerance { abs: 1e-8, rel: 1e-7 });
    }
}

/// `u · G v` is the sum over samples of `(J u)ᵀ H (J v)`, with the outputs' derivatives J by differences and the Hessian H of the
/// loss in closed form.
#[test]
fn gauss_newton_is_that_of_the_outputs() {
    for setup in networks() {
        let mut engine = CpuEngine::<f64>::new(setup.clone()).unwrap();
        let [weights, v] = vectors(&engine, &setup.model);
        begin(&mut engine, &weights, &v);
        engine.curve(Curvature::GaussNewton, OVER, X, HX).unwrap();
        let mut u = vectors(&engine, &setup.model)[0].clone();
        u[engine.layout().trained..].fill(0.0);
        engine.upload(X, 0, &u).unwrap();
        let got = engine.dot(X, HX).unwrap()[0];
        let Features::F32(features) = &setup.dataset.train.features else { panic!("numbers") };
        let rows = Features::F32(features[OVER.start * 6..OVER.end * 6].to_vec());
        let h = 1e-5;
        let mut outputs = |v: &[f64], h: f64| {
            let moved: Vec<f64> = weights.iter().zip(v).map(|(w, v)| w + h * v).collect();
            engine.upload(HX, 0, &moved).unwrap();
            engine.predict(&rows, &[HX]).unwrap().remove(0)
        };
        let z = outputs(&v, 0.0);
        let [jv, ju] = [&v, &u].map(|v| {
            let (above, below) = (outputs(v, h), outputs(v, -h));
            above.iter().zip(&below).map(|(a, b)| (a - b) / (2.0 * h)).collect::<Vec<_>>()
        });
        let n = OVER.len() as f64;
        let of_row = |((z, jv), ju): ((&[f64], &[f64]), &[f64])| {
            if setup.loss == Loss::Mse {
                return jv.iter().zip(ju).map(|(a, b)| 2.0 * a * b).sum::<f64>() / (3.0 * n);
            }
            let sum: f64 = z.iter().map(|z| z.exp()).sum();
            let p: Vec<f64> = z.iter().map(|z| z.exp() / sum).collect();
            let mean = |j: &[f64]| p.iter().zip(j).map(|(p, j)| p * j).sum::<f64>();
            let both: f64 = p.iter().zip(jv).zip(ju).map(|((p, a), b)| p * a * b).sum();
            (both - mean(jv) * mean(ju)) / n
        };
        let want: f64 = z.chunks(3).zip(jv.chunks(3)).zip(ju.chunks(3)).map(of_row).sum();
        assert_close(&name(&setup), &[got], &[want], Tolerance { abs: 1e-7, rel: 1e-6 });
    }
}

/// All that `slope` and `curve` give, of each replica.
fn derivatives(engine: &mut dyn Engine) -> Vec<Vec<f64>> {
    derivatives_over(engine, OVER)
}

fn derivatives_over(engine: &mut dyn Engine, over: Range<usize>) -> Vec<Vec<f64>> {
    let mut all = Vec::new();
    let evaluations = engine.slope(over.clone()).unwrap();
    all.push(evaluations.iter().map(|e| e.loss).collect());
    let slots = [Slot::Gradient, HX];
    for (n, of) in [None, Some(Curvature::Hessian), Some(Curvature::GaussNewton)].into_iter().enumerate() {
        if let Some(of) = of {
            engine.curve(of, over.clone(), X, HX).unwrap();
        }
        all.extend((0..engine.setup().replicas).map(|r| engine.download(slots[n.min(1)], r).unwrap()));
    }
    all
}

/// In single precision, on both engines, with replicas that differ. A product rounds a sum of n terms to within 4 √n ε of
/// their length; a product with second derivatives goes through three times as many as there are layers, forward and back, and
/// each normalisation multiplies by up to 2.
#[test]
fn single_precision_is_close_to_double() {
    for setup in networks() {
        let setup = Setup { replicas: 2, ..setup };
        let mut want: Vec<Vec<f64>> = Vec::new();
        for (mut engine, eps) in engines(&setup) {
            let [weights, v] = vectors(engine.as_ref(), &setup.model)
                .map(|values| values.into_iter().map(|v| f64::from(v as f32)).collect::<Vec<_>>());
            begin(engine.as_mut(), &weights, &v);
            let got = derivatives(engine.as_mut());
            if want.is_empty() {
                want = got;
                continue;
            }
            let products = 6.0 * setup.model.layers() as f64;
            let normed = if setup.model.norm == Norm::None { 1.0 } else { 8.0 };
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let largest = want.iter().fold(1.0f64, |max, v| max.max(v.abs()));
                let abs = normed * products * 4.0 * (OVER.len() as f64).sqrt() * eps * largest;
                let name = format!("{} {} {i}", name(&setup), engine.describe());
                assert_close(&name, got, want, Tolerance { abs, rel: 0.0 });
            }
        }
    }
}

/// Replicas side by side are, bit for bit, each by itself, on every engine.
#[test]
fn replicas_at_once_are_one_at_a_time() {
    for setup in networks().into_iter().step_by(5) {
        let both = Setup { replicas: 2, ..setup.clone() };
        for (mut several, (mut one, _)) in engines(&both).into_iter().map(|(e, _)| e).zip(engines(&setup)) {
            let [weights, v] = vectors(one.as_ref(), &setup.model);
            begin(several.as_mut(), &weights, &v);
            begin(one.as_mut(), &weights, &v);
            let together = derivatives(several.as_mut());
            for r in 0..2 {
                for slot in [Slot::Live, X] {
                    let values = several.download(slot, r).unwrap();
                    one.upload(slot, 0, &values).unwrap();
                }
                let alone = derivatives(one.as_mut());
                assert_eq!(together[0][r], alone[0][0], "{}", several.describe());
                for i in 0..3 {
                    assert_eq!(together[1 + 2 * i + r], alone[1 + i], "{} {} {i}", name(&setup), several.describe());
                }
            }
        }
    }
}

/// Records that pass through a buffer give the bits of those that lie on the device; too little memory is an error, after which
/// the engine goes on.
#[test]
fn memory_changes_no_bit() {
    let Some(gpu) = crate::common::gpu() else { return };
    // Records are most of what is on the device.
    let (samples, width) = (3000, 400);
    let pixels: Vec<u8> = (0..samples * width).map(|i| (i * 7919 % 251) as u8).collect();
    let labels: Vec<u32> = (0..samples as u32).map(|i| i * 7 % 3).collect();
    let dataset = Dataset::new("wide", [1, 20, 20], Samples::labelled(pixels, labels), None).unwrap();
    let model = Mlp::new(width, 3).hidden([8]);
    let setup = Setup { eval_rows: Some(100), batch: 50, ..Setup::new(model, Arc::new(dataset)) };
    let over = 7..2555;
    let ready = |engine: &mut dyn Engine| {
        let [weights, v] = vectors(engine, &setup.model);
        begin(engine, &weights, &v);
        let backwards: Vec<u32> = (0..samples as u32).rev().collect();
        engine.set_order(&[backwards]).unwrap();
    };
    let mut resident = GpuEngine::new(gpu, setup.clone(), Options::default()).unwrap();
    ready(&mut resident);
    let bytes = |engine: &dyn Engine| engine.memory().iter().map(|allocation| allocation.bytes).sum::<u64>();
    let least = bytes(&resident);
    let want = derivatives_over(&mut resident, over.clone());
    let taken = bytes(&resident);
    let open = |memory: u64| {
        let options = Options { memory: Some(memory), ..Options::default() };
        GpuEngine::new(crate::common::gpu().unwrap(), setup.clone(), options).unwrap()
    };
    let mut streamed = open(taken - 300_000);
    ready(&mut streamed);
    assert!(streamed.is_streamed() && !resident.is_streamed());
    assert_eq!(derivatives_over(&mut streamed, over.clone()), want);

    let mut small = open(least + 1000);
    ready(&mut small);
    let before = small.memory().len();
    let refused = small.curve(Curvature::Hessian, over.clone(), X, HX).unwrap_err();
    assert!(matches!(refused, Error::DeviceMemory { .. }), "{refused}");
    assert_eq!(small.memory().len(), before, "what was taken on the way is given back");
    assert!(small.slope(over).is_ok());
}
