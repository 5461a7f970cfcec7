//! Weighted losses and the scores of predictions, against PyTorch and scikit-learn (`tests/golden/scores.py`).

use crate::common;

use std::sync::Arc;

use common::small::{N, dataset, on_each_engine, setup};
use common::{Tolerance, assert_close};
use serde_json::Value;
use thalweg::data::{Augment, Dataset, Samples, Targets};
use thalweg::engine::{Engine, Gradient, Setup, Slot, Step, initialize};
use thalweg::internals::cpu::{Weighting, softmax_cross_entropy};
use thalweg::loss::{ClassWeights, Loss};
use thalweg::model::Init;
use thalweg::schedule::Rate;
use thalweg::score::{ClassScores, Scores};

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/scores.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn labels(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

/// Some dozens of roundings in f64.
const CLOSE: Tolerance = Tolerance { abs: 1e-14, rel: 1e-13 };

#[test]
fn class_weights_are_those_of_pytorch() {
    for case in golden()["losses"].as_array().unwrap() {
        let (labels, weight, z) = (labels(&case["labels"]), numbers(&case["weight"]), numbers(&case["z"]));
        let (rows, classes) = (labels.len(), weight.len());
        // Rows are padded to a whole number of vec4s.
        let padded: Vec<f64> = z.chunks(classes).flat_map(|row| [row, &[0.0; 3]].concat()).collect();
        let (mut dz, mut loss, mut correct) = (vec![0.0; rows * 8], vec![0.0; rows], vec![false; rows]);
        let (samples, order): (Vec<f64>, Vec<u32>) = (vec![1.0; rows], (0..rows as u32).collect());
        let weighting = Some(Weighting { samples: &samples, classes: &weight });
        let total: f64 = labels.iter().map(|&label| weight[label as usize]).sum();
        let smoothing = case["smoothing"].as_f64().unwrap();
        softmax_cross_entropy(
            classes,
            smoothing,
            total,
            &order,
            None,
            &labels,
            weighting,
            &padded,
            &mut dz,
            &mut loss,
            &mut correct,
        );
        let dz: Vec<f64> = dz.chunks(8).flat_map(|row| row[..classes].to_vec()).collect();
        assert_close("dz", &dz, &numbers(&case["dz"]), CLOSE);
        let mean = loss.iter().sum::<f64>() / total;
        assert_close("loss", &[mean], &[case["loss"].as_f64().unwrap()], CLOSE);
    }
}

#[test]
fn scores_are_those_of_scikit_learn() {
    for case in golden()["classes"].as_array().unwrap() {
        let targets = Targets::Labels(labels(&case["labels"]));
        let Scores::Classes(scores) = Scores::of(&targets, &[numbers(&case["z"])], Loss::CrossEntropy) else {
            panic!()
        };
        assert_eq!(serde_json::to_value(&scores.confusion).unwrap(), case["confusion"]);
        let each = |f: fn(&thalweg::score::ClassScore) -> f64| scores.per_class.iter().map(f).collect::<Vec<_>>();
        assert_close("precision", &each(|c| c.precision), &numbers(&case["precision"]), CLOSE);
        assert_close("recall", &each(|c| c.recall), &numbers(&case["recall"]), CLOSE);
        assert_close("f1", &each(|c| c.f1), &numbers(&case["f1"]), CLOSE);
        assert_close("support", &each(|c| c.support as f64), &numbers(&case["support"]), CLOSE);
        let error = case["calibration_error"].as_f64().unwrap();
        assert_close("calibration", &[scores.calibration_error.unwrap()], &[error], CLOSE);
        let top5 = (scores.per_class.len() > 10).then(|| case["top5"].as_f64().unwrap());
        assert_eq!(scores.top5_accuracy, top5);
        // The last class has no samples.
        let counts: Vec<usize> = scores.per_class.iter().map(|c| c.support as usize).collect();
        let balanced = ClassWeights::Balanced.of(&counts);
        assert_close("balanced", &balanced, &[numbers(&case["balanced"]), vec![0.0]].concat(), CLOSE);
    }
    for case in golden()["values"].as_array().unwrap() {
        let width = case["width"].as_u64().unwrap() as usize;
        let targets = Targets::Values { width, values: numbers(&case["targets"]) };
        let Scores::Values(scores) = Scores::of(&targets, &[numbers(&case["said"])], Loss::Mse) else { panic!() };
        let want = ["rmse", "mae", "r2"].map(|key| case[key].as_f64().unwrap());
        assert_close("values", &[scores.rmse, scores.mae, scores.r2], &want, Tolerance { abs: 1e-12, rel: 1e-12 });
        let each: Vec<f64> = scores.per_target.iter().map(|s| s.r2).collect();
        let want = if width > 1 { numbers(&case["r2_each"]) } else { Vec::new() };
        assert_close("r2 of each", &each, &want, Tolerance { abs: 1e-12, rel: 1e-12 });
    }
}

/// What cannot be divided by is said as scikit-learn says it, and the answers of replicas count together.
#[test]
fn scores_have_no_holes() {
    let said = [vec![2.0, 1.0, 2.0, 1.0], vec![1.0, 2.0, 2.0, 1.0]];
    let scores = Scores::of(&Targets::Labels(vec![0, 0]), &said, Loss::Mse);
    let Scores::Classes(ClassScores { confusion, per_class, calibration_error, .. }) = scores else { panic!() };
    assert_eq!(confusion, [[3, 1], [0, 0]]);
    assert_eq!((per_class[1].precision, per_class[1].recall, per_class[1].f1), (0.0, 0.0, 0.0));
    assert_eq!((per_class[0].recall, calibration_error), (0.75, None));
    let constant = |said: f64| {
        let targets = Targets::Values { width: 1, values: vec![0.1; 3] };
        let Scores::Values(scores) = Scores::of(&targets, &[vec![said; 3]], Loss::Mse) else { panic!() };
        scores.r2
    };
    assert_eq!((constant(0.1), constant(0.2)), (1.0, 0.0));
    let one = Scores::of(&Targets::Values { width: 1, values: vec![1.0] }, &[vec![2.0]], Loss::Mse);
    let Scores::Values(one) = one else { panic!() };
    assert!(one.r2.is_nan() && one.rmse == 1.0);
    // So many classes that a matrix of them would not fit.
    let labels = Targets::Labels(vec![0, 49_999]);
    let mut said = vec![0.0; 100_000];
    (said[0], said[50_000]) = (1.0, 1.0);
    let Scores::Classes(many) = Scores::of(&labels, &[said], Loss::Mse) else { panic!() };
    assert!(many.confusion.is_empty() && many.per_class[0].recall == 1.0 && many.per_class[49_999].recall == 0.0);
}

/// The setup of `tests/common/small.rs` with the samples from 64 on counting `others`, and the rest `own`.
fn weighted(own: f64, others: f64) -> Setup {
    let data = dataset();
    let data = data.weighted((0..N).map(|i| if i < 64 { own } else { others }).collect()).unwrap();
    Setup { dataset: Arc::new(data), ..setup() }
}

fn train(mut engine: Box<dyn Engine>, steps: u64) -> (Vec<f64>, Vec<f64>) {
    let (replicas, batch) = (engine.setup().replicas, engine.setup().batch);
    initialize(engine.as_mut(), Init::Pytorch).unwrap();
    let n = engine.setup().dataset.train.len();
    engine.set_order(&vec![(0..n as u32).collect(); replicas]).unwrap();
    let step = |index| {
        let first = (index as usize * batch) % n;
        let rates = vec![Rate { lr: 0.3, momentum: 0.9 }; replicas];
        Step { index, first, rows: batch.min(n - first), rates, ..Step::default() }
    };
    let mut metrics = engine.run(&(0..steps).map(step).collect::<Vec<_>>()).unwrap();
    metrics.extend(engine.wait().unwrap());
    let losses = metrics.iter().map(|m| m.loss).collect();
    (engine.download(Slot::Live, replicas - 1).unwrap(), losses)
}

/// A step's loss is a mean: weights of 1 and of 3 change nothing, and samples of weight 0 are as good as not there.
#[test]
fn weights_of_samples_are_relative() {
    let close = |eps: f64| Tolerance { abs: 100.0 * eps, rel: 100.0 * eps };
    let all = |setup: &Setup| {
        let results = std::cell::RefCell::new(Vec::new());
        on_each_engine(setup, |engine, eps| results.borrow_mut().push((train(engine, 4), eps)));
        results.into_inner()
    };
    let (plain, ones, threes) = (all(&setup()), all(&weighted(1.0, 1.0)), all(&weighted(3.0, 3.0)));
    for ((plain, ones), threes) in plain.iter().zip(&ones).zip(&threes) {
        assert_close("ones", &ones.0.0, &plain.0.0, close(plain.1));
        assert_close("threes", &threes.0.0, &plain.0.0, close(plain.1));
        assert_close("losses", &threes.0.1, &plain.0.1, close(plain.1));
    }
    // A step over all samples, of which the last 32 do not count, against one over the first 64.
    let whole = Setup { batch: N, ..weighted(2.0, 0.0) };
    let first = Setup { batch: 64, ..setup() };
    for (whole, first) in all(&whole).iter().zip(&all(&first)) {
        assert_close("the first step", &whole.0.1[..1], &first.0.1[..1], close(first.1));
    }
    let gradient = |setup: &Setup, rows: usize| {
        let mut engine = thalweg::cpu::CpuEngine::<f64>::new(setup.clone()).unwrap();
        initialize(&mut engine, Init::Pytorch).unwrap();
        engine.set_order(&[(0..N as u32).collect()]).unwrap();
        let step = Step { rows, rates: vec![Rate::default()], ..Step::default() };
        engine.gradient(&step, Gradient::Plain).unwrap();
        engine.download(Slot::Gradient, 0).unwrap()
    };
    assert_close("gradient", &gradient(&whole, N), &gradient(&first, 64), close(f64::EPSILON));
}

/// Only ratios count, so that no weight is too large or too small for f32.
#[test]
fn weights_may_have_any_size() {
    for size in [1e-300, 1e38, 1e300] {
        let class_weights: Vec<f64> = [1.0, 2.5, 4.0].map(|w| w * size).to_vec();
        let [plain, sized] = [vec![1.0, 2.5, 4.0], class_weights].map(|class_weights| {
            let results = std::cell::RefCell::new(Vec::new());
            let setup = Setup { class_weights, ..weighted(size, size / 4.0) };
            on_each_engine(&setup, |engine, eps| results.borrow_mut().push((train(engine, 4).0, eps)));
            results.into_inner()
        });
        for ((plain, eps), (sized, _)) in plain.iter().zip(&sized) {
            assert_close("weights", sized, plain, Tolerance { abs: 100.0 * eps, rel: 100.0 * eps });
        }
    }
}

/// A step of several passes divides by the weights of the whole step; one in which nothing counts changes nothing.
#[test]
fn weights_count_over_the_whole_step() {
    let n = 5000;
    let x: Vec<f32> = (0..n * 3).map(|i| ((i * 37 % 101) as f32 - 50.0) / 30.0).collect();
    let part = Samples::labelled(x, (0..n as u32).map(|i| i * 7 % 3)).weighted((0..n).map(|i| (i % 5) as f64));
    let data = Arc::new(Dataset::new("rows", [3, 1, 1], part, None).unwrap());
    let class_weights = vec![1.0, 0.25, 4.0];
    let model = thalweg::Mlp::new(3, 3).hidden([4]);
    let setup = Setup { class_weights, batch: n, replicas: 2, ..Setup::new(model, data.clone()) };
    let setup = Setup { label_smoothing: 0.1, ..setup };
    let losses = std::cell::RefCell::new(Vec::new());
    on_each_engine(&setup, |engine, _| losses.borrow_mut().push(train(engine, 2).1));
    let losses = losses.into_inner();
    for other in &losses[1..] {
        // Sums of 5,000 losses in f32, each by itself rounded some twenty times.
        assert_close("losses", other, &losses[0], Tolerance { abs: 0.0, rel: 1e-5 });
    }
    let nothing = Setup { class_weights: vec![0.0, 0.0, 1.0], batch: 1, ..setup };
    on_each_engine(&nothing, |mut engine, _| {
        initialize(engine.as_mut(), Init::Pytorch).unwrap();
        engine.set_order(&vec![(0..n as u32).collect(); 2]).unwrap();
        let step = Step { rows: 1, rates: vec![Rate::default(); 2], ..Step::default() };
        let metrics = engine.gradient(&step, Gradient::Plain).unwrap();
        assert_eq!(metrics[0].loss, 0.0);
        assert!(engine.download(Slot::Gradient, 1).unwrap().iter().all(|&g| g == 0.0));
    });
}

/// Evaluations count every sample alike.
#[test]
fn evaluation_takes_no_weights() {
    use thalweg::data::Part;
    let evaluate = |setup: &Setup| {
        let results = std::cell::RefCell::new(Vec::new());
        on_each_engine(setup, |mut engine, _| {
            initialize(engine.as_mut(), Init::Pytorch).unwrap();
            let both = [Part::Train, Part::Test].map(|part| engine.evaluate(part, &[Slot::Live]).unwrap());
            results.borrow_mut().push(both);
        });
        results.into_inner()
    };
    let class_weights = vec![5.0, 0.0, 1.0];
    assert_eq!(evaluate(&setup()), evaluate(&Setup { class_weights, ..weighted(3.0, 0.0) }));
}

/// What the device does with mixed, weighted samples, it does replica by replica as alone.
#[test]
fn replicas_weigh_as_alone() {
    let augment = Augment { mixup: 0.4, ..Augment::default() };
    let setup = Setup { class_weights: vec![2.0, 0.5, 1.0], augment, ..weighted(1.0, 2.5) };
    let ends = |setup: &Setup| {
        let ends = std::cell::RefCell::new(Vec::new());
        on_each_engine(setup, |engine, _| ends.borrow_mut().push(train(engine, 6).0));
        ends.into_inner()
    };
    assert_eq!(ends(&Setup { replicas: 2, ..setup.clone() }), ends(&Setup { seed: 1, ..setup }));
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let refused = |setup: Setup| thalweg::cpu::CpuEngine::<f64>::new(setup).err().unwrap().to_string();
    let classes = |class_weights: Vec<f64>| refused(Setup { class_weights, ..setup() });
    assert_eq!(classes(vec![1.0; 2]), "model.class_weights: expected 3, one a class, found 2");
    assert_eq!(classes(vec![1.0, -1.0, 1.0]), "model.class_weights: expected numbers of at least 0, found -1");
    assert_eq!(classes(vec![0.0; 3]), "model.class_weights: expected some above 0, found none");
    let samples = |weights: Vec<f64>| dataset().weighted(weights).unwrap_err().to_string();
    assert_eq!(samples(vec![1.0; 3]), "rows: train: expected 96 weights, one a sample, found 3");
    let mut weights = vec![1.0; N];
    weights[7] = f64::NAN;
    assert_eq!(samples(weights), "rows: train: expected weights of at least 0, found NaN of sample 7");
    assert_eq!(samples(vec![0.0; N]), "rows: train: expected some weights above 0, found none");
}
