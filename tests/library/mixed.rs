//! Mixed precision: what its loss scale does, and that it learns what f32 learns.

use crate::common;

use std::sync::Arc;

use thalweg::average::Average;
use thalweg::cpu::CpuEngine;
use thalweg::data::{Normalize, Source};
use thalweg::engine::{Choice, Engine, Forms, LossScale, Precision, Setup, Slot, Step};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::internals::forms::{Form, Shape};
use thalweg::internals::kernels::{Product, Stored};
use thalweg::model::{Init, Mlp};
use thalweg::optimizer::Optimizer;
use thalweg::plan::Plan;
use thalweg::schedule::{Rate, Schedule};
use thalweg::train::Trainer;

fn setup(replicas: usize) -> Setup {
    let dataset = Source::Synthetic.load(0).unwrap().normalize(Normalize::Channel);
    let model = Mlp::new(dataset.width(), dataset.outputs).hidden([24]);
    let ema = Some(common::small::ema(0.5));
    let optimizer = Optimizer::sgd(0.01).momentum(0.9);
    let average = Average { ema, ..Average::default() };
    Setup {
        optimizer,
        average,
        replicas,
        batch: 32,
        precision: Precision::Mixed,
        ..Setup::new(model, Arc::new(dataset))
    }
}

fn begin(engine: &mut dyn Engine) {
    let (samples, replicas) = (engine.setup().dataset.train.len() as u32, engine.setup().replicas);
    thalweg::engine::initialize(engine, Init::Pytorch).unwrap();
    engine.set_order(&vec![(0..samples).collect(); replicas]).unwrap();
}

fn steps(n: u64, replicas: usize) -> Vec<Step> {
    let rates = vec![Rate { lr: 0.01, momentum: 0.9 }; replicas];
    let step = |index| Step { index, first: 32 * index as usize, rows: 32, rates: rates.clone(), ..Step::default() };
    (0..n).map(step).collect()
}

/// The gradients of the first replica's steps overflow until its scale has been halved often enough; those of the second do
/// not. With or without clipping: the one updates the weights by themselves, the other where their gradients are made.
#[test]
fn a_step_that_overflows_is_skipped_and_halves_the_scale() {
    for clip_norm in [None, Some(1e6)] {
        let Some(gpu) = common::gpu() else { return };
        let mut engine = GpuEngine::new(gpu, Setup { clip_norm, ..setup(2) }, Options::default()).unwrap();
        begin(&mut engine);
        let largest = 2f32.powi(24);
        let scales = [LossScale { next: largest, steps: 5 }, LossScale { next: 1024.0, steps: 5 }];
        engine.set_loss_scales(&scales).unwrap();
        let slots = [Slot::Live, Slot::State(0), Slot::Ema];
        let all = |engine: &mut dyn Engine, r| slots.map(|slot| engine.download(slot, r).unwrap());
        let before = [0, 1].map(|r| all(&mut engine, r));

        // The first sample of a mean is all of it.
        let mut take = steps(1, 2);
        take[0].take.ema = 1.0;
        engine.run(&take).unwrap();
        let metrics = engine.wait().unwrap();
        assert_eq!([0, 1].map(|r| metrics[r].loss_scale), [Some(f64::from(largest)), Some(1024.0)]);
        assert!(metrics[0].loss.is_finite() && (metrics[0].loss - 10f64.ln()).abs() < 1.0, "{}", metrics[0].loss);
        let skipped = all(&mut engine, 0);
        assert!(skipped[..2] == before[0][..2], "a skipped step changes neither weights nor state");
        let (trained, ema) = (engine.layout().trained, &skipped[2]);
        assert!(ema[..trained] == before[0][0][..trained], "the mean takes the weights all the same");
        let norms = [0, 1].map(|r| metrics[r].grad_norm);
        assert!(norms[0].is_none() && norms[1].is_some() == clip_norm.is_some(), "{norms:?}");
        let after = all(&mut engine, 1);
        assert!((0..3).all(|i| after[i] != before[1][i]), "a step that is not skipped changes everything");
        let halved = LossScale { next: largest / 2.0, steps: 0 };
        assert_eq!(engine.loss_scales().unwrap(), [halved, LossScale { next: 1024.0, steps: 6 }]);

        // A probability of 0.9 too much, a batch of 32: 0.9 / 32 · 2²¹ is the first power below 65504.
        engine.run(&steps(8, 2)[1..]).unwrap();
        engine.wait().unwrap();
        let [first, second] = engine.loss_scales().unwrap()[..] else { panic!() };
        assert!((2f32.powi(18)..=2f32.powi(22)).contains(&first.next), "{first:?}");
        assert_eq!(second, LossScale { next: 1024.0, steps: 13 });
        assert!(all(&mut engine, 0)[0] != before[0][0], "it goes on where the gradients fit");
    }
}

/// Steps without an overflow double it in the end.
#[test]
fn the_scale_doubles_after_two_thousand_steps() {
    let Some(gpu) = common::gpu() else { return };
    let mut engine = GpuEngine::new(gpu, setup(1), Options::default()).unwrap();
    begin(&mut engine);
    assert_eq!(engine.loss_scales().unwrap(), [LossScale { next: 65536.0, steps: 0 }]);
    engine.set_loss_scales(&[LossScale { next: 512.0, steps: 1997 }]).unwrap();
    engine.run(&steps(5, 1)).unwrap();
    let scales: Vec<f64> = engine.wait().unwrap().iter().filter_map(|m| m.loss_scale).collect();
    assert_eq!(scales, [512.0, 512.0, 512.0, 1024.0, 1024.0]);
    assert_eq!(engine.loss_scales().unwrap(), [LossScale { next: 1024.0, steps: 2 }]);
}

