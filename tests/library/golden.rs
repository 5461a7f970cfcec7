//! Both engines against PyTorch's own numbers (float64, `tests/golden`): optimizers, and whole training runs.

use crate::common;

use std::path::Path;
use std::sync::Arc;

use common::{Tolerance, assert_close};
use safetensors::SafeTensors;
use serde_json::Value;
use thalweg::activation::Activation;
use thalweg::cpu::CpuEngine;
use thalweg::data::{Dataset, Features, Order, Part, Samples, Targets};
use thalweg::engine::{Curvature, Engine, Layout, Setup, Slot, Step, Tensor};
use thalweg::gpu::adapter::Gpu;
use thalweg::gpu::{GpuEngine, Options};
use thalweg::internals::cpu::{Constants, update};
use thalweg::internals::{Dispatch, kernels};
use thalweg::loss::Loss;
use thalweg::model::{Mlp, Norm};
use thalweg::number::Real;
use thalweg::optimizer::Optimizer;
use thalweg::plan::Plan;
use thalweg::schedule::Rate;
use thalweg::train::Trainer;

fn golden(file: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// PyTorch's arguments are ours.
fn optimizer(name: &Value, args: &Value, lr: f64) -> Optimizer {
    let mut table = args.clone();
    table["name"] = name.clone();
    table["lr"] = lr.into();
    serde_json::from_value(table).unwrap()
}

fn run_optimizer<T: Real>(optimizer: Optimizer, start: &[f64], grads: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut w: Vec<T> = start.iter().map(|&x| T::of(x)).collect();
    let mut state = vec![vec![T::of(0.0); w.len()]; optimizer.state_vectors()];
    let base = optimizer.rate();
    let mut after = Vec::new();
    for (t, g) in grads.iter().enumerate() {
        let g: Vec<T> = g.iter().map(|&x| T::of(x)).collect();
        let c: Constants<T> = optimizer.coefficients(t as u64 + 1, base).into();
        let mut vectors: Vec<&mut [T]> = state.iter_mut().map(Vec::as_mut_slice).collect();
        update(optimizer.rule(), &c, T::of(1.0), &g, &mut w, &mut vectors);
        after.push(w.iter().map(|x| x.to_f64()).collect());
    }
    after
}

/// The same by the optimizer's kernel, whose buffers go on from update to update.
fn run_kernel(gpu: &Gpu, optimizer: Optimizer, start: &[f64], grads: &[Vec<f64>]) -> Vec<f64> {
    let words = |values: &[f64]| -> Vec<u32> {
        let mut words: Vec<u32> = values.iter().map(|&v| (v as f32).to_bits()).collect();
        words.resize(words.len().next_multiple_of(4), 0);
        words
    };
    let kernels::Update { kernel, flag, .. } = kernels::update(optimizer.rule());
    let base = optimizer.rate();
    let params = start.len().div_ceil(4) as u32;
    let args = kernels::UpdateArgs { params, first: 0, trained: params, decayed: params };
    let scaling = bytemuck::cast_slice(&[kernels::Scaling::new(1.0)]).to_vec();
    let state = vec![0; 3 * words(start).len()];
    let mut buffers = vec![scaling, Vec::new(), words(start), state, vec![0; 4]];
    let mut after = Vec::new();
    for (t, g) in grads.iter().enumerate() {
        buffers[1] = words(g);
        let dispatch = Dispatch {
            kernel: &kernel,
            entry_point: "main",
            constants: &[flag],
            args: bytemuck::bytes_of(&args),
            pass: kernels::Pass { replicas: 1, ..Default::default() },
            coefficients: &[optimizer.coefficients(t as u64 + 1, base).into()],
            grid: [1, 1, 1],
        };
        buffers = dispatch.run(gpu, &buffers).unwrap();
        after.extend(buffers[2][..start.len()].iter().map(|&w| f64::from(f32::from_bits(w))));
    }
    after
}

/// f64 to 1e-12, and f32 as near as f32 allows: the weights are below 4, each of the 12 updates rounds the weight by
/// at most 2⁻²³·4/2 and the step, of size lr times a few units of the last place of a direction below 20, far less.
#[test]
fn optimizers_follow_pytorch() {
    let file: Value = serde_json::from_slice(&golden("optimizers.json")).unwrap();
    let start = numbers(&file["start"]);
    let grads: Vec<Vec<f64>> = file["grads"].as_array().unwrap().iter().map(numbers).collect();
    let cases = file["optimizers"].as_array().unwrap();
    assert_eq!(cases.len(), 16);
    let gpu = common::gpu();
    let f32_tolerance = Tolerance { abs: 12.0 * 2.4e-7 + 4e-6, rel: 0.0 };
    for case in cases {
        let optimizer = optimizer(&case["name"], &case["args"], case["lr"].as_f64().unwrap());
        let want: Vec<f64> = case["params"].as_array().unwrap().iter().flat_map(numbers).collect();
        let name = format!("{} {}", case["name"], case["args"]);
        let got = run_optimizer::<f64>(optimizer, &start, &grads).concat();
        assert_close(&name, &got, &want, Tolerance { abs: 0.0, rel: 1e-12 });
        let got = run_optimizer::<f32>(optimizer, &start, &grads).concat();
        assert_close(&format!("{name} in f32"), &got, &want, f32_tolerance);
        if let Some(gpu) = &gpu {
            let got = run_kernel(gpu, optimizer, &start, &grads);
            assert_close(&format!("{name} on the GPU"), &got, &want, f32_tolerance);
        }
    }
}

/// One network of `mlp.json` with everything PyTorch computed for it.
struct Case {
    name: String,
    setup: Setup,
    layout: Layout,
    losses: Vec<f64>,
    tensors: Vec<(String, Tensor)>,
}

impl Case {
    /// A gradient has no running statistics: they are 0, as those of the engines.
    fn vector(&self, prefix: &str) -> Vec<f64> {
        let mut tensors: Vec<Tensor> =
            self.tensors.iter().filter(|(p, _)| p == prefix).map(|(_, tensor)| tensor.clone()).collect();
        if prefix == "grad0" {
            let is_statistic = |name: &str| name.contains("running") || name.contains("tracked");
            let statistics = self.layout.names().into_iter().filter(|(name, _)| is_statistic(name));
            tensors.extend(statistics.map(|(name, shape)| {
                let values = vec![0.0; shape.iter().product()];
                Tensor { name, shape, values }
            }));
        }
        self.layout.pack(&tensors).unwrap()
    }
}

fn f64s(file: &SafeTensors, name: &str) -> Vec<f64> {
    file.tensor(name).unwrap().data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
}

fn cases() -> Vec<Case> {
    let file: Value = serde_json::from_slice(&golden("mlp.json")).unwrap();
    file["cases"].as_array().unwrap().iter().map(load_case).collect()
}

fn load_case(case: &Value) -> Case {
    let bytes = golden(case["file"].as_str().unwrap());
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let widths: Vec<usize> = numbers(&case["sizes"]).into_iter().map(|x| x as usize).collect();
    let activation: Activation = serde_json::from_value(case["activation"].clone()).unwrap();
    let model =
        Mlp::new(widths[0], widths[widths.len() - 1]).hidden(&widths[1..widths.len() - 1]).activation(activation);
    let norm = if case["batch_norm"] == true { Norm::Batch } else { Norm::None };
    let model = Mlp { norm, ..model };
    let layout = Layout::new(&model);
    let target = file.tensor("target").unwrap();
    let targets = match case["loss"].as_str().unwrap() {
        "mse" => Targets::Values { width: widths[widths.len() - 1], values: f64s(&file, "target") },
        _ => Targets::Labels(
            target.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect(),
        ),
    };
    let features = Features::F64(f64s(&file, "x"));
    let dataset =
        Dataset::new("golden", [widths[0], 1, 1], Samples { features, targets, weights: None }, None).unwrap();
    let tensors = file
        .tensors()
        .into_iter()
        .filter_map(|(name, view)| {
            let (prefix, rest) = name.split_once('.')?;
            let mut values = f64s(&file, &name);
            if rest.ends_with("num_batches_tracked") {
                values = vec![values[0].to_bits() as f64];
            }
            let tensor = Tensor { name: rest.into(), shape: view.shape().to_vec(), values };
            Some((prefix.to_string(), tensor))
        })
        .collect();
    let args = &case["optimizer_args"];
    let setup = Setup {
        loss: if case["loss"] == "mse" { Loss::Mse } else { Loss::CrossEntropy },
        label_smoothing: case["label_smoothing"].as_f64().unwrap(),
        optimizer: optimizer(&case["optimizer"], args, args["lr"].as_f64().unwrap()),
        average: serde_json::from_value(serde_json::json!({"swa": {"after_updates": case["swa_after_updates"]}}))
            .unwrap(),
        replicas: 2,
        batch: case["batch"].as_u64().unwrap() as usize,
        ..Setup::new(model, Arc::new(dataset))
    };
    Case { name: case["name"].to_string(), setup, layout, losses: numbers(&case["losses"]), tensors }
}

/// First gradients, 25 losses, averaged and final weights; both replicas start alike and must stay so.
fn replay(case: &Case, mut engine: Box<dyn Engine>, tolerance: Tolerance) {
    let name = |what: &str| format!("{} on {}: {what}", case.name, engine_name(tolerance));
    for r in 0..2 {
        engine.upload(Slot::Live, r, &case.vector("init")).unwrap();
    }
    let order = Order::Sequential.permutation(case.setup.dataset.train.len(), 0, 0);
    engine.set_order(&[order.clone(), order]).unwrap();
    let rates = vec![Rate::default(); 2];
    let first = Step { index: 0, first: 0, rows: case.setup.batch, rates, ..Step::default() };
    for (loss, gradient) in engine.gradients(&first).unwrap() {
        assert_close(&name("first loss"), &[loss], &case.losses[..1], tolerance);
        assert_close(&name("first gradient"), &gradient, &case.vector("grad0"), tolerance);
    }

    let plan = Plan { epochs: 1, order: Order::Sequential, ..Plan::default() };
    let mut trainer = Trainer::new(engine, plan).unwrap();
    let mut losses = [Vec::new(), Vec::new()];
    trainer.epoch_with(&mut common::keep(&mut losses)).unwrap();
    let mut engine = trainer.into_engine();
    for (r, losses) in losses.iter().enumerate() {
        assert_close(&name("losses"), losses, &case.losses, tolerance);
        // PyTorch's mean has the statistics of the last weights; ours are renewed.
        let trained = case.layout.trained;
        let swa = engine.download(Slot::Swa, r).unwrap();
        assert_close(&name("SWA weights"), &swa[..trained], &case.vector("swa")[..trained], tolerance);
        if case.setup.model.norm == Norm::Batch {
            let (got, want) = (statistics(case, &swa), renewed_statistics(case, &case.vector("swa")));
            assert_close(&name("SWA statistics"), &got, &want, tolerance);
        }
        assert_close(
            &name("final weights"),
            &engine.download(Slot::Live, r).unwrap(),
            &case.vector("final"),
            tolerance,
        );
    }
    assert!(engine.evaluate(Part::Test, &[Slot::Live]).is_err(), "there is no test part");
}

/// Mean, variance and number of batches of the first layer's running statistics.
fn statistics(case: &Case, flat: &[f64]) -> Vec<f64> {
    let tensors = case.layout.unpack(flat);
    let tensor = |name: &str| tensors.iter().find(|t| t.name == name).unwrap().values.clone();
    [tensor("1.running_mean"), tensor("1.running_var"), tensor("1.num_batches_tracked")].concat()
}

/// The same as `torch.optim.swa_utils.update_bn` makes them: the mean over the batches of their means, and of their
/// variances divided by n − 1.
fn renewed_statistics(case: &Case, flat: &[f64]) -> Vec<f64> {
    let tensors = case.layout.unpack(flat);
    let Features::F64(x) = &case.setup.dataset.train.features else { panic!("the features are f64") };
    let (inputs, outputs, batch) = (case.setup.model.widths[0], case.setup.model.widths[1], case.setup.batch);
    let batches: Vec<&[f64]> = x.chunks(inputs * batch).collect();
    let (mut mean, mut variance) = (vec![0.0; outputs], vec![0.0; outputs]);
    for rows in &batches {
        for o in 0..outputs {
            let w = &tensors[0].values[o * inputs..][..inputs];
            let z = |row: &[f64]| row.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() + tensors[1].values[o];
            let z: Vec<f64> = rows.chunks(inputs).map(z).collect();
            let m = z.iter().sum::<f64>() / batch as f64;
            mean[o] += m / batches.len() as f64;
            let squares: f64 = z.iter().map(|z| (z - m) * (z - m)).sum();
            variance[o] += squares / (batch - 1) as f64 / batches.len() as f64;
        }
    }
    [mean, variance, vec![batches.len() as f64]].concat()
}

fn engine_name(tolerance: Tolerance) -> &'static str {
    if tolerance.rel < 1e-9 { "f64" } else { "f32" }
}

