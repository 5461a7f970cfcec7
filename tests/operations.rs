//! What an engine can do beside training: predictions, gradients that stay on the device, vectors, evaluation alone; on both
//! engines, with replicas that differ.

mod common;

use std::sync::Arc;

use common::{Tolerance, assert_close};
use thalweg::average::{Average, Lookahead, Sampling, Snapshots};
use thalweg::cpu::CpuEngine;
use thalweg::data::{Augment, Dataset, Features, Normalization, Normalize, Part, Samples, Targets};
use thalweg::engine::initialize;
use thalweg::engine::{Engine, Gradient, Precision, Setup, Slot, Step};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::loss::{Loss, softmax};
use thalweg::model::{Init, Norm};
use thalweg::schedule::Rate;
use thalweg::{Activation, Error, Mlp, Optimizer};

const N: usize = 600;
const BATCH: usize = 50;
const REPLICAS: usize = 2;

/// Images of 1x4x5 in three classes, so that everything that changes samples has something to do.
fn dataset(kind: fn(Vec<u8>) -> Features) -> Arc<Dataset> {
    let part = |n: usize, salt: usize| {
        let pixels: Vec<u8> = (0..n * 20).map(|i| ((i * 7919 + salt) % 251) as u8).collect();
        let labels: Vec<u32> = pixels.chunks(20).map(|p| u32::from(p[0]) * 3 / 251).collect();
        Samples::labelled(kind(pixels), labels)
    };
    let data = Dataset::new("images", [1, 4, 5], part(N, 0), Some(part(70, 13))).unwrap();
    Arc::new(data.normalize(Normalize::Channel))
}

fn plain() -> Setup {
    let model = Mlp::new(20, 3).hidden([13, 13]).activation(Activation::Silu);
    let optimizer = Optimizer::sgd(0.05).momentum(0.9).weight_decay(1e-3).nesterov();
    Setup { optimizer, batch: BATCH, replicas: REPLICAS, seed: 3, ..Setup::new(model, dataset(Features::U8)) }
}

/// Everything that may stand in a step.
fn rich(norm: Norm) -> Setup {
    let snapshots = Snapshots { max: 2, when: Sampling::Listed { after_updates: vec![1, 2, 4] } };
    let ema = common::small::ema(0.5);
    Setup {
        model: plain().model.norm(norm).residual().dropout(0.3),
        augment: Augment { pad: 1, flip: true, cutout: 2, mixup: 0.5, noise: 0.1 },
        average: Average {
            swa: Some(Sampling::Listed { after_updates: vec![2, 4] }),
            ema: Some(ema),
            lookahead: Some(Lookahead { every: 3, alpha: 0.5 }),
            snapshots: Some(snapshots),
        },
        ..plain()
    }
}

/// The setup on every engine that can have it, with the distance of 1 to the next value of its precision.
fn engines(setup: &Setup) -> Vec<(Box<dyn Engine>, f64)> {
    let single = f64::from(f32::EPSILON);
    let mut engines: Vec<(Box<dyn Engine>, f64)> = vec![
        (Box::new(CpuEngine::<f64>::new(setup.clone()).unwrap()), f64::EPSILON),
        (Box::new(CpuEngine::<f32>::new(setup.clone()).unwrap()), single),
    ];
    if let Some(gpu) = common::gpu() {
        engines.push((Box::new(GpuEngine::new(gpu, setup.clone(), Options::default()).unwrap()), single));
    }
    engines
}

fn mixed(setup: &Setup) -> Option<Box<dyn Engine>> {
    let setup = Setup { precision: Precision::Mixed, ..setup.clone() };
    Some(Box::new(GpuEngine::new(common::gpu()?, setup, Options::default()).unwrap()))
}

/// First weights, which differ from replica to replica, and an order.
fn begin(engine: &mut dyn Engine) {
    initialize(engine, Init::Kaiming).unwrap();
    let order = |r: usize| (0..N as u32).map(|i| (i * 7 + r as u32) % N as u32).collect();
    engine.set_order(&(0..REPLICAS).map(order).collect::<Vec<_>>()).unwrap();
    if engine.has(Slot::Slow) {
        engine.copy(Slot::Live, Slot::Slow).unwrap();
    }
}

