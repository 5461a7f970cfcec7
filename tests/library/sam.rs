//! Sharpness-aware minimisation: a step is two gradients, of which the second is made where the first one leads.

use crate::common;

use std::path::Path;
use std::sync::Arc;

use common::small::{dataset_of, on_each_engine};
use common::{Tolerance, assert_close, small};
use serde_json::Value;
use thalweg::activation::Activation;
use thalweg::average::Average;
use thalweg::cpu::CpuEngine;
use thalweg::data::{Dataset, Features, Samples, Targets};
use thalweg::engine::{Engine, Gradient, Layout, LossScale, Precision, Setup, Slot, Step, Tensor, initialize};
use thalweg::explore::{Range, lr_find};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::loss::Loss;
use thalweg::model::{Init, Mlp, Norm};
use thalweg::optimizer::{Decay, Optimizer};
use thalweg::sam::Sam;
use thalweg::schedule::Rate;

use crate::tiny::{self, REPLICAS, begin, engines, everything, rich};

const PLAIN: Sam = Sam { rho: 0.1, adaptive: false };
const ADAPTIVE: Sam = Sam { rho: 0.5, adaptive: true };

/// The end of the ascent from `w`, of which so many values are trained, along `g`.
fn ascend(sam: Sam, w: &[f64], g: &[f64], trained: usize) -> Vec<f64> {
    let size = |w: f64| if sam.adaptive { w.abs() + 0.01 } else { 1.0 };
    let norm = (0..trained).map(|i| (size(w[i]) * g[i]).powi(2)).sum::<f64>().sqrt();
    let moved = |i: usize| w[i] + sam.rho * size(w[i]).powi(2) * g[i] / norm;
    (0..w.len()).map(|i| if i < trained { moved(i) } else { w[i] }).collect()
}

/// Carries out a step by its parts, on an engine without an ascent; returns the losses.
fn by_parts(engine: &mut dyn Engine, sam: Sam, step: &Step) -> Vec<f64> {
    let (replicas, trained) = (engine.setup().replicas, engine.layout().trained);
    // It takes up the running statistics.
    let metrics = engine.gradient(step, Gradient::OfStep).unwrap();
    let mut before = Vec::new();
    for r in 0..replicas {
        let [w, g] = [Slot::Live, Slot::Gradient].map(|slot| engine.download(slot, r).unwrap());
        engine.upload(Slot::Live, r, &ascend(sam, &w, &g, trained)).unwrap();
        before.push(w);
    }
    engine.gradient(step, Gradient::Drawn).unwrap();
    before.iter().enumerate().for_each(|(r, w)| engine.upload(Slot::Live, r, w).unwrap());
    engine.update(step).unwrap();
    metrics.iter().map(|m| m.loss).collect()
}

/// Whatever a step may have.
fn cases() -> Vec<Setup> {
    let plain = tiny::plain();
    let clipped = Setup { clip_norm: Some(0.5), decay: Decay::Weights, ..rich(Norm::Batch) };
    let adam = Setup { optimizer: Optimizer::adamw(0.01).eps(1e-2).amsgrad(), ..plain.clone() };
    let mut weighted = Dataset::clone(&plain.dataset);
    weighted.train = weighted.train.weighted((0..tiny::N).map(|i| (i % 4) as f64));
    let class_weights = vec![0.5, 3.0, 1.0];
    let weighted = Setup { dataset: Arc::new(weighted), class_weights, ..plain.clone() };
    let mut all = vec![plain, rich(Norm::None), rich(Norm::Batch), rich(Norm::Layer), clipped, adam, weighted];
    all.iter_mut().zip([PLAIN, ADAPTIVE].into_iter().cycle()).for_each(|(setup, sam)| setup.sam = Some(sam));
    all
}

/// With dropout, augmentation, averages, normalisations, clipping and weights: all vectors are those of the parts, on every
/// engine. Five steps of gradients below 2, each of which rounds some hundred terms; the second gradient has the error of the
/// first times the curvature and ρ, and what it leads to is moved by a few times the rate.
#[test]
fn a_step_is_its_parts() {
    for setup in cases() {
        let without = Setup { sam: None, ..setup.clone() };
        for ((mut whole, eps), (mut parts, _)) in engines(&setup).into_iter().zip(engines(&without)) {
            begin(whole.as_mut());
            begin(parts.as_mut());
            let steps = tiny::steps(&setup, 5);
            let mut metrics = whole.run(&steps).unwrap();
            metrics.extend(whole.wait().unwrap());
            let losses: Vec<f64> = metrics.iter().map(|m| m.loss).collect();
            let want: Vec<f64> = steps.iter().flat_map(|s| by_parts(parts.as_mut(), setup.sam.unwrap(), s)).collect();
            let tolerance = Tolerance { abs: 400.0 * eps, rel: 400.0 * eps };
            let name = format!("{} {:?} {:?}", whole.describe(), setup.model.norm, setup.sam);
            assert_close(&format!("{name}: losses"), &losses, &want, tolerance);
            for (got, want) in everything(whole.as_mut()).iter().zip(everything(parts.as_mut())) {
                assert_close(&name, got, &want, tolerance);
            }
        }
    }
}