/// 1e-10: sums of at most 130 products in another order than PyTorch's, 25 times over, are off by 25·130·ε ≈ 7e-13
/// relative to their terms, which cancel to a hundredth at most.
#[test]
fn networks_follow_pytorch_in_f64() {
    for case in cases() {
        let engine = CpuEngine::<f64>::new(case.setup.clone()).unwrap();
        replay(&case, Box::new(engine), Tolerance { abs: 1e-10, rel: 1e-10 });
    }
}

/// The same count in f32, ε = 6e-8: a weight below 1 is rounded 25 times (1.5e-6), and each update carries the
/// gradient's error, √130·ε relative to its largest terms, times the rate. Adam divides by √v, which is as small as
/// the gradient itself: an error relative to the gradient's largest terms becomes one relative to lr = 3e-3 a step.
/// 2e-5 is above the sum of these by about two.
const F32: Tolerance = Tolerance { abs: 2e-5, rel: 2e-5 };

#[test]
fn networks_follow_pytorch_in_f32() {
    for case in cases() {
        let engine = CpuEngine::<f32>::new(case.setup.clone()).unwrap();
        replay(&case, Box::new(engine), F32);
    }
}

#[test]
fn networks_follow_pytorch_on_the_gpu() {
    for case in cases() {
        let Some(gpu) = common::gpu() else { return };
        let engine = GpuEngine::new(gpu, case.setup.clone(), Options::default()).unwrap();
        replay(&case, Box::new(engine), F32);
    }
}