fn steps(setup: &Setup, n: u64) -> Vec<Step> {
    let clock = thalweg::average::Clock { steps: n, per_epoch: n, lr: None };
    let sampler = setup.average.sampler(&clock).unwrap();
    let rates = vec![Rate { lr: 0.05, momentum: 0.9 }, Rate { lr: 0.02, momentum: 0.8 }];
    let step = |index| Step {
        index,
        first: BATCH * index as usize,
        rows: BATCH,
        rates: rates.clone(),
        take: sampler.take(index),
    };
    (0..n).map(step).collect()
}

fn everything(engine: &mut dyn Engine) -> Vec<Vec<f64>> {
    let slots = engine.slots();
    slots.into_iter().flat_map(|slot| [0, 1].map(|r| (slot, r))).map(|(s, r)| engine.download(s, r).unwrap()).collect()
}

/// What is predicted for the samples of the test part has its loss and accuracy.
#[test]
fn predictions_are_those_that_are_evaluated() {
    for setup in [plain(), rich(Norm::Batch), rich(Norm::Layer)] {
        for (mut engine, eps) in engines(&setup) {
            begin(engine.as_mut());
            engine.run(&steps(&setup, 5)).unwrap();
            engine.wait().unwrap();
            let test = engine.setup().dataset.test.clone().unwrap();
            let Targets::Labels(labels) = &test.targets else { panic!("labels") };
            let ensemble: Vec<Slot> =
                if engine.has(Slot::Snapshot(1)) { vec![Slot::Snapshot(0), Slot::Snapshot(1)] } else { vec![] };
            for slots in [vec![Slot::Live], ensemble] {
                if slots.is_empty() {
                    continue;
                }
                let evaluations = engine.evaluate(Part::Test, &slots).unwrap();
                let predictions = engine.predict(&test.features, &slots).unwrap();
                for (mut logits, evaluation) in predictions.into_iter().zip(evaluations) {
                    softmax(&mut logits, 3);
                    let rows = logits.chunks(3).zip(labels);
                    let loss = -rows.clone().map(|(p, &l)| p[l as usize].ln()).sum::<f64>() / labels.len() as f64;
                    let right = rows.filter(|(p, l)| p.iter().all(|q| *q <= p[**l as usize])).count();
                    // Each of 70 losses near 1 is rounded a few times, and so is their sum.
                    assert_close("loss", &[evaluation.loss], &[loss], Tolerance { abs: 100.0 * eps, rel: 0.0 });
                    assert_eq!(evaluation.accuracy, right as f64 / labels.len() as f64, "{}", engine.describe());
                }
            }
        }
    }
}

/// A row's prediction has the same bits alone, in a batch of any size, beside any other rows.
#[test]
fn a_row_is_predicted_alike_in_any_company() {
    let check = |engine: &mut dyn Engine| {
        begin(engine);
        let features = engine.setup().dataset.train.features.clone();
        let Features::U8(pixels) = &features else { panic!("pixels") };
        let predict = |engine: &mut dyn Engine, rows: &[usize]| {
            let picked: Vec<u8> = rows.iter().flat_map(|&row| pixels[row * 20..][..20].to_vec()).collect();
            engine.predict(&Features::U8(picked), &[Slot::Live]).unwrap()
        };
        // More rows than pass through at once.
        let all = predict(engine, &(0..N).collect::<Vec<_>>());
        for rows in [vec![0], vec![N - 1], vec![5, 3, 3, 599], (100..117).collect(), (0..N).rev().collect()] {
            let some = predict(engine, &rows);
            for (r, (some, all)) in some.iter().zip(&all).enumerate() {
                for (place, &row) in rows.iter().enumerate() {
                    let (got, want) = (&some[place * 3..][..3], &all[row * 3..][..3]);
                    assert_eq!(got, want, "{}: replica {r}, row {row} among {}", engine.describe(), rows.len());
                }
            }
        }
        assert_ne!(all[0], all[1], "replicas differ");
    };
    for setup in [plain(), rich(Norm::Batch), rich(Norm::Layer)] {
        engines(&setup).iter_mut().for_each(|(engine, _)| check(engine.as_mut()));
        if let Some(mut engine) = mixed(&setup) {
            check(engine.as_mut());
        }
    }
}

