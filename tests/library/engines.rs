//! What both engines promise: a run's bits depend neither on the replicas beside it, nor on when it runs, nor on where
//! its data lies.

use crate::common;

use std::sync::Arc;

use thalweg::Error;
use thalweg::activation::Activation;
use thalweg::average::{Average, Clock};
use thalweg::cpu::CpuEngine;
use thalweg::data::{Dataset, Part, Samples};
use thalweg::engine::{Diagnose, Engine, Precision, Setup, Slot, Step, initialize};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::{Init, Mlp, Norm};
use thalweg::number::Real;
use thalweg::optimizer::Optimizer;
use thalweg::plan::Plan;
use thalweg::schedule::Rate;
use thalweg::train::Trainer;

use crate::traces::{rich, setup, train, trained};

/// 330 training samples: five batches of 64 and a short one.
fn replicas_equal_separate_runs(open: &dyn Fn(Setup) -> Box<dyn Engine>, with: &dyn Fn(Setup) -> Setup) {
    let run = |replicas, seed| train(open(with(Setup { seed, ..setup(replicas, 64) })));
    let together = run(3, 5);
    assert!(together.losses[0].len() == 2 * 6 && together.weights[0] != together.weights[1]);
    for r in 0..3 {
        let alone = run(1, 5 + r as u64);
        assert!(alone == together.replica(r), "replica {r} differs from the run with its seed");
    }
    assert!(run(3, 5) == together, "the same run gives the same bits");
    // Twelve steps on mixed, noisy samples are few; those on plain ones are enough for a tenth.
    let most = if with(setup(1, 64)).augment.is_none() { 0.9 } else { 1.0 };
    let (first, last) = (together.losses[0][0], together.losses[0][11]);
    assert!(last < most * first, "it learns: {first} -> {last}");
}

#[test]
fn cpu_replicas_equal_separate_runs() {
    let open = |setup| Box::new(CpuEngine::<f32>::new(setup).unwrap()) as Box<dyn Engine>;
    replicas_equal_separate_runs(&open, &|setup| setup);
    replicas_equal_separate_runs(&open, &|setup| rich(setup, Norm::Batch));
    replicas_equal_separate_runs(&open, &|setup| rich(setup, Norm::Layer));
}

#[test]
fn gpu_replicas_equal_separate_runs() {
    if common::gpu().is_none() {
        return;
    }
    let gpu = || common::gpu().unwrap();
    let open = |setup| Box::new(GpuEngine::new(gpu(), setup, Options::default()).unwrap()) as Box<dyn Engine>;
    for precision in [Precision::F32, Precision::Mixed] {
        replicas_equal_separate_runs(&open, &|setup| Setup { precision, ..setup });
        replicas_equal_separate_runs(&open, &|setup| rich(Setup { precision, ..setup }, Norm::Batch));
        replicas_equal_separate_runs(&open, &|setup| rich(Setup { precision, ..setup }, Norm::Layer));
    }
}