/// The step's gradient by itself, and its update, are the step, to the bit: nothing is fused. What is only looked at does not
/// ascend, and changes nothing.
#[test]
fn a_gradient_and_its_update_are_a_step() {
    for setup in cases() {
        for ((mut whole, _), (mut parts, _)) in engines(&setup).into_iter().zip(engines(&setup)) {
            begin(whole.as_mut());
            begin(parts.as_mut());
            let steps = tiny::steps(&setup, 5);
            whole.run(&steps).unwrap();
            whole.wait().unwrap();
            for step in &steps {
                parts.gradient(step, Gradient::OfStep).unwrap();
                parts.update(step).unwrap();
            }
            let after = everything(parts.as_mut());
            assert!(everything(whole.as_mut()) == after, "{}: {:?}", parts.describe(), setup.model.norm);
            let looked_at = parts.gradients(&steps[0]).unwrap().remove(0);
            assert!(everything(parts.as_mut()) == after, "{}: a look changes something", parts.describe());
            let of_step = parts.gradient(&steps[0], Gradient::OfStep).unwrap();
            assert_eq!(looked_at.0, of_step[0].loss, "both have the loss of the weights");
            assert_ne!(looked_at.1, parts.download(Slot::Gradient, 0).unwrap(), "one is made elsewhere");
        }
    }
}

/// The weights come back as they were: at a rate of 0 nothing moves, in mixed precision neither.
#[test]
fn the_weights_come_back() {
    for norm in [Norm::None, Norm::Batch] {
        let setup = Setup { average: Average::default(), sam: Some(PLAIN), ..rich(norm) };
        let mut all: Vec<_> = engines(&setup).into_iter().map(|(engine, _)| engine).collect();
        all.extend(tiny::mixed(&setup));
        for mut engine in all {
            begin(engine.as_mut());
            let trained = engine.layout().trained;
            let live = |engine: &mut dyn Engine| [0, 1].map(|r| engine.download(Slot::Live, r).unwrap());
            let before = live(engine.as_mut());
            let mut steps = tiny::steps(&setup, 3);
            steps.iter_mut().flat_map(|step| &mut step.rates).for_each(|rate| rate.lr = 0.0);
            engine.run(&steps).unwrap();
            engine.wait().unwrap();
            let after = live(engine.as_mut());
            for r in 0..REPLICAS {
                assert!(after[r][..trained] == before[r][..trained], "{} {norm:?}", engine.describe());
                assert!(norm == Norm::None || after[r][trained..] != before[r][trained..], "statistics are taken up");
            }
        }
    }
}

/// A batch of several passes, on records that lie on the device or are streamed there.
#[test]
fn several_passes_are_one_step() {
    let dataset = Arc::new(dataset_of(2500));
    for sam in [PLAIN, ADAPTIVE] {
        let setup = Setup { dataset: dataset.clone(), batch: 2100, sam: Some(sam), ..small::setup() };
        let step = |index| Step { index, rows: 2100, rates: vec![setup.optimizer.rate()], ..Step::default() };
        let run = |engine: &mut dyn Engine, f: &dyn Fn(&mut dyn Engine, &Step)| {
            initialize(engine, Init::Pytorch).unwrap();
            engine.set_order(&[(0..2500).rev().collect()]).unwrap();
            (0..3).for_each(|index| f(engine, &step(index)));
            engine.wait().unwrap();
            engine.download(Slot::Live, 0).unwrap()
        };
        let whole = |engine: &mut dyn Engine, step: &Step| drop(engine.run(std::slice::from_ref(step)).unwrap());
        on_each_engine(&setup, |mut engine, eps| {
            let want = {
                let mut precise = CpuEngine::<f64>::new(Setup { sam: None, ..setup.clone() }).unwrap();
                run(&mut precise, &|engine, step| drop(by_parts(engine, sam, step)))
            };
            let got = run(engine.as_mut(), &whole);
            // Three steps, at 0.3 each, of sums of 2100 terms.
            assert_close(&engine.describe(), &got, &want, Tolerance { abs: 400.0 * eps, rel: 400.0 * eps });
        });
        let Some(gpu) = common::gpu() else { return };
        let mut resident = GpuEngine::new(gpu, setup.clone(), Options::default()).unwrap();
        let bytes: u64 = thalweg::engine::Diagnose::memory(&resident).iter().map(|a| a.bytes).sum();
        let budget = Options { memory: Some(bytes - 8_000), ..Options::default() };
        let mut streamed = GpuEngine::new(common::gpu().unwrap(), setup.clone(), budget).unwrap();
        assert!(streamed.is_streamed());
        assert_eq!(run(&mut resident, &whole), run(&mut streamed, &whole));
    }
}