/// Samples may come in another type than the data set's. The scaling is one that rounds nothing: pixels are scaled in the
/// engine's precision, numbers in f64.
#[test]
fn predictions_take_every_type_of_features() {
    let mut data = (*dataset(Features::U8)).clone();
    data.normalization = Normalization { scale: vec![0.015625], shift: vec![-2.0] };
    let setup = Setup { dataset: Arc::new(data), ..plain() };
    for (mut engine, _) in engines(&setup) {
        begin(engine.as_mut());
        let bytes: Vec<u8> = (0..60).collect();
        let of = |engine: &mut dyn Engine, f: Features| engine.predict(&f, &[Slot::Live]).unwrap();
        let want = of(engine.as_mut(), Features::U8(bytes.clone()));
        let floats = Features::F32(bytes.iter().map(|&b| f32::from(b)).collect());
        let doubles = Features::F64(bytes.iter().map(|&b| f64::from(b)).collect());
        assert_eq!(of(engine.as_mut(), floats), want);
        assert_eq!(of(engine.as_mut(), doubles), want);
    }
}

/// A gradient by itself and its update are the step: to the bit where the update is the same code, which it is on the CPU
/// engine; on a GPU the fused kernel may contract products and sums that the other does not: four steps, each rounding
/// weights below 2 and moving them by a few times the rate times the last place of a gradient.
#[test]
fn a_gradient_and_its_update_are_a_step() {
    let clipped = Setup { clip_norm: Some(0.5), ..rich(Norm::Batch) };
    let adam = Setup { optimizer: Optimizer::adamw(0.01).eps(1e-3).amsgrad(), ..plain() };
    for setup in [plain(), rich(Norm::None), rich(Norm::Batch), rich(Norm::Layer), clipped, adam] {
        for ((mut whole, eps), (mut parts, _)) in engines(&setup).into_iter().zip(engines(&setup)) {
            begin(whole.as_mut());
            begin(parts.as_mut());
            let steps = steps(&setup, 5);
            let mut fused = whole.run(&steps).unwrap();
            fused.extend(whole.wait().unwrap());
            let fused: Vec<f64> = fused.iter().map(|m| m.loss).collect();
            let mut losses = Vec::new();
            for step in &steps {
                losses.extend(parts.gradient(step, Gradient::OfStep).unwrap().iter().map(|m| m.loss));
                parts.update(step).unwrap();
            }
            let is_gpu = parts.dispatches() > 0;
            let (want, got) = (everything(whole.as_mut()), everything(parts.as_mut()));
            if is_gpu {
                let tolerance = Tolerance { abs: 100.0 * eps, rel: 100.0 * eps };
                assert_close("losses", &losses, &fused, tolerance);
                want.iter().zip(&got).for_each(|(want, got)| assert_close("vectors", got, want, tolerance));
            } else {
                assert_eq!(losses, fused);
                assert!(want == got, "{}: {:?}", parts.describe(), setup.optimizer);
            }
        }
    }
}

/// A gradient to be looked at changes nothing but itself; without chance it is that of a setup without dropout and
/// augmentation.
#[test]
fn a_gradient_may_be_looked_at() {
    for norm in [Norm::None, Norm::Batch, Norm::Layer] {
        let setup = rich(norm);
        let still = Setup { model: setup.model.clone().dropout(0.0), augment: Augment::default(), ..setup.clone() };
        for ((mut engine, eps), (mut other, _)) in engines(&setup).into_iter().zip(engines(&still)) {
            begin(engine.as_mut());
            begin(other.as_mut());
            let step = &steps(&setup, 5)[0];
            let before = everything(engine.as_mut());
            let drawn = engine.gradients(step).unwrap();
            engine.gradient(step, Gradient::Plain).unwrap();
            let plain: Vec<Vec<f64>> = [0, 1].map(|r| engine.download(Slot::Gradient, r).unwrap()).to_vec();
            assert!(everything(engine.as_mut()) == before, "{}: a look changes something", engine.describe());
            for (r, (_, want)) in other.gradients(step).unwrap().into_iter().enumerate() {
                let largest = want.iter().fold(0.0f64, |most, g| most.max(g.abs()));
                // Four products of at most 20 terms, and a sum over 50 samples.
                let tolerance = Tolerance { abs: 200.0 * eps * largest, rel: 0.0 };
                assert_close("plain gradient", &plain[r], &want, tolerance);
                assert_ne!(drawn[r].1, plain[r], "the drawn gradient is another");
            }
        }
    }
}