/// One step of everything at once on both engines, without noise and with: what is random is the same.
///
/// How far the losses may be apart, as five standard deviations:
///
/// A product of n terms in f32 is off as if each feature, of a size of about 1, were off by √n ε; that of 3072 features
/// outweighs those of 37 inputs. Noise is by far the larger: WGSL allows a cosine, and a sine, to be off by 2⁻¹¹, which is
/// multiplied by the noise's deviation and by a radius of root mean square √2; log, sqrt and exp are off by a few ε.
///
/// Such errors have no sign in common, and Kaiming's weights make of them an error of the logits at most G times as large.
/// G² has a factor of 2 · 1.1² / 0.8 = 3.0 for the first hidden layer (the weights' mean square times their number, SiLU's
/// steepest slope, dropout), 1 + 3.0 for each of the others, around which there is a connection, and 1 for the last layer:
/// G ≤ 7. With a normalisation, 1 over the variance of the layer's input takes the place of that 2: of mixed features, at
/// least 1/2; of what SiLU makes of unit deviates, 0.36 / 0.8 − 0.04 = 0.40; of the sum of two such, 0.80. That makes
/// G² ≤ 3.0 · 4.8 · 2.9, which is less, so that one bound holds for all.
///
/// The loss of a sample changes by the change of the logits times a gradient no longer than √2, and the mean over 64
/// samples by an eighth of that.
#[test]
fn both_engines_draw_the_same() {
    const EPS: f64 = f32::EPSILON as f64;
    let cases = [Norm::None, Norm::Batch, Norm::Layer].map(|norm| [0.0, 0.1].map(|noise| (norm, noise)));
    for (norm, noise) in cases.into_iter().flatten() {
        let Some(gpu) = common::gpu() else { return };
        let mut setup = rich(Setup { clip_norm: None, ..setup(2, 64) }, norm);
        setup.augment.noise = noise;
        let gradients = |engine: &mut dyn Engine| {
            for r in 0..2 {
                let weights = engine.layout().init(&engine.setup().model.clone(), Init::Kaiming, r as u64);
                let weights: Vec<f64> = weights.iter().map(|&w| f64::from(w as f32)).collect();
                engine.upload(Slot::Live, r, &weights).unwrap();
            }
            engine.set_order(&vec![(0..330).collect(); 2]).unwrap();
            let step = Step { index: 7, first: 20, rows: 64, rates: vec![Rate::default(); 2], ..Step::default() };
            engine.gradients(&step).unwrap()
        };
        let want = gradients(&mut CpuEngine::<f64>::new(setup.clone()).unwrap());
        let got = gradients(&mut GpuEngine::new(gpu, setup, Options::default()).unwrap());
        // 4.1e-5 without noise, 4.3e-4 with it; another draw of the noise changes the loss by 0.001 to 0.03.
        let feature = f64::hypot(3072f64.sqrt() * EPS, noise * 2f64.sqrt() / 2048.0);
        let loss_tolerance = 5.0 * feature * 7.0 * 2f64.sqrt() / 64f64.sqrt();
        for ((want_loss, want), (loss, got)) in want.into_iter().zip(got) {
            // The noise may be off by 4e-4 of 1 in each of 3072 features, by WGSL's accuracy of the cosine: averaged
            // over them, and by the rounding of four layers, far below a hundredth of the largest gradient.
            let tolerance = 0.01 * want.iter().fold(0.0f64, |max, g| max.max(g.abs()));
            common::assert_close("gradient", &got, &want, common::Tolerance { abs: tolerance, rel: 0.0 });
            let tolerance = common::Tolerance { abs: loss_tolerance, rel: 0.0 };
            common::assert_close(&format!("loss, {norm:?}, noise {noise}"), &[loss], &[want_loss], tolerance);
        }
    }
}

/// Gradients and losses of shares add up to those of the step, with the same random numbers; on the GPU up to the order of sums of 64
/// samples, at most 64 · ε of the largest value.
#[test]
fn shares_of_a_step_add_up() {
    let mut setup = rich(Setup { clip_norm: None, ..setup(2, 64) }, Norm::Layer);
    setup.augment.mixup = 0.0;
    let step = Step { index: 7, first: 20, rows: 64, rates: vec![Rate::default(); 2], ..Step::default() };
    let check = |engine: &mut dyn Engine, epsilon: f64| {
        initialize(engine, Init::Kaiming).unwrap();
        engine.set_order(&vec![(0..330).rev().collect(); 2]).unwrap();
        let of = |engine: &mut dyn Engine, share| engine.gradients(&Step { share, ..step.clone() }).unwrap();
        let whole = of(engine, None);
        let parts = [20..21, 21..50, 50..84].map(|share| of(engine, Some(share)));
        for (r, (loss, gradient)) in whole.iter().enumerate() {
            let sum: Vec<f64> = (0..gradient.len()).map(|i| parts.iter().map(|part| part[r].1[i]).sum()).collect();
            let largest = gradient.iter().fold(*loss, |max, g| max.max(g.abs()));
            let tolerance = common::Tolerance { abs: 64.0 * epsilon * largest, rel: 0.0 };
            common::assert_close("gradient", &sum, gradient, tolerance);
            common::assert_close("loss", &[parts.iter().map(|part| part[r].0).sum()], &[*loss], tolerance);
        }
        for share in [19..30, 30..30, 70..85] {
            let refused = engine.gradients(&Step { share: Some(share), ..step.clone() }).unwrap_err();
            assert!(refused.to_string().starts_with("step.share: expected some positions of 20..84"), "{refused}");
        }
        let refused = engine.run(&[Step { share: Some(20..30), ..step.clone() }]).unwrap_err();
        assert_eq!(refused.to_string(), "step.share: expected the whole step, found 20..30");
    };
    check(&mut CpuEngine::<f64>::new(setup.clone()).unwrap(), f64::EPSILON);
    if let Some(gpu) = common::gpu() {
        check(&mut GpuEngine::new(gpu, setup, Options::default()).unwrap(), f32::EPSILON.into());
    }
}

