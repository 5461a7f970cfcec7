//! Samples and layers so wide that dispatches and bindings come to their limits.

use crate::common;

use std::sync::Arc;

use thalweg::cpu::CpuEngine;
use thalweg::data::{Dataset, Part, Samples};
use thalweg::engine::{Diagnose, Engine, Precision, Setup, Slot, Step};
use thalweg::gpu::{GpuEngine, Options, Tuning};
use thalweg::model::{Init, Mlp, Norm};
use thalweg::optimizer::Optimizer;
use thalweg::schedule::Rate;

/// `n` samples of three classes, and two more to test on, of values in ±1.
fn wide(features: usize, n: usize) -> Arc<Dataset> {
    let part = |n: usize, salt: usize| {
        let x: Vec<f32> = (0..n * features).map(|i| ((i * 37 + salt) % 101) as f32 / 50.0 - 1.0).collect();
        Samples::labelled(x, (0..n as u32).map(|i| i % 3).collect::<Vec<u32>>())
    };
    Arc::new(Dataset::new("wide", [features, 1, 1], part(n, 0), Some(part(2, 5))).unwrap())
}

fn setup(features: usize, batch: usize, norm: Norm) -> Setup {
    let dataset = wide(features, batch);
    let model = Mlp { norm, ..Mlp::new(features, dataset.outputs).hidden([5, 4]) };
    let optimizer = Optimizer::sgd(0.1).momentum(0.9);
    // The CPU in f64 would else make room for 512 rows of a million.
    Setup { optimizer, batch, eval_rows: Some(4), ..Setup::new(model, dataset) }
}

/// A step from Kaiming's weights: its loss, the weights after it, and the loss of the test part then.
fn step(engine: &mut dyn Engine) -> (f64, Vec<f64>, f64) {
    let weights = engine.layout().init(&engine.setup().model.clone(), Init::Kaiming, 0);
    let weights: Vec<f64> = weights.iter().map(|&w| f64::from(w as f32)).collect();
    engine.upload(Slot::Live, 0, &weights).unwrap();
    let rows = engine.setup().batch;
    engine.set_order(&[(0..rows as u32).collect()]).unwrap();
    let rates = vec![Rate { lr: 0.1, momentum: 0.9 }];
    let mut metrics = engine.run(&[Step { rows, rates, ..Step::default() }]).unwrap();
    metrics.extend(engine.wait().unwrap());
    let weights = engine.download(Slot::Live, 0).unwrap();
    (metrics[0].loss, weights, engine.evaluate(Part::Test, &[Slot::Live]).unwrap()[0].loss)
}

fn unexpected(tuning: Tuning) {
    if let Tuning::Dropped(form) = tuning {
        panic!("{form}");
    }
}

/// More features than 65,535 workgroups of four take, whichever form measuring chooses: 512 x 512 pixels, and a million.
#[test]
fn a_step_on_very_many_features_is_that_of_the_cpu() {
    for (features, batch, norm, measure) in [
        (512 * 512, 4, Norm::None, true),
        (512 * 512 + 3, 9, Norm::None, false),
        (1_000_000, 2, Norm::None, true),
        (1_000_000, 9, Norm::Batch, false),
        // Beyond what one dimension holds in the plain form, whose workgroups take 32 rows.
        (2_100_001, 2, Norm::None, false),
    ] {
        let Some(gpu) = common::gpu() else { return };
        let setup = setup(features, batch, norm);
        let precise = Setup { precision: Precision::F64, ..setup.clone() };
        let (want_loss, want, want_test) = step(&mut CpuEngine::<f64>::new(precise).unwrap());
        let options = Options { measure, tell: Some(unexpected), ..Options::default() };
        let (loss, got, test) = step(&mut GpuEngine::new(gpu, setup, options).unwrap());
        let name = format!("{features} features, batch {batch}, {norm:?}");
        // Kaiming's weights make of features below 1 outputs of about 1, with an error of 4√n ε of the sum of n terms, which two
        // small layers and the mean of a batch leave as it is. A weight moves by lr times a feature below 1 times a dz below 1,
        // which is off by as much.
        let sums = 4.0 * (features as f64).sqrt() * f64::from(f32::EPSILON);
        let near = |abs: f64| common::Tolerance { abs, rel: 0.0 };
        common::assert_close(&format!("{name}: loss"), &[loss], &[want_loss], near(4.0 * sums));
        common::assert_close(&format!("{name}: weights"), &got, &want, near(4.0 * sums));
        // A million weights have moved in concert, so that this loss may be far above 1, and is off in proportion.
        let size = want_test.abs().max(1.0);
        common::assert_close(&format!("{name}: test loss"), &[test], &[want_test], near(16.0 * sums * size));
    }
}