/// What vectors do on the device, beside plain loops; every replica has a factor of its own.
#[test]
fn vectors_follow_plain_loops() {
    let setup = Setup { model: Mlp::new(20, 3).hidden([70, 90]), ..plain() };
    for (mut engine, eps) in engines(&setup) {
        let layout = engine.layout().clone();
        let len = layout.len;
        // What lies between rows is 0.
        let padded = |flat: Vec<f64>| layout.pack(&layout.unpack(&flat)).unwrap();
        let vector = |salt: usize| -> Vec<Vec<f64>> {
            let value = |i: usize| f64::from(((i * 2_654_435_761 + salt * 977) % 1999) as f32 / 1000.0 - 1.0);
            (0..REPLICAS).map(|r| padded((0..len).map(|i| value(i + r * len)).collect())).collect()
        };
        let (x, y) = (vector(1), vector(2));
        let (a, b) = (Slot::Scratch(0), Slot::Scratch(7));
        engine.allocate(a).unwrap();
        engine.allocate(b).unwrap();
        assert!(engine.download(a, 1).unwrap().iter().all(|v| *v == 0.0), "a new vector is 0");
        for r in 0..REPLICAS {
            engine.upload(a, r, &x[r]).unwrap();
            engine.upload(b, r, &y[r]).unwrap();
        }
        let alpha = [0.5, -1.25];
        let (dots, norms) = (engine.dot(a, b).unwrap(), engine.norm(a).unwrap());
        engine.axpy(&alpha, a, b).unwrap();
        engine.scale(&alpha, a).unwrap();
        for r in 0..REPLICAS {
            let sum = |f: &dyn Fn(usize) -> f64| (0..len).map(f).sum::<f64>();
            // Sums of terms below 1 in 64 parts, one after the other: n ε of the largest sum a part can have.
            let tolerance = Tolerance { abs: len as f64 * eps * len as f64 / 64.0, rel: 0.0 };
            assert_close("dot", &[dots[r]], &[sum(&|i| x[r][i] * y[r][i])], tolerance);
            assert_close("norm", &[norms[r]], &[sum(&|i| x[r][i] * x[r][i]).sqrt()], tolerance);
            let single = eps > 1e-10;
            let rounded = |v: f64| if single { f64::from(v as f32) } else { v };
            // WGSL lets a device round a product before it is added; the CPU engine rounds once.
            let once = |i: usize| rounded(alpha[r].mul_add(x[r][i], y[r][i]));
            let twice = |i: usize| rounded(rounded(alpha[r] * x[r][i]) + y[r][i]);
            let is_gpu = engine.dispatches() > 0;
            for (i, got) in engine.download(b, r).unwrap().into_iter().enumerate() {
                assert!(got == once(i) || is_gpu && got == twice(i), "{}: axpy {i}: {got}", engine.describe());
            }
            let want: Vec<f64> = (0..len).map(|i| rounded(alpha[r] * x[r][i])).collect();
            assert_eq!(engine.download(a, r).unwrap(), want, "{}: scale", engine.describe());
        }
        engine.copy(b, Slot::Live).unwrap();
        assert_eq!(engine.download(Slot::Live, 1).unwrap(), engine.download(b, 1).unwrap());
        let with = engine.evaluate(Part::Test, &[Slot::Live]).unwrap();
        assert_eq!(engine.evaluate(Part::Test, &[b]).unwrap(), with, "an allocated vector can be evaluated");
        engine.free(a).unwrap();
        assert!(!engine.has(a) && engine.has(b));
        assert!(
            !engine.memory().iter().any(|m| m.name == a.name()) && engine.memory().iter().any(|m| m.name == b.name())
        );
    }
}