/// Records in one buffer, in many, and streamed over a memory budget: the same bits.
#[test]
fn resident_and_streamed_data_give_the_same_bits() {
    // Evaluations of few rows, so that one pass takes less than all records.
    let plain = |replicas, batch| Setup { eval_rows: Some(64), ..setup(replicas, batch) };
    let cases = [plain(2, 64), plain(1, 1), plain(1, 66), rich(plain(2, 64), Norm::Batch)];
    for setup in cases {
        let batch = setup.batch;
        let run = |options| {
            let engine = GpuEngine::new(common::gpu()?, setup.clone(), options).unwrap();
            Some((engine.is_streamed(), engine.memory(), train(Box::new(engine))))
        };
        let Some((streamed, memory, resident)) = run(Options::default()) else { return };
        assert!(!streamed && memory.iter().filter(|a| a.name.contains("records")).count() == 3);

        let pieces = Options { record_buffer: Some(70_000), ..Options::default() };
        let (streamed, memory, cut) = run(pieces).unwrap();
        assert!(!streamed && memory.iter().filter(|a| a.name.contains("records")).count() > 15);
        assert!(cut == resident, "batch {batch}: many buffers give other bits than one");

        let bytes: u64 = memory.iter().map(|a| a.bytes).sum();
        let budget = Options { memory: Some(bytes - 700_000), ..Options::default() };
        let (streamed, memory, stream) = run(budget).unwrap();
        assert!(memory.iter().map(|a| a.bytes).sum::<u64>() <= bytes - 700_000, "the budget is kept");
        assert!(streamed && !memory.iter().any(|a| a.name.contains("records")));
        assert!(stream == resident, "batch {batch}: streamed data gives other bits than resident");
    }
}

/// A batch of more samples than one pass holds is the same gradient as that of the CPU in f64.
#[test]
fn a_batch_of_several_passes_is_one_gradient() {
    let Some(gpu) = common::gpu() else { return };
    let n = 5000;
    let x: Vec<f32> = (0..n * 7).map(|i| ((i * 37 % 101) as f32 - 50.0) / 30.0).collect();
    let train_part = Samples::labelled(x, (0..n as u32).map(|i| i * 7 % 3));
    let dataset = Arc::new(Dataset::new("rows", [7, 1, 1], train_part, None).unwrap());
    let model = Mlp::new(7, 3).hidden([9]).activation(Activation::Tanh);
    let setup = Setup { model, batch: n, clip_norm: None, label_smoothing: 0.0, dataset, ..setup(1, n) };
    let gradient = |engine: &mut dyn Engine| {
        let weights = engine.layout().init(&engine.setup().model.clone(), Init::Xavier, 0);
        let weights: Vec<f64> = weights.iter().map(|&w| f64::from(w as f32)).collect();
        engine.upload(Slot::Live, 0, &weights).unwrap();
        engine.set_order(&[(0..n as u32).collect()]).unwrap();
        let step = Step { rows: n, rates: vec![Default::default()], ..Step::default() };
        engine.gradients(&step).unwrap().swap_remove(0)
    };
    let (want_loss, want) = gradient(&mut CpuEngine::<f64>::new(setup.clone()).unwrap());
    let (loss, got) = gradient(&mut GpuEngine::new(gpu, setup, Options::default()).unwrap());
    // Sums of 5,000 terms of about 1/5,000, in f32: 4√n ε of their size.
    let tolerance = 4.0 * 5000f64.sqrt() * f64::from(f32::EPSILON);
    common::assert_close("loss", &[loss], &[want_loss], common::Tolerance { abs: tolerance, rel: 0.0 });
    common::assert_close("gradient", &got, &want, common::Tolerance { abs: tolerance, rel: 0.0 });
}