/// Replicas at once have the bits of each by itself.
#[test]
fn replicas_do_not_know_of_one_another() {
    for (norm, sam) in [(Norm::None, PLAIN), (Norm::Batch, ADAPTIVE)] {
        let small = small::setup();
        let setup = Setup { model: small.model.clone().norm(norm).dropout(0.2), sam: Some(sam), seed: 5, ..small };
        let order: Vec<u32> = (0..small::N as u32).map(|i| i * 5 % small::N as u32).collect();
        let rate = |r: usize| Rate { lr: 0.1 / (r + 1) as f64, momentum: 0.9 };
        let run = |mut engine: Box<dyn Engine>, replicas: std::ops::Range<usize>| {
            initialize(engine.as_mut(), Init::Pytorch).unwrap();
            engine.set_order(&vec![order.clone(); replicas.len()]).unwrap();
            let rates: Vec<Rate> = replicas.clone().map(rate).collect();
            let step =
                |index| Step { index, first: 16 * index as usize, rows: 16, rates: rates.clone(), ..Step::default() };
            engine.run(&(0..4).map(step).collect::<Vec<_>>()).unwrap();
            engine.wait().unwrap();
            (0..replicas.len()).map(|r| engine.download(Slot::Live, r).unwrap()).collect::<Vec<_>>()
        };
        let all = |setup: &Setup, replicas: std::ops::Range<usize>| {
            let left = std::cell::RefCell::new(Vec::new());
            on_each_engine(setup, |engine, _| left.borrow_mut().push(run(engine, replicas.clone())));
            left.into_inner()
        };
        let together = all(&Setup { replicas: 3, ..setup.clone() }, 0..3);
        for r in 0..3 {
            let alone = all(&Setup { seed: setup.seed + r as u64, ..setup.clone() }, r..r + 1);
            for (together, alone) in together.iter().zip(alone) {
                assert!(together[r] == alone[0], "{norm:?} replica {r}");
            }
        }
    }
}

/// A gradient of 0 leads nowhere.
#[test]
fn a_gradient_of_zero_goes_nowhere() {
    let targets = Targets::Values { width: 2, values: vec![0.0; 12] };
    let train = Samples { features: Features::F32(vec![0.5; 18]), targets, weights: None };
    let dataset = Arc::new(Dataset::new("zero", [3, 1, 1], train, None).unwrap());
    for sam in [PLAIN, ADAPTIVE] {
        let setup =
            Setup { sam: Some(sam), loss: Loss::Mse, ..Setup::new(Mlp::new(3, 2).hidden([4]), dataset.clone()) };
        on_each_engine(&setup, |mut engine, _| {
            engine.set_order(&[(0..6).collect()]).unwrap();
            let step = Step { rows: 6, rates: vec![Rate { lr: 0.1, momentum: 0.9 }], ..Step::default() };
            engine.run(std::slice::from_ref(&step)).unwrap();
            assert!(engine.wait().unwrap().iter().all(|m| m.loss == 0.0));
            assert!(engine.download(Slot::Live, 0).unwrap().iter().all(|&w| w == 0.0), "{}", engine.describe());
        });
    }
}

fn mixed_setup(sam: Option<Sam>) -> Setup {
    Setup { sam, clip_norm: Some(1e6), precision: Precision::Mixed, ..small::setup() }
}

/// Carries out a step in mixed precision with this loss scale.
fn scaled(sam: Option<Sam>, next: f32) -> Option<Box<dyn Engine>> {
    let mut engine: Box<dyn Engine> =
        Box::new(GpuEngine::new(common::gpu()?, mixed_setup(sam), Options::default()).unwrap());
    initialize(engine.as_mut(), Init::Pytorch).unwrap();
    engine.set_order(&[(0..small::N as u32).collect()]).unwrap();
    engine.set_loss_scales(&[LossScale { next, steps: 5 }]).unwrap();
    let step = Step { rows: 16, rates: vec![Rate { lr: 0.1, momentum: 0.0 }], ..Step::default() };
    engine.run(std::slice::from_ref(&step)).unwrap();
    engine.wait().unwrap();
    Some(engine)
}