/// One line that says what was expected and what was found, on both engines alike, and nothing is changed.
#[test]
fn what_does_not_fit_is_refused() {
    let setup = plain();
    let mut texts: Vec<Vec<String>> = Vec::new();
    for (mut engine, _) in engines(&setup) {
        let engine = engine.as_mut();
        let len = engine.layout().len;
        let step = steps(&setup, 1).remove(0);
        let mut found = Vec::new();
        let mut refused = |result: thalweg::Result<()>| match result {
            Err(error @ (Error::Config { .. } | Error::Data { .. })) => found.push(error.to_string()),
            other => panic!("{other:?}"),
        };
        refused(engine.run(std::slice::from_ref(&step)).map(drop)); // no order yet
        begin(engine);
        let before = everything(engine);
        refused(engine.upload(Slot::Live, 0, &vec![0.0; len + 1]));
        refused(engine.upload(Slot::Live, 0, &[]));
        refused(engine.upload(Slot::Live, REPLICAS, &vec![0.0; len]));
        refused(engine.download(Slot::Live, REPLICAS).map(drop));
        refused(engine.download(Slot::Swa, 0).map(drop));
        refused(engine.download(Slot::State(1), 0).map(drop));
        refused(engine.copy(Slot::Live, Slot::Copy(2)));
        refused(engine.copy(Slot::Live, Slot::Scratch(0)));
        refused(engine.allocate(Slot::Live));
        refused(engine.free(Slot::Scratch(0)));
        refused(engine.free(Slot::Copy(0)));
        refused(engine.axpy(&[1.0], Slot::Copy(0), Slot::Live));
        refused(engine.axpy(&[1.0; REPLICAS], Slot::Live, Slot::Live));
        refused(engine.scale(&[1.0; REPLICAS + 1], Slot::Live));
        refused(engine.dot(Slot::Live, Slot::Ema).map(drop));
        refused(engine.set_order(&[vec![0; N]]));
        refused(engine.set_order(&[vec![0; N - 1], vec![0; N]]));
        refused(engine.set_order(&[vec![0; N], vec![N as u32; N]]));
        refused(engine.run(&[Step { rates: step.rates[..1].to_vec(), ..step.clone() }]).map(drop));
        refused(engine.run(&[Step { rows: 0, ..step.clone() }]).map(drop));
        refused(engine.run(&[Step { rows: BATCH + 1, ..step.clone() }]).map(drop));
        refused(engine.run(&[Step { first: N - 1, ..step.clone() }]).map(drop));
        refused(engine.run(&[Step { first: usize::MAX, ..step.clone() }]).map(drop));
        let mut taken = step.clone();
        taken.take.swa = 1.0;
        refused(engine.run(&[taken.clone()]).map(drop));
        refused(engine.update(&taken));
        refused(engine.gradient(&Step { rates: Vec::new(), ..step.clone() }, Gradient::Plain).map(drop));
        refused(engine.evaluate(Part::Test, &[]).map(drop));
        refused(engine.evaluate(Part::Validation, &[Slot::Live]).map(drop));
        refused(engine.evaluate(Part::Test, &[Slot::Best]).map(drop));
        refused(engine.predict(&Features::U8(vec![0; 21]), &[Slot::Live]).map(drop));
        refused(engine.predict(&Features::U8(Vec::new()), &[Slot::Live]).map(drop));
        refused(engine.renew_statistics(Slot::Swa, &[step]));
        assert!(everything(engine) == before, "{}: a refusal changes something", engine.describe());
        engine.allocate(Slot::Best).unwrap();
        refused(engine.allocate(Slot::Best));
        texts.push(found);
    }
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]), "{texts:#?}");
    assert!(texts[0].iter().all(|text| text.contains("expected") && text.contains("found")), "{texts:#?}");
}