/// The loss at which a run stops is named, and the weights go back to finite ones.
fn divergence_leaves_good_weights(engine: Box<dyn Engine>) {
    let plan = Plan { epochs: 3, ..Plan::default() };
    let mut trainer = Trainer::new(engine, plan).unwrap();
    trainer.init(Init::Kaiming).unwrap();
    let error = loop {
        match trainer.epoch() {
            Ok(epoch) => assert!(epoch.is_some(), "the run was to diverge"),
            Err(error) => break error,
        }
    };
    let Error::Diverged { step, lr, restored, .. } = error else { panic!("{error}") };
    assert_eq!(lr, 1e18);
    let engine = trainer.engine();
    let restored = restored.unwrap();
    assert!(restored <= step, "weights of step {restored}, though step {step} diverged");
    assert!(engine.download(Slot::Live, 0).unwrap().iter().all(|w| w.is_finite()));
    assert!(engine.evaluate(Part::Test, &[Slot::Live]).unwrap()[0].loss.is_finite());
}

#[test]
fn a_diverged_run_stops_with_the_last_good_weights() {
    let optimizer = Optimizer::sgd(1e18);
    let setup = Setup { optimizer, clip_norm: None, ..setup(2, 64) };
    divergence_leaves_good_weights(Box::new(CpuEngine::<f32>::new(setup.clone()).unwrap()));
    let Some(gpu) = common::gpu() else { return };
    divergence_leaves_good_weights(Box::new(GpuEngine::new(gpu, setup, Options::default()).unwrap()));
}

/// A copy survives training, and evaluating it leaves the live weights alone.
fn copies_are_kept<T: Real>(engine: Box<dyn Engine>) {
    let (_, mut engine) = trained(engine);
    let live = engine.download(Slot::Live, 0).unwrap();
    let evaluation = engine.evaluate(Part::Test, &[Slot::Live]).unwrap();
    engine.copy(Slot::Live, Slot::Copy(0)).unwrap();
    engine.upload(Slot::Live, 0, &vec![0.0; live.len()]).unwrap();
    assert_eq!(engine.evaluate(Part::Test, &[Slot::Copy(0)]).unwrap(), evaluation, "{}", T::NAME);
    assert!(engine.download(Slot::Live, 0).unwrap().iter().all(|w| *w == 0.0));
    engine.copy(Slot::Copy(0), Slot::Live).unwrap();
    assert_eq!(engine.download(Slot::Live, 0).unwrap(), live);
}

#[test]
fn copies_of_weights_are_kept() {
    copies_are_kept::<f64>(Box::new(CpuEngine::<f64>::new(setup(1, 64)).unwrap()));
    let Some(gpu) = common::gpu() else { return };
    copies_are_kept::<f32>(Box::new(GpuEngine::new(gpu, setup(1, 64), Options::default()).unwrap()));
}