/// The flat vector of tensors by name, 0 where the file names none.
fn flat(layout: &Layout, tensors: &Value) -> Vec<f64> {
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let len = shape.iter().product();
        let values = tensors.get(&name).map_or(vec![0.0; len], |tensor| numbers(&tensor["values"]));
        Tensor { name, shape, values }
    };
    layout.pack(&layout.names().into_iter().map(tensor).collect::<Vec<_>>()).unwrap()
}

/// The gradient of the evaluated loss, and products with its second derivatives; in f64 to rounding, on the GPU within that of
/// sums of ten terms through six products and a normalisation.
#[test]
fn curvature() {
    let golden: Value = serde_json::from_slice(&golden("curvature.json")).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let features = numbers(&case["features"]);
        let samples = match case.get("labels") {
            Some(labels) => Samples::labelled(features, numbers(labels).into_iter().map(|label| label as u32)),
            None => Samples::valued(features, numbers(&case["values"]), 3),
        };
        let dataset = Arc::new(Dataset::new("golden", [4, 1, 1], samples, None).unwrap());
        let activation: Activation = serde_json::from_value(case["activation"].clone()).unwrap();
        let norm: Norm = serde_json::from_value(case["norm"].clone()).unwrap();
        let residual = case["residual"].as_bool().unwrap();
        let model = Mlp { residual, ..Mlp::new(4, 3).hidden([4, 4]).activation(activation).norm(norm) };
        let setup = Setup::new(model, dataset);
        let rounding = |eps: f64| Tolerance { abs: 6.0 * 4.0 * 10f64.sqrt() * 8.0 * eps, rel: 0.0 };
        let mut engines: Vec<(Box<dyn Engine>, Tolerance)> =
            vec![(Box::new(CpuEngine::<f64>::new(setup.clone()).unwrap()), rounding(f64::EPSILON))];
        if let Some(gpu) = common::gpu() {
            let engine = GpuEngine::new(gpu, setup.clone(), Options::default()).unwrap();
            engines.push((Box::new(engine), rounding(f64::from(f32::EPSILON))));
        }
        for (mut engine, tolerance) in engines {
            let layout = engine.layout().clone();
            engine.set_order(&[(0..7).collect()]).unwrap();
            engine.upload(Slot::Live, 0, &flat(&layout, &case["weights"])).unwrap();
            let [x, into] = [Slot::Scratch(0), Slot::Scratch(1)];
            engine.allocate(x).unwrap();
            engine.allocate(into).unwrap();
            engine.upload(x, 0, &flat(&layout, &case["v"])).unwrap();
            engine.slope(0..7).unwrap();
            let mut found = vec![("gradient", engine.download(Slot::Gradient, 0).unwrap())];
            for (name, of) in [("hessian", Curvature::Hessian), ("gauss_newton", Curvature::GaussNewton)] {
                engine.curve(of, 0..7, x, into).unwrap();
                found.push((name, engine.download(into, 0).unwrap()));
            }
            for (what, got) in found {
                let want = flat(&layout, &case[what]);
                let largest = want.iter().fold(1.0f64, |max, v| max.max(v.abs()));
                let name = format!("{activation:?} {norm:?} residual {residual}: {what}, {}", engine.describe());
                assert_close(&name, &got, &want, Tolerance { abs: tolerance.abs * largest, ..tolerance });
            }
        }
    }
}