/// Rows of an evaluation beyond what a binding holds are cut into several passes, the same for any number of replicas.
#[test]
fn wide_samples_evaluate_in_small_passes() {
    let Some(gpu) = common::gpu() else { return };
    let most = gpu.description.binding_bytes.min(gpu.description.buffer_bytes);
    let setup = Setup { eval_rows: None, ..setup(512 * 512, 4, Norm::None) };
    let engine = GpuEngine::new(gpu, setup.clone(), Options::default()).unwrap();
    let largest = engine.memory().iter().map(|a| a.bytes).max().unwrap();
    assert!(largest <= most, "{largest} of {most}");
    let replicas = Setup { replicas: 3, ..setup };
    let rows = engine.setup().room();
    let engine = GpuEngine::new(common::gpu().unwrap(), replicas, Options::default()).unwrap();
    assert_eq!(engine.setup().room(), rows);
}

/// What no setting of the batch helps is not blamed on it.
#[test]
fn too_wide_a_layer_is_told_with_what_helps() {
    let Some(gpu) = common::gpu() else { return };
    let with = |hidden: usize, batch: usize, replicas: usize| {
        let model = Mlp::new(2, 3).hidden([hidden]);
        Setup { batch, replicas, ..Setup::new(model, wide(2, 64)) }
    };
    let refused = |setup: Setup| {
        let gpu = common::gpu().unwrap();
        GpuEngine::new(gpu, setup, Options::default()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let text = refused(with(10_000_000, 1, 1));
    assert!(text.contains("outputs of a layer (model.hidden) on a GPU, found 10000000"), "{text}");
    if gpu.description.binding_bytes > 1 << 27 {
        eprintln!("NOT TESTED: the adapter holds more than 128 MiB in a binding");
        return;
    }
    let text = refused(with(1_000_000, 64, 1));
    assert!(text.ends_with("offers 134217728; a batch of 33 would fit, or --device cpu"), "{text}");
    let text = refused(with(1_000_000, 1, 64));
    assert!(text.contains("replica(s) would fit") && text.ends_with("or --device cpu"), "{text}");
}

/// More dispatches than one set of readings of the clock has room for: each sample's record lies in a buffer of its own.
#[test]
fn a_step_of_thousands_of_dispatches_can_be_profiled() {
    let Some(gpu) = common::gpu() else { return };
    if !gpu.description.features.contains(&"timestamps") {
        eprintln!("NOT TESTED: the device has no clock");
        return;
    }
    let samples = 2100;
    let setup = Setup { batch: 32, ..Setup::new(Mlp::new(1, 3).hidden([4]), wide(1, samples)) };
    let options = Options { record_buffer: Some(4), ..Options::default() };
    let mut engine = GpuEngine::new(gpu, setup, options).unwrap();
    engine.set_order(&[(0..samples as u32).collect()]).unwrap();
    let step = Step { rows: 32, rates: vec![Rate::default()], ..Step::default() };
    let profile = engine.profile(&step).unwrap();
    assert_eq!(profile.iter().filter(|timed| timed.name == "gather").count(), samples);
    assert_eq!(profile.len(), samples + 2 + 1 + 1 + 2, "two products forward, the loss, one back, two gradients");
}