/// The means are those of the weights as they were after each step, taken up in f64.
fn means_follow_the_weights(engine: &mut dyn Engine, tolerance: f64) {
    let weights = engine.layout().init(&engine.setup().model.clone(), Init::Kaiming, 0);
    engine.upload(Slot::Live, 0, &weights).unwrap();
    engine.set_order(&[(0..330).collect()]).unwrap();
    let sampler = engine.setup().average.sampler(&Clock { steps: 10, per_epoch: 10, lr: None }).unwrap();
    let (mut samples, mut ema) = (Vec::new(), vec![0.0; weights.len()]);
    for index in 0..10 {
        let rates = vec![Rate { lr: 0.05, momentum: 0.9 }];
        let take = sampler.take(index);
        let step = Step { index, first: 32 * index as usize, rows: 32, rates, take, ..Step::default() };
        engine.run(&[step]).unwrap();
        engine.wait().unwrap();
        let now = engine.download(Slot::Live, 0).unwrap();
        if index >= 1 {
            ema.iter_mut().zip(&now).for_each(|(e, w)| *e = 0.8 * *e + (1.0 - 0.8) * w);
        }
        if index >= 3 && index % 2 == 1 {
            samples.push(now);
        }
    }
    // Bias correction: the nine samples' weights are made to sum to 1.
    let want_ema: Vec<f64> = ema.iter().map(|e| e / (1.0 - 0.8f64.powi(9))).collect();
    assert_eq!(samples.len(), 4);
    let want_swa: Vec<f64> = (0..weights.len()).map(|i| samples.iter().map(|s| s[i]).sum::<f64>() / 4.0).collect();
    // Ten roundings of a weight below 1.
    let tolerance = common::Tolerance { abs: 10.0 * tolerance, rel: 0.0 };
    common::assert_close("SWA", &engine.download(Slot::Swa, 0).unwrap(), &want_swa, tolerance);
    common::assert_close("EMA", &engine.download(Slot::Ema, 0).unwrap(), &want_ema, tolerance);
}

#[test]
fn means_are_those_of_the_saved_weights() {
    means_follow_the_weights(&mut CpuEngine::<f64>::new(setup(1, 32)).unwrap(), f64::EPSILON);
    means_follow_the_weights(&mut CpuEngine::<f32>::new(setup(1, 32)).unwrap(), f64::from(f32::EPSILON));
    let Some(gpu) = common::gpu() else { return };
    means_follow_the_weights(
        &mut GpuEngine::new(gpu, setup(1, 32), Options::default()).unwrap(),
        f64::from(f32::EPSILON),
    );
}

/// NaN passes through ReLU, whatever a driver makes of comparisons with it.
#[test]
fn relu_does_not_swallow_nan() {
    let model = Mlp::new(3072, 10).hidden([8]);
    let setup = Setup { model, average: Average::default(), ..setup(1, 32) };
    let check = |engine: &mut dyn Engine| {
        let mut weights = engine.layout().init(&engine.setup().model.clone(), Init::Kaiming, 0);
        weights[0] = f64::NAN;
        engine.upload(Slot::Live, 0, &weights).unwrap();
        assert!(engine.evaluate(Part::Test, &[Slot::Live]).unwrap()[0].loss.is_nan(), "{}", engine.describe());
    };
    check(&mut CpuEngine::<f32>::new(setup.clone()).unwrap());
    let Some(gpu) = common::gpu() else { return };
    check(&mut GpuEngine::new(gpu, setup, Options::default()).unwrap());
}

#[test]
fn too_little_memory_is_told_in_bytes() {
    let Some(gpu) = common::gpu() else { return };
    let options = Options { memory: Some(1000), ..Options::default() };
    match GpuEngine::new(gpu, setup(1, 64), options).err() {
        Some(Error::DeviceMemory { needed, offered: 1000, .. }) => assert!(needed > 1_000_000, "{needed}"),
        other => panic!("{other:?}"),
    }
    let gpu = common::gpu().unwrap();
    let binding = gpu.description.binding_bytes;
    let hidden = (binding / 3072 / 4) as usize + 64;
    let setup = setup(1, 64);
    let model = Mlp::new(3072, 10).hidden([hidden]);
    match GpuEngine::new(gpu, Setup { model, ..setup }, Options::default()).err() {
        Some(error @ Error::DeviceMemory { .. }) => {
            assert!(error.to_string().contains(&binding.to_string()), "{error}")
        }
        other => panic!("{other:?}"),
    }
}