/// An engine for evaluation alone has the same bits in less memory, and does not train.
#[test]
fn an_engine_may_evaluate_alone() {
    for setup in [plain(), rich(Norm::Batch), rich(Norm::Layer), Setup { loss: Loss::Mse, ..plain() }] {
        let alone = Setup { evaluation_only: true, ..setup.clone() };
        for ((mut whole, _), (mut alone, _)) in engines(&setup).into_iter().zip(engines(&alone)) {
            begin(whole.as_mut());
            for r in 0..REPLICAS {
                let weights = whole.download(Slot::Live, r).unwrap();
                alone.upload(Slot::Live, r, &weights).unwrap();
            }
            for part in [Part::Train, Part::Test] {
                let slots = [Slot::Live];
                assert_eq!(alone.evaluate(part, &slots).unwrap(), whole.evaluate(part, &slots).unwrap());
            }
            let inputs = whole.setup().dataset.train.features.clone();
            let predict = |engine: &mut dyn Engine| engine.predict(&inputs, &[Slot::Live]).unwrap();
            assert!(predict(alone.as_mut()) == predict(whole.as_mut()));
            let bytes = |engine: &dyn Engine| engine.memory().iter().map(|m| m.bytes).sum::<u64>();
            let (less, all) = (bytes(alone.as_ref()), bytes(whole.as_ref()));
            assert!(4 * less < 3 * all, "{}: {less} of {all} bytes", whole.describe());
            assert!(!alone.has(Slot::Gradient) && !alone.has(Slot::State(0)));
            let error = alone.run(&steps(&setup, 5)[..1]).unwrap_err().to_string();
            assert!(error.contains("evaluation alone"), "{error}");
        }
    }
}

/// Any slots make an ensemble, whether or not the setup keeps snapshots.
#[test]
fn an_ensemble_needs_no_snapshots() {
    let means: Vec<[f64; 2]> = engines(&plain())
        .into_iter()
        .map(|(mut engine, _)| {
            begin(engine.as_mut());
            engine.copy(Slot::Live, Slot::Copy(0)).unwrap();
            engine.run(&steps(&plain(), 5)).unwrap();
            engine.wait().unwrap();
            let inputs = &dataset(Features::U8).test.as_ref().unwrap().features.clone();
            engine.predict(inputs, &[Slot::Live]).unwrap();
            let loss = engine.evaluate(Part::Test, &[Slot::Copy(0), Slot::Live]).unwrap()[0].loss;
            let logits = engine.predict(inputs, &[Slot::Copy(0), Slot::Live]).unwrap()[0].clone();
            assert_ne!(loss, engine.evaluate(Part::Test, &[Slot::Live]).unwrap()[0].loss);
            [loss, logits[0]]
        })
        .collect();
    for other in &means[1..] {
        // Five steps and two passes of sums of up to twenty terms in f32.
        assert_close("ensemble", other, &means[0], Tolerance { abs: 1e-5, rel: 0.0 });
    }
}

/// A copy that was never written is full of zeros, and takes part in arithmetic as any other vector.
#[test]
fn copies_begin_as_zeros() {
    for (mut engine, _) in engines(&plain()) {
        begin(engine.as_mut());
        let live = engine.norm(Slot::Live).unwrap();
        assert_eq!(engine.dot(Slot::Live, Slot::Copy(0)).unwrap(), [0.0; REPLICAS]);
        engine.axpy(&[1.0; REPLICAS], Slot::Live, Slot::Copy(1)).unwrap();
        assert_eq!(engine.norm(Slot::Copy(1)).unwrap(), live);
        assert!(!engine.has(Slot::State(usize::MAX)));
    }
    let alone = Setup { evaluation_only: true, ..plain() };
    assert!(engines(&alone).iter().all(|(engine, _)| !engine.has(Slot::Copy(0))));
}