/// An overflow in the first gradient or in the second alone skips the step, once; products then read the weights as they are.
#[test]
fn an_overflow_in_either_gradient_skips_the_step() {
    // So far that every sample is wrong, whose dz is the largest there is.
    let far = Some(Sam { rho: 1000.0, adaptive: false });
    let fits = |next: f32| scaled(None, next).map(|mut engine| engine.loss_scales().unwrap()[0].steps == 6);
    let Some(_) = fits(1.0) else { return };
    let largest = (0..25).map(|i| 2f32.powi(i)).take_while(|&next| fits(next) == Some(true)).last().unwrap();
    let first = engine_weights(&mixed_setup(None));
    for next in [largest, 4.0 * largest] {
        let mut skipped = scaled(far, next).unwrap();
        assert_eq!(skipped.loss_scales().unwrap(), [LossScale { next: next / 2.0, steps: 0 }]);
        assert_eq!(skipped.download(Slot::Live, 0).unwrap(), first, "at {next}");
        let step = Step { rows: 16, rates: vec![Rate { lr: 0.1, momentum: 0.0 }], ..Step::default() };
        let mut fresh = scaled(far, next).unwrap();
        fresh.upload(Slot::Live, 0, &first).unwrap();
        assert_eq!(skipped.gradients(&step).unwrap(), fresh.gradients(&step).unwrap());
    }
    // Where both fit it is one step for the scale, and its gradient that of the parts to the digits of halves.
    let mut near = scaled(Some(PLAIN), 64.0).unwrap();
    assert_eq!(near.loss_scales().unwrap(), [LossScale { next: 64.0, steps: 6 }]);
    let mut parts = CpuEngine::<f64>::new(Setup { precision: Precision::F64, ..mixed_setup(None) }).unwrap();
    parts.upload(Slot::Live, 0, &first).unwrap();
    parts.set_order(&[(0..small::N as u32).collect()]).unwrap();
    let step = Step { rows: 16, rates: vec![Rate { lr: 0.1, momentum: 0.0 }], ..Step::default() };
    by_parts(&mut parts, PLAIN, &step);
    // Gradients below 1 at a rate of 0.1, through three values of 11 bits each.
    let tolerance = Tolerance { abs: 0.1 * 3.0 * 2f64.powi(-10), rel: 0.0 };
    let [got, want] = [near.download(Slot::Live, 0).unwrap(), parts.download(Slot::Live, 0).unwrap()];
    assert_close("mixed", &got, &want, tolerance);
}

/// The first weights of the setup, in f32.
fn engine_weights(setup: &Setup) -> Vec<f64> {
    let weights = Layout::new(&setup.model).init(&setup.model, Init::Pytorch, setup.seed);
    weights.into_iter().map(|w| f64::from(w as f32)).collect()
}

/// What is told of a step counts both gradients, and the profile of one carries it out.
#[test]
fn both_gradients_are_counted() {
    let without = small::setup();
    let setup = Setup { sam: Some(PLAIN), ..without.clone() };
    assert_eq!(setup.step_flops(16), 2.0 * without.step_flops(16));
    assert!(setup.step_bytes(16) > without.step_bytes(16));
    let bytes =
        |engine: &dyn Engine| engine.memory().iter().filter(|a| a.name == "ascended").map(|a| a.bytes).sum::<u64>();
    for setup in [setup.clone(), Setup { evaluation_only: true, ..setup.clone() }] {
        on_each_engine(&setup, |engine, _| {
            let vector = (engine.layout().len * engine.value_bytes()) as u64;
            assert_eq!(bytes(engine.as_ref()), if setup.evaluation_only { 0 } else { vector }, "{}", engine.describe());
        });
    }
    let open = |setup: &Setup| Some(GpuEngine::new(common::gpu()?, setup.clone(), Options::default()).unwrap());
    let (Some(mut timed), Some(mut run), Some(other)) = (open(&setup), open(&setup), open(&without)) else { return };
    use thalweg::engine::Diagnose;
    assert!(timed.dispatches() > 2 * other.dispatches() - 3, "{} {}", timed.dispatches(), other.dispatches());
    let step = Step { rows: 16, rates: vec![setup.optimizer.rate()], ..Step::default() };
    for engine in [&mut timed, &mut run] {
        initialize(engine, Init::Pytorch).unwrap();
        engine.set_order(&[(0..small::N as u32).collect()]).unwrap();
    }
    let profile = timed.profile(&step).unwrap();
    run.run(std::slice::from_ref(&step)).unwrap();
    run.wait().unwrap();
    if !profile.is_empty() {
        assert_eq!(profile.iter().map(|op| op.dispatches).sum::<usize>(), timed.dispatches());
        assert_eq!(profile.iter().filter(|op| op.name == "linear_dw 0").count(), 2);
        assert_eq!(timed.download(Slot::Live, 0).unwrap(), run.download(Slot::Live, 0).unwrap());
    }
}

