//! Forms of the products train the same: those with the update in them, those that were measured, and split sums.

use crate::common;

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use thalweg::activation::Activation;
use thalweg::average::Average;
use thalweg::engine::{Choice, Forms, Setup};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::internals::forms::{Form, Shape, Variant};
use thalweg::internals::kernels::{Product, Stored};
use thalweg::model::{Mlp, Norm};
use thalweg::optimizer::{Decay, Optimizer};

use crate::traces::{EMA, setup, trained};

/// Where nobody asks for the gradient, weights are updated as it is made: the same up to rounding as by clipping to a norm
/// that no gradient reaches, and bit for bit for replicas. Measured forms are replayed bit for bit.
#[test]
fn fused_updates_and_measured_forms_train_the_same() {
    static MEASURED: AtomicUsize = AtomicUsize::new(0);
    let Some(gpu) = common::gpu() else { return };
    drop(gpu);
    for optimizer in [
        Optimizer::sgd(0.05).momentum(0.9).weight_decay(1e-3).nesterov(),
        Optimizer::Adamw { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-3, weight_decay: 0.01, amsgrad: true },
    ] {
        let setup = |clip_norm, replicas, norm| {
            let setup = setup(replicas, 64);
            let model = Mlp { norm, ..setup.model.clone() };
            Setup { model, optimizer, clip_norm, decay: Decay::Weights, ..setup }
        };
        let run = |setup, options| {
            let (trace, engine) = trained(Box::new(GpuEngine::new(common::gpu().unwrap(), setup, options).unwrap()));
            (trace, engine.forms())
        };
        let (fused, built_in) = run(setup(None, 2, Norm::Layer), Options::default());
        assert!(built_in.products.values().all(|choice| choice.microseconds.is_none()));
        let (alone, _) = run(setup(None, 1, Norm::Layer), Options::default());
        assert!(fused.replica(0) == alone, "{optimizer:?}: replicas change bits");
        let (separate, _) = run(setup(Some(1e9), 2, Norm::Layer), Options::default());
        // Twelve steps, each rounding weights below 2 and moving them by a few times the rate times the last place of a
        // gradient: 12 · 2⁻²² and as much again, grown by the steps between.
        let far = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let worst = far(&fused.weights[0][0], &separate.weights[0][0]);
        assert!(worst < 3e-5, "{optimizer:?}: the fused update is off by {worst:e}");

        let measure =
            Options { measure: true, tell: Some(|_| _ = MEASURED.fetch_add(1, Relaxed)), ..Options::default() };
        let (measured, forms) = run(setup(None, 2, Norm::None), measure.clone());
        assert!(forms.products.values().any(|choice| choice.microseconds.is_some()), "nothing was measured");
        let before = MEASURED.load(Relaxed);
        assert!(before > 0);
        let replay = Options { forms: forms.clone(), ..measure };
        let (replayed, again) = run(setup(None, 2, Norm::None), replay);
        assert!(measured == replayed, "{optimizer:?}: a recorded choice changes bits");
        assert_eq!((again, MEASURED.load(Relaxed)), (forms, before), "what is known is not measured");
    }
}

/// Sums that are split over workgroups train the same up to rounding, bit for bit the same again, and bit for bit for
/// replicas: those of the products with the weights in small batches, those of the weight gradient in a large one.
#[test]
fn split_sums_train_the_same() {
    let Some(gpu) = common::gpu() else { return };
    for (batch, of) in [(64, &["linear", "linear_dx"][..]), (330, &["linear_dw"])] {
        let run = |replicas, forms| {
            let model = Mlp::new(3072, 10).hidden([37, 300]).activation(Activation::Silu);
            let average = Average { ema: Some(EMA), ..Average::default() };
            let setup = Setup { model, clip_norm: None, average, ..setup(replicas, batch) };
            let options = Options { forms, ..Options::default() };
            let (trace, engine) = trained(Box::new(GpuEngine::new(common::gpu().unwrap(), setup, options).unwrap()));
            (trace, engine.forms())
        };
        // By kernel and shape, as `linear 64x3072x37`.
        let split = |key: &str| {
            let mut words = key.split(' ');
            let product = Product::named(words.clone().next().unwrap()).unwrap();
            let sizes: Vec<usize> = words.nth(1).unwrap().split('x').map(|n| n.parse().unwrap()).collect();
            let [rows, inputs, outputs] = sizes[..] else { panic!("{key}") };
            let shape = Shape { replicas: 2, rows, inputs, outputs, stored: Stored::F32 };
            let mut candidates = Form::candidates(&gpu, product, shape, gpu.lanes()).into_iter();
            candidates.find(|form| form.variant == Variant::Split)
        };
        let (built_in, forms) = run(2, Forms::default());
        let choose = |(key, choice): (&String, &Choice)| {
            let form = split(key).filter(|_| of.iter().any(|name| key.split(' ').next() == Some(name)));
            (key.clone(), form.map_or(choice.clone(), |form| Choice { form: form.to_string(), ..choice.clone() }))
        };
        let recorded = Forms { products: forms.products.iter().map(choose).collect(), ..forms };
        let (trained, used) = run(2, recorded.clone());
        for name in of {
            let is_split = |(key, choice): (&String, &Choice)| {
                key.starts_with(&format!("{name} ")) && choice.form.parse::<Form>().unwrap().parts > 1
            };
            assert!(used.products.iter().any(is_split), "{used:?}");
        }
        // As for the fused update: twelve steps, each rounding weights below 2 and moving them by a few times the rate
        // times the last place of a gradient.
        let weights = built_in.weights[0][0].iter().zip(&trained.weights[0][0]);
        let far = weights.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far > 0.0 && far < 3e-5, "split sums are off by {far:e}");
        assert!(run(2, recorded.clone()).0 == trained, "a recorded choice changes bits");
        assert!(run(1, recorded).0 == trained.replica(0), "replicas change bits");
    }
}