/// Only what the layout names can be put into a vector: what lies between the rows stays 0, as kernels rely on.
#[test]
fn padding_stays_zero() {
    let setup = rich(Norm::Batch);
    for (mut engine, _) in engines(&setup) {
        let layout = engine.layout().clone();
        let named: usize = layout.names().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        engine.upload(Slot::Live, 1, &vec![1.0; layout.len]).unwrap();
        assert_eq!(engine.dot(Slot::Live, Slot::Live).unwrap(), [0.0, named as f64]);
        let ones = engine.download(Slot::Live, 1).unwrap();
        assert!(layout.unpack(&ones).iter().all(|tensor| tensor.values.iter().all(|&value| value == 1.0)));
    }
}

/// The norm is that of what is trained; it is taken where the gradient is clipped, not where it is made.
#[test]
fn an_update_clips_what_is_trained() {
    let setup = Setup { clip_norm: Some(0.5), average: Average::default(), ..rich(Norm::Batch) };
    let mut moved = Vec::new();
    for (mut engine, _) in engines(&setup) {
        begin(engine.as_mut());
        let step = steps(&setup, 5).remove(0);
        let metrics = engine.gradient(&step, Gradient::Drawn).unwrap();
        assert!(metrics.iter().all(|m| m.grad_norm.is_none()));
        let ones = vec![1.0; engine.layout().len];
        (0..REPLICAS).for_each(|r| engine.upload(Slot::Gradient, r, &ones).unwrap());
        engine.update(&step).unwrap();
        moved.push(engine.download(Slot::State(0), 0).unwrap());
    }
    for other in &moved[1..] {
        // Equal parts of a length of 0.5, and weights below 1 times the decay.
        assert_close("velocity", other, &moved[0], Tolerance { abs: 1e-6, rel: 0.0 });
    }
}

/// An update takes the gradient that a caller gives, although the last step's own overflowed and was left out.
#[test]
fn a_given_gradient_is_taken_after_an_overflow() {
    let setup = Setup { clip_norm: Some(1.0), ..plain() };
    let Some(mut engine) = mixed(&setup) else { return };
    begin(engine.as_mut());
    let steps = steps(&setup, 2);
    let scale = thalweg::engine::LossScale { next: 16_777_216.0, steps: 0 };
    engine.set_loss_scales(&[scale; REPLICAS]).unwrap();
    let before = everything(engine.as_mut());
    engine.run(&steps[..1]).unwrap();
    engine.wait().unwrap();
    assert_eq!(everything(engine.as_mut()), before, "the step overflows");
    engine.gradient(&steps[1], Gradient::Drawn).unwrap();
    engine.update(&steps[1]).unwrap();
    let after = everything(engine.as_mut());
    assert!((0..REPLICAS).all(|r| after[r] != before[r]), "a gradient that was looked at");

    engine.set_loss_scales(&[scale; REPLICAS]).unwrap();
    engine.run(&steps[..1]).unwrap();
    engine.wait().unwrap();
    let given = vec![0.01; engine.layout().len];
    engine.upload(Slot::Gradient, 0, &given).unwrap();
    engine.update(&steps[1]).unwrap();
    let last = everything(engine.as_mut());
    assert!(last[0] != after[0] && last[1] == after[1], "a gradient that was given to one replica");
}

/// Vectors that are allocated count in the memory budget.
#[test]
fn allocations_keep_within_the_budget() {
    let Some(gpu) = common::gpu() else { return };
    let engine = GpuEngine::new(gpu, plain(), Options::default()).unwrap();
    let taken: u64 = thalweg::engine::Diagnose::memory(&engine).iter().map(|a| a.bytes).sum();
    let vector = (engine.layout().len * REPLICAS * 4) as u64;
    let memory = Some(taken + vector);
    let mut engine = GpuEngine::new(common::gpu().unwrap(), plain(), Options { memory, ..Options::default() }).unwrap();
    engine.allocate(Slot::Scratch(0)).unwrap();
    let refused = engine.allocate(Slot::Scratch(1)).unwrap_err();
    assert!(matches!(refused, Error::DeviceMemory { .. }), "{refused}");
    engine.free(Slot::Scratch(0)).unwrap();
    engine.allocate(Slot::Scratch(1)).unwrap();
}