/// A gradient that is looked at does not overflow, whatever the scale, and leaves the scale alone.
#[test]
fn looking_at_a_gradient_leaves_the_scale_alone() {
    let Some(gpu) = common::gpu() else { return };
    let mut engine = GpuEngine::new(gpu, setup(1), Options::default()).unwrap();
    begin(&mut engine);
    let scales = [LossScale { next: 2f32.powi(24), steps: 9 }];
    engine.set_loss_scales(&scales).unwrap();
    let (_, gradient) = engine.gradients(&steps(1, 1)[0]).unwrap().remove(0);
    assert!(gradient.iter().all(|g| g.is_finite()) && gradient.iter().any(|&g| g != 0.0));
    assert_eq!(engine.loss_scales().unwrap(), scales);
}

/// Products by cooperative matrices make the same gradients up to rounding, and the recorded choice trains bit for bit the
/// same again.
#[test]
fn cooperative_matrices_train_the_same() {
    let Some(gpu) = common::gpu() else { return };
    if gpu.cooperative.is_none() {
        eprintln!("SKIPPED: {} has no cooperative matrices of halves", gpu.description.name);
        return;
    }
    // With clipping gradients are written, without it they are used up.
    for clip_norm in [None, Some(1e6)] {
        let run = |forms: Forms| {
            let options = Options { forms, ..Options::default() };
            let setup = Setup { clip_norm, ..setup(2) };
            let mut engine = GpuEngine::new(common::gpu().unwrap(), setup, options).unwrap();
            begin(&mut engine);
            let gradient = engine.gradients(&steps(1, 2)[0]).unwrap().remove(0).1;
            engine.run(&steps(6, 2)).unwrap();
            engine.wait().unwrap();
            (gradient, engine.download(Slot::Live, 1).unwrap(), engine.forms())
        };
        let (gradient, weights, built_in) = run(Forms::default());
        let shape = Shape { replicas: 2, rows: 32, inputs: 9, outputs: 9, stored: Stored::F16 };
        let cooperative = |key: &str| {
            let product = Product::named(key.split(' ').next().unwrap()).unwrap();
            Form::candidates(&gpu, product, shape, 8).into_iter().find(Form::is_cooperative).unwrap()
        };
        let choice = |key: &String| Choice { form: cooperative(key).to_string(), microseconds: Some(1.0) };
        let products = built_in.products.keys().map(|key| (key.clone(), choice(key))).collect();
        let recorded = Forms { products, ..built_in };
        let (again, trained, used) = run(recorded.clone());
        let is_cooperative = |choice: &Choice| choice.form.parse::<Form>().unwrap().is_cooperative();
        let of = |forms: &Forms| forms.products.values().filter(|choice| is_cooperative(choice)).count();
        assert_eq!(of(&used), used.products.len(), "{used:?}");
        // As `verify` allows a network: eight units in the last of a half's 11 bits.
        let largest = gradient.iter().fold(0.0, |most: f64, g| most.max(g.abs()));
        let off = gradient.iter().zip(&again).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
        assert!(off <= 8.0 * 2f64.powi(-11) * largest, "{off} of {largest}");
        assert!(trained != weights, "sums in another order round otherwise");
        assert!(run(recorded).1 == trained, "a recorded choice changes bits");
    }
}

#[test]
fn only_the_gpu_engine_has_it() {
    let error = CpuEngine::<f32>::new(setup(1)).err().unwrap().to_string();
    assert!(error.starts_with("train.precision: ") && error.contains("--device gpu"), "{error}");
}

/// Five networks in each precision, from the same weights and in the same orders: the means of their accuracies on
/// Fashion-MNIST lie within 0.2 points of each other.
#[test]
#[ignore = "needs THALWEG_DATA, a folder of real images"]
fn it_learns_fashion_mnist_as_f32_does() {
    let dir = common::real_data("fashion-mnist");
    let data: Source = format!("fashion-mnist:{}", dir.display()).parse().unwrap();
    let dataset = Arc::new(data.load(0).unwrap().normalize(Normalize::Channel));
    let model = Mlp::new(dataset.width(), dataset.outputs).hidden([64]);
    let mean_accuracy = |precision| {
        let optimizer = Optimizer::adam(2e-3);
        let setup = Setup { precision, optimizer, replicas: 5, ..Setup::new(model.clone(), dataset.clone()) };
        let engine = GpuEngine::new(common::gpu()?, setup, Options::default()).unwrap();
        let schedule = Schedule::cosine();
        let mut trainer = Trainer::new(Box::new(engine), Plan { epochs: 3, schedule, ..Plan::default() }).unwrap();
        trainer.init(Init::Pytorch).unwrap();
        let mut last = Vec::new();
        while let Some(epoch) = trainer.epoch().unwrap() {
            last = epoch.test.unwrap();
        }
        Some(last.iter().map(|e| e.accuracy).sum::<f64>() / last.len() as f64)
    };
    let (Some(full), Some(mixed)) = (mean_accuracy(Precision::F32), mean_accuracy(Precision::Mixed)) else { return };
    println!("mean test accuracy: f32 {full:.4}, mixed {mixed:.4}");
    assert!(full > 0.86 && (full - mixed).abs() < 0.002, "f32 {full}, mixed {mixed}");
}