/// The test of rates ascends, and leaves the weights as they were.
#[test]
fn rates_are_found_with_an_ascent() {
    let points = |sam: Option<Sam>| {
        let mut engine = CpuEngine::<f32>::new(Setup { sam, ..small::setup() }).unwrap();
        initialize(&mut engine, Init::Pytorch).unwrap();
        let before = engine.download(Slot::Live, 0).unwrap();
        let range = Range { from: 1e-3, to: 0.1, steps: 12, order: thalweg::data::Order::Sequential };
        let test = lr_find(&mut engine, range).unwrap();
        assert_eq!(engine.download(Slot::Live, 0).unwrap(), before);
        test.points
    };
    let (with, without) = (points(Some(PLAIN)), points(None));
    assert_eq!(with[0].loss, without[0].loss);
    assert_ne!(with[11].loss, without[11].loss);
}

#[test]
fn no_length_is_refused() {
    for rho in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-50] {
        let setup = Setup { sam: Some(Sam { rho, adaptive: false }), ..small::setup() };
        let error = CpuEngine::<f64>::new(setup).err().unwrap().to_string();
        assert!(error.starts_with("optimizer.sam.rho: expected a positive number"), "{error}");
    }
}

/// Four steps around SGD and Adam, plain and adaptive, against PyTorch in f64 (`tests/golden/sam.py`). A gradient rounds some
/// 20 terms below 2, which Adam divides by no less than its eps of 1e-2; what a step of at most 0.5 makes of it the momentum
/// keeps ten times.
#[test]
fn steps_are_those_of_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sam.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let numbers = |value: &Value| value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<f64>>();
    let x: Vec<f64> = numbers(&golden["x"]);
    let train = Samples {
        features: Features::F64(x),
        targets: Targets::Labels(numbers(&golden["labels"]).into_iter().map(|label| label as u32).collect()),
        weights: None,
    };
    let dataset = Arc::new(Dataset::new("golden", [3, 1, 1], train, None).unwrap());
    let model = Mlp::new(3, 2).hidden([5]).activation(Activation::Tanh);
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let optimizer = match case["optimizer"].as_str().unwrap() {
            "sgd" => Optimizer::sgd(0.5).momentum(0.9).weight_decay(0.01),
            _ => Optimizer::adam(0.05).eps(1e-2),
        };
        let sam = Sam { rho: case["rho"].as_f64().unwrap(), adaptive: case["adaptive"].as_bool().unwrap() };
        let setup = Setup { optimizer, sam: Some(sam), ..Setup::new(model.clone(), dataset.clone()) };
        let layout = Layout::new(&model);
        let flat = |weights: &Value| {
            let tensor = |(name, shape): (String, Vec<usize>)| Tensor { values: numbers(&weights[&name]), name, shape };
            layout.pack(&layout.names().into_iter().map(tensor).collect::<Vec<_>>()).unwrap()
        };
        on_each_engine(&setup, |mut engine, eps| {
            engine.upload(Slot::Live, 0, &flat(&case["first"])).unwrap();
            engine.set_order(&[(0..8).collect()]).unwrap();
            let step = |index| Step { index, rows: 8, rates: vec![optimizer.rate()], ..Step::default() };
            let mut metrics = engine.run(&(0..4).map(step).collect::<Vec<_>>()).unwrap();
            metrics.extend(engine.wait().unwrap());
            let tolerance = Tolerance { abs: 400.0 * eps, rel: 400.0 * eps };
            let losses: Vec<f64> = metrics.iter().map(|m| m.loss).collect();
            let name = format!("{} {}", engine.describe(), case["optimizer"]);
            assert_close(&format!("{name}: losses"), &losses, &numbers(&case["losses"]), tolerance);
            assert_close(&name, &engine.download(Slot::Live, 0).unwrap(), &flat(&case["last"]), tolerance);
        });
    }
}
