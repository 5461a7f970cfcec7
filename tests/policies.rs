//! What happens to a run beside its steps: averages, snapshots, lookahead, stopping, resuming, and what is random.

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::program::{fails, json, lines, ok, table};
use common::{Tolerance, assert_close};
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;
use thalweg::activation::Activation;
use thalweg::average::{Average, Clock, Lookahead, Sampling, Snapshots};
use thalweg::cpu::CpuEngine;
use thalweg::data::{Augment, Dataset, Features, Order, Part, Samples, Targets};
use thalweg::engine::{Engine, Setup, Slot, Step};
use thalweg::explore::{Range, lr_find};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::internals::cpu::{self, Dropout, Finish, Training};
use thalweg::loss::Loss;
use thalweg::model::{Init, Mlp, Norm};
use thalweg::optimizer::Optimizer;
use thalweg::run::Config;
use thalweg::schedule::{Rate, Schedule};
use thalweg::stop::Stop;
use thalweg::train::{Plan, Trainer};

const N: usize = 96;
const WIDTHS: [usize; 3] = [5, 7, 3];

/// Three classes by the largest of the first three features.
fn dataset() -> Dataset {
    let part = |n: usize, salt: usize| {
        let x: Vec<f32> = (0..n * WIDTHS[0]).map(|i| ((i * 37 + salt) % 101) as f32 / 50.0 - 1.0).collect();
        let largest = |row: &[f32]| (0..3u32).max_by(|&i, &j| row[i as usize].total_cmp(&row[j as usize])).unwrap();
        let labels = x.chunks(WIDTHS[0]).map(largest).collect();
        Samples { features: Features::F32(x), targets: Targets::Labels(labels) }
    };
    Dataset::new("rows", [WIDTHS[0], 1, 1], part(N, 0), Some(part(50, 7))).unwrap()
}

fn setup() -> Setup {
    let model = Mlp::new(WIDTHS[0], &WIDTHS[1..2], WIDTHS[2], Activation::Tanh).unwrap();
    let optimizer = Optimizer::Sgd { lr: 0.3, momentum: 0.9, dampening: 0.0, weight_decay: 0.0, nesterov: false };
    Setup { optimizer, batch: 16, ..Setup::new(model, Arc::new(dataset())) }
}

/// Opens the setup on each engine.
fn on_each_engine(setup: &Setup, f: impl Fn(&mut dyn Engine, f64)) {
    f(&mut CpuEngine::<f64>::new(setup.clone()).unwrap(), f64::EPSILON);
    f(&mut CpuEngine::<f32>::new(setup.clone()).unwrap(), f64::from(f32::EPSILON));
    let Some(gpu) = common::gpu() else { return };
    f(&mut GpuEngine::new(gpu, setup.clone(), Options::default()).unwrap(), f64::from(f32::EPSILON));
}

fn restarts(t_0: u64) -> Schedule {
    Schedule::CosineWarmRestarts { t_0, t_mult: 1, eta_min: 0.01 }
}

fn minima() -> Sampling {
    serde_json::from_value(serde_json::json!({ "at": "minima" })).unwrap()
}

/// The classes' probabilities over the test part, by a forward pass written out here.
fn probabilities(engine: &dyn Engine, weights: &[f64]) -> Vec<Vec<f64>> {
    let tensors = engine.layout().unpack(weights);
    let product = |x: &[f64], w: usize| -> Vec<f64> {
        let rows = tensors[w].values.chunks(x.len()).zip(&tensors[w + 1].values);
        rows.map(|(row, b)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b).collect()
    };
    let dataset = &engine.setup().dataset;
    let Features::F32(x) = &dataset.part(Part::Test).unwrap().features else { panic!("features are f32") };
    x.chunks(WIDTHS[0])
        .map(|row| {
            let x: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
            let hidden: Vec<f64> = product(&x, 0).into_iter().map(f64::tanh).collect();
            let e: Vec<f64> = product(&hidden, 2).into_iter().map(f64::exp).collect();
            e.iter().map(|p| p / e.iter().sum::<f64>()).collect()
        })
        .collect()
}

/// Snapshots are taken at the minima of the schedule, SWA at the same is their mean, and the ensemble predicts the mean
/// of what each of them predicts.
#[test]
fn snapshots_are_an_ensemble_and_their_mean_is_swa() {
    let snapshots = Snapshots { max: 5, when: minima() };
    let average = Average { swa: Some(minima()), snapshots: Some(snapshots), ..Average::default() };
    // Four epochs of six steps, five periods of five steps but the last, which the run cuts short.
    on_each_engine(&Setup { average, ..setup() }, |engine, eps| {
        let plan = Plan { epochs: 4, schedule: restarts(5), ..Plan::default() };
        let mut trainer = Trainer::new(engine, plan).unwrap();
        trainer.init(Init::Pytorch).unwrap();
        let mut report = None;
        while let Some(epoch) = trainer.epoch(&mut |_| {}).unwrap() {
            report = Some(epoch);
        }
        let means = report.unwrap().means;
        assert_eq!(means.iter().map(|m| m.name).collect::<Vec<_>>(), ["swa", "snapshots"]);

        let members: Vec<Vec<f64>> = (0..5).map(|i| engine.weights(Slot::Snapshot(i), 0).unwrap()).collect();
        let mean: Vec<f64> = (0..members[0].len()).map(|i| members.iter().map(|m| m[i]).sum::<f64>() / 5.0).collect();
        let tolerance = Tolerance { abs: 10.0 * eps, rel: 0.0 };
        assert_close("SWA", &engine.weights(Slot::Swa, 0).unwrap(), &mean, tolerance);
        assert_eq!(members[4], engine.weights(Slot::Live, 0).unwrap(), "the last minimum is the end of the run");

        let all: Vec<Vec<Vec<f64>>> = members.iter().map(|m| probabilities(engine, m)).collect();
        let Targets::Labels(labels) = &engine.setup().dataset.test.as_ref().unwrap().targets else { panic!() };
        let (mut loss, mut correct) = (0.0, 0);
        for (row, &label) in labels.iter().enumerate() {
            let mean: Vec<f64> = (0..3).map(|c| all.iter().map(|m| m[row][c]).sum::<f64>() / 5.0).collect();
            loss -= mean[label as usize].ln() / labels.len() as f64;
            correct += u32::from((0..3).all(|c| mean[c] <= mean[label as usize]));
        }
        let got = &means[1].test.as_ref().unwrap()[0];
        // Two layers of sums of seven terms, and a softmax.
        assert_close("ensemble loss", &[got.loss], &[loss], Tolerance { abs: 200.0 * eps, rel: 0.0 });
        assert_eq!(got.accuracy, f64::from(correct) / labels.len() as f64);
        assert_ne!(got.loss, means[0].test.as_ref().unwrap()[0].loss);
    });
}

/// Lookahead against the same steps without it, whose weights the host moves.
#[test]
fn lookahead_leads_the_weights() {
    let average = Average { lookahead: Some(Lookahead { every: 3, alpha: 0.4 }), ..Average::default() };
    let clock = Clock { steps: 6, per_epoch: 6, lr: None };
    on_each_engine(&setup(), |plain, eps| {
        let with = Setup { average: average.clone(), ..setup() };
        let mut engine = CpuEngine::<f64>::new(with.clone()).unwrap();
        let start = plain.layout().init(&setup().model, Init::Pytorch, 0);
        let start: Vec<f64> = start.into_iter().map(|w| f64::from(w as f32)).collect();
        let sampler = with.average.sampler(&clock).unwrap();
        let mut slow = start.clone();
        for e in [plain as &mut dyn Engine, &mut engine] {
            e.set_weights(Slot::Live, 0, &start).unwrap();
            e.set_order(&[(0..N as u32).collect()]).unwrap();
        }
        engine.copy_weights(Slot::Live, Slot::Slow).unwrap();
        for index in 0..6 {
            let rates = vec![Rate { lr: 0.3, momentum: 0.9 }];
            let step = Step { index, first: 16 * index as usize, rows: 16, rates, ..Step::default() };
            plain.run(std::slice::from_ref(&step)).unwrap();
            plain.finish().unwrap();
            engine.run(&[Step { take: sampler.take(index), ..step }]).unwrap();
            if index % 3 == 2 {
                let fast = plain.weights(Slot::Live, 0).unwrap();
                slow.iter_mut().zip(&fast).for_each(|(slow, w)| *slow += 0.4 * (w - *slow));
                plain.set_weights(Slot::Live, 0, &slow).unwrap();
            }
        }
        let tolerance = Tolerance { abs: 1000.0 * eps, rel: 0.0 };
        assert_close("weights", &engine.weights(Slot::Live, 0).unwrap(), &slow, tolerance);
        assert_close("slow weights", &engine.weights(Slot::Slow, 0).unwrap(), &slow, tolerance);
    });
}

/// A decay that spares biases and γ leaves them where a run without decay has them, after one step.
#[test]
fn weight_decay_spares_what_it_is_told_to() {
    let step = |decay, weight_decay| {
        let optimizer = Optimizer::Sgd { lr: 0.1, momentum: 0.0, dampening: 0.0, weight_decay, nesterov: false };
        let model = Mlp { norm: Norm::Layer, ..setup().model };
        let mut engine = CpuEngine::<f64>::new(Setup { optimizer, decay, model, ..setup() }).unwrap();
        let start = engine.layout().init(&engine.setup().model.clone(), Init::Pytorch, 0);
        engine.set_weights(Slot::Live, 0, &start).unwrap();
        engine.set_order(&[(0..N as u32).collect()]).unwrap();
        let rates = vec![Rate { lr: 0.1, momentum: 0.0 }];
        engine.run(&[Step { rows: 16, rates, ..Step::default() }]).unwrap();
        let weights = engine.weights(Slot::Live, 0).unwrap();
        engine.layout().unpack(&weights)
    };
    use thalweg::optimizer::Decay::{All, Weights};
    let (none, all, weights) = (step(All, 0.0), step(All, 0.5), step(Weights, 0.5));
    for ((none, all), weights) in none.iter().zip(&all).zip(&weights) {
        let is_weight = weights.shape.len() == 2;
        assert_eq!(weights.values == none.values, !is_weight, "{}", weights.name);
        assert_eq!(weights.values == all.values, is_weight || none.values == all.values, "{}", weights.name);
    }
    assert_ne!(none[2].values, all[2].values, "the decay of γ is seen where it acts");
}

/// Shares of what is dropped, mirrored and shifted, within five standard errors of n draws: 5 √(p (1 − p) / n).
#[test]
fn what_is_random_has_its_distribution() {
    let within = |what: &str, count: usize, n: usize, p: f64| {
        let (got, bound) = (count as f64 / n as f64, 5.0 * (p * (1.0 - p) / n as f64).sqrt());
        assert!((got - p).abs() < bound, "{what}: {got}, expected {p} ± {bound}");
    };
    let n = 20_000;
    let dropout = Dropout { rate: 0.3, first: 17, layer: 1, ..Dropout::default() };
    let finish = Finish { activation: Activation::Identity, dropout: Some(dropout), residual: false };
    let (mut y, mut slope) = (vec![1.0f64; 4 * n], vec![0.0; 4 * n]);
    cpu::activate(&finish, 4, &[], &mut y, &mut slope);
    within("dropped", y.iter().filter(|&&y| y == 0.0).count(), 4 * n, 0.3);
    assert!(y == slope && y.iter().all(|&y| y == 0.0 || y == 1.0 / 0.7));

    // An image of one line of three pixels, 1 2 3, with a border of one.
    let train =
        Samples { features: Features::F32(vec![1.0, 2.0, 3.0, 1.0, 2.0, 3.0]), targets: Targets::Labels(vec![0, 1]) };
    let data = Dataset::new("line", [1, 1, 3], train, None).unwrap();
    let (order, training) = (vec![0; n], Training::default());
    let gather = |augment: &Augment, quantiles: &[f64]| {
        let (mut x, mut mix) = (vec![0.0f64; 4 * n], vec![(0, 0.0); n]);
        cpu::gather(&data, &data.train.features, &order, Some((augment, quantiles, &training)), &mut x, &mut mix);
        (x, mix)
    };
    let rows_of = |x: &[f64], row: [f64; 3]| x.chunks(4).filter(|x| x[..3] == row).count();
    let (x, _) = gather(&Augment { flip: true, ..Augment::default() }, &[]);
    within("mirrored", rows_of(&x, [3.0, 2.0, 1.0]), n, 0.5);
    assert_eq!(rows_of(&x, [3.0, 2.0, 1.0]) + rows_of(&x, [1.0, 2.0, 3.0]), n);
    // Three places down, of which two leave nothing of the line, times three across.
    let (x, _) = gather(&Augment { pad: 1, ..Augment::default() }, &[]);
    for row in [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 0.0]] {
        within("shifted", rows_of(&x, row), n, 1.0 / 9.0);
    }
    within("shifted out", rows_of(&x, [0.0; 3]), n, 6.0 / 9.0);
    // A square of one pixel, its centre on any of three.
    let (x, _) = gather(&Augment { cutout: 1, ..Augment::default() }, &[]);
    within("cut", rows_of(&x, [0.0, 2.0, 3.0]), n, 1.0 / 3.0);
    // The deviation of a sample deviation is σ / √(2n).
    let (x, _) = gather(&Augment { noise: 0.5, ..Augment::default() }, &[]);
    let noise: Vec<f64> = x.chunks(4).flat_map(|x| [x[0] - 1.0, x[1] - 2.0, x[2] - 3.0]).collect();
    let deviation = (noise.iter().map(|e| e * e).sum::<f64>() / noise.len() as f64).sqrt();
    assert!((deviation / 0.5 - 1.0).abs() < 5.0 / (2.0 * noise.len() as f64).sqrt(), "{deviation}");
    // Uniform shares: one in four is below a quarter.
    let (_, mix) = gather(&Augment { mixup: 1.0, ..Augment::default() }, &[0.0, 0.5, 1.0]);
    within("shares", mix.iter().filter(|(_, share)| *share < 0.25).count(), n, 0.25);
}

/// The weights are those of before, and the suggestion is one with which training works.
#[test]
fn lr_find_leaves_the_weights_alone() {
    let sgd = Optimizer::Sgd { lr: 1.0, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false };
    // Least squares: too large a rate diverges for certain.
    let model = Mlp { activation: Activation::Identity, ..setup().model };
    for replicas in [1, 12] {
        // The whole part in one batch, so that the loss has no noise.
        let setup = Setup { optimizer: sgd, replicas, batch: N, model: model.clone(), loss: Loss::Mse, ..setup() };
        on_each_engine(&setup, |engine, _| {
            Trainer::new(engine, Plan::default()).unwrap().init(Init::Pytorch).unwrap();
            let before: Vec<_> = (0..replicas).map(|r| engine.weights(Slot::Live, r).unwrap()).collect();
            let test = lr_find(engine, Range { from: 1e-4, to: 1e3, steps: 80, order: Order::Shuffle }).unwrap();
            let after: Vec<_> = (0..replicas).map(|r| engine.weights(Slot::Live, r).unwrap()).collect();
            assert_eq!(before, after);
            assert!(test.points.windows(2).all(|p| p[0].lr < p[1].lr), "{test:?}");
            assert!(test.diverged_at.is_some(), "{test:?}");
            for lr in [test.valley, test.steepest].map(Option::unwrap_or_default) {
                assert!((0.005..=50.0).contains(&lr), "{replicas} replica(s): {test:?}");
            }
        });
    }
}

fn tensors(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
    tensors.sort();
    tensors
}

/// What a run leaves must not depend on its interruption: every weight, and every line but for the times in it.
fn assert_same_run(dir: &Path, one: &str, other: &str, files: &[&str]) {
    for file in files {
        assert!(tensors(&dir.join(one).join(file)) == tensors(&dir.join(other).join(file)), "{file}");
    }
    assert_eq!(lines(dir.join(one).join("metrics.jsonl")), lines(dir.join(other).join("metrics.jsonl")));
    let epochs = |run: &str| -> Vec<Value> {
        let mut lines = lines(dir.join(run).join("epochs.jsonl"));
        lines.iter_mut().for_each(|line| {
            let line = line.as_object_mut().unwrap();
            // The best weights are evaluated where a run ends.
            line.retain(|key, _| !key.contains("second") && !key.starts_with("best_"));
        });
        lines
    };
    assert_eq!(epochs(one), epochs(other));
}

const EVERYTHING: [&str; 5] = [
    "average={swa={start=5,every=3},ema={decay=0.9},snapshots={max=2,when={start=1,unit=\"epoch\"}},lookahead={every=4}}",
    "schedule={name=\"plateau\",factor=0.37,patience=0,threshold=0.5}",
    "model={hidden=[8,8],norm=\"batch\",residual=true,dropout=0.2,activation=\"silu\"}",
    "augment={mixup=0.4,noise=0.1}",
    "stop={metric=\"validation_loss\",keep_best=true}",
];

fn everything<'a>(data: &'a str, device: &'a str, epochs: &'a str) -> Vec<&'a str> {
    let mut args = vec!["train", "--data", data, "--validation", "0.2", "--batch", "12", "--device", device];
    args.extend(["--epochs", epochs, "--replicas", "2", "--log-every", "1", "--quiet"]);
    args.extend(["--optimizer", "adam", "--lr", "0.02"]);
    EVERYTHING.iter().for_each(|set| args.extend(["--set", set]));
    args
}

#[test]
fn a_resumed_run_is_the_run() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    for (device, precision) in [("cpu", "f32"), ("cpu", "f64"), ("gpu", "f32"), ("gpu", "mixed")] {
        if device == "gpu" && common::gpu().is_none() {
            return;
        }
        let (through, resumed) = (format!("{device}-{precision}-through"), format!("{device}-{precision}-resumed"));
        let precision = ["--precision", precision, "--run"];
        ok(dir.path(), &[&everything(&data, device, "6")[..], &precision, &[&through]].concat());
        ok(dir.path(), &[&everything(&data, device, "2")[..], &precision, &[&resumed]].concat());
        for epochs in ["3", "6"] {
            ok(dir.path(), &["train", "--resume", &resumed, "--epochs", epochs, "--quiet"]);
        }
        let names =
            ["weights", "weights.swa", "weights.ema", "weights.best", "weights.snapshot.0", "weights.snapshot.1"];
        let mut files: Vec<String> =
            names.iter().flat_map(|name| [0, 1].map(|r| format!("{name}.{r}.safetensors"))).collect();
        files.push("checkpoint.safetensors".into());
        assert_same_run(dir.path(), &through, &resumed, &files.iter().map(String::as_str).collect::<Vec<_>>());
        let lr = |i: usize| lines(dir.path().join(&through).join("epochs.jsonl"))[i]["lr"].as_f64().unwrap();
        assert!(lr(5) < lr(0), "the plateau reduced the rate");
    }
}

/// Its weights are f32, so that a machine without a GPU can evaluate them.
#[test]
fn a_run_in_mixed_precision_is_evaluated_anywhere() {
    if common::gpu().is_none() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    ok(dir.path(), &["train", "--data", &data, "--device", "gpu", "--precision", "mixed", "--run", "m", "--quiet"]);
    assert!(lines(dir.path().join("m/metrics.jsonl"))[0]["loss_scales"][0] == 65536.0);
    let loss = |device: &str| {
        let json: Value = serde_json::from_str(&ok(dir.path(), &["eval", "m", "--device", device, "--json"])).unwrap();
        json["train_loss"]["mean"].as_f64().unwrap_or_else(|| panic!("{json}"))
    };
    let (gpu, cpu) = (loss("gpu"), loss("cpu"));
    // Halves have three digits, and the loss is a mean over many samples.
    assert!((gpu - cpu).abs() < 2e-3 * cpu, "{gpu} and {cpu}");
    assert!(
        fails(dir.path(), 2, &["train", "--data", &data, "--device", "cpu", "--precision", "mixed"]).contains("GPU")
    );
}

/// Killed while it runs, and resumed: the process leaves whole files, whenever it dies.
#[test]
fn a_killed_run_goes_on() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let args = ["train", "--data", &data, "--batch", "2", "--device", "cpu", "--quiet", "--hidden", "64,64"];
    let args = [&args[..], &["--schedule", "cosine", "--epochs", "60"]].concat();
    ok(dir.path(), &[&args[..], &["--run", "through"]].concat());
    let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args([&args[..], &["--run", "killed"]].concat())
        .current_dir(dir.path())
        .spawn()
        .unwrap();
    let checkpoint = dir.path().join("killed/checkpoint.safetensors");
    while !checkpoint.exists() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    ok(dir.path(), &["train", "--resume", "killed", "--quiet"]);
    assert_same_run(dir.path(), "through", "killed", &["weights.safetensors"]);
    assert!(fails(dir.path(), 2, &["train", "--resume", "nowhere"]).contains("nowhere"));
    std::fs::write(&checkpoint, "no").unwrap();
    let error = fails(dir.path(), 2, &["train", "--resume", "killed", "--epochs", "61"]);
    assert!(error.contains("checkpoint.safetensors: expected a checkpoint of this run"), "{error}");
}

/// What the checkpoint does not fit is refused by name, and a run that is over stays as it is.
#[test]
fn only_what_goes_on_is_resumed() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let args = ["train", "--data", &data, "--batch", "16", "--epochs", "2", "--device", "cpu", "--quiet", "--run", "r"];
    ok(dir.path(), &args);
    let before = json(dir.path().join("r/summary.json"));
    let refused = |more: &[&str]| fails(dir.path(), 2, &[&["train", "--resume", "r"], more].concat());
    let error = refused(&[]);
    assert!(error.contains("train.epochs: expected more than the 2 that the run has"), "{error}");
    for (more, field) in [
        (["--batch", "8"], "train.batch"),
        (["--optimizer", "sgd"], "optimizer"),
        (["--seed", "1"], "train.seed"),
        (["--normalize", "none"], "data.normalize"),
        (["--hidden", "7"], "model.hidden"),
        (["--validation", "0.1"], "data.validation"),
    ] {
        let error = refused(&[&more[..], &["--epochs", "4"]].concat());
        assert!(error.contains(field) && error.contains("as the run has"), "{error}");
    }
    assert_eq!(json(dir.path().join("r/summary.json")), before);
    ok(dir.path(), &["train", "--resume", "r", "--epochs", "4", "--quiet"]);
    assert_eq!(json(dir.path().join("r/summary.json"))["epochs"], 4);
    assert!(std::fs::read_to_string(dir.path().join("r/config.toml")).unwrap().contains("epochs = 4"));

    // One that ended early goes on only if it is told to end elsewhere.
    let early = ["--validation", "0.3", "--patience", "1", "--set", "stop.min_delta=100.0", "--overwrite"];
    ok(dir.path(), &[&args[..], &["--epochs", "9"], &early].concat());
    assert!(refused(&[]).contains("stop.patience"));
    ok(dir.path(), &["train", "--resume", "r", "--patience", "3", "--quiet"]);
    assert_eq!(json(dir.path().join("r/summary.json"))["epochs"], 4);
}

/// Time that runs out in the middle of an epoch leaves that epoch to be begun anew.
#[test]
fn an_epoch_cut_short_is_not_over() {
    let mut engine = CpuEngine::<f32>::new(Setup { batch: 1, ..setup() }).unwrap();
    let stop = Stop { seconds: Some(0.0), ..Stop::default() };
    let mut trainer = Trainer::new(&mut engine, Plan { stop, ..Plan::default() }).unwrap();
    let epoch = trainer.epoch(&mut |_| {}).unwrap().unwrap();
    assert!(epoch.steps < N as u64, "the epoch was to be cut short, and had {} steps", epoch.steps);
    assert_eq!(trainer.progress().epoch, 0);
    assert!(trainer.epoch(&mut |_| {}).unwrap().is_none());
}

/// Between two evaluations a plateau sees nothing.
#[test]
fn a_plateau_counts_evaluations() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let plateau = "schedule={name=\"plateau\",factor=0.5,patience=0,threshold=0.99}";
    summary(&dir, &data, &["--epochs", "7", "--eval-every", "3", "--set", plateau]);
    let lr: Vec<f64> =
        lines(dir.path().join("r/epochs.jsonl")).iter().map(|epoch| epoch["lr"].as_f64().unwrap()).collect();
    // The first evaluation, after epoch 3, is the best; the second reduces.
    assert_eq!(lr, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]);
}

/// Trains on the small table; returns the summary.
fn summary(dir: &TempDir, data: &str, more: &[&str]) -> Value {
    let args = ["train", "--data", data, "--validation", "0.3", "--batch", "8", "--device", "cpu", "--quiet"];
    let args = [&args[..], &["--optimizer", "sgd", "--lr", "0.5", "--epochs", "40", "--overwrite", "--run", "r"], more];
    ok(dir.path(), &args.concat());
    json(dir.path().join("r/summary.json"))
}

#[test]
fn a_run_ends_where_it_is_told_to() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let run = |more: &[&str]| summary(&dir, &data, more);
    let ended =
        |summary: &Value| (summary["stopped_by"].as_str().unwrap().to_string(), summary["epochs"].as_u64().unwrap());
    assert_eq!(ended(&run(&[])), ("epochs".into(), 40));
    // No epoch improves by so much: the first counts as an improvement, the two after it do not.
    assert_eq!(ended(&run(&["--patience", "2", "--set", "stop.min_delta=100.0"])), ("patience".into(), 3));
    let at_target = run(&["--metric", "train_accuracy", "--target", "0.9"]);
    assert_eq!(at_target["stopped_by"], "target");
    assert!(at_target["train_accuracy"]["mean"].as_f64().unwrap() >= 0.9 && at_target["epochs"].as_u64().unwrap() < 40);
    let plateau = "schedule={name=\"plateau\",factor=0.1,patience=0,threshold=0.9}";
    let low = run(&["--set", plateau, "--min-lr", "0.01"]);
    // The first evaluation sets the best; each further one divides the rate by ten: 0.5, 0.05, 0.005.
    assert_eq!(ended(&low), ("min_lr".into(), 3));
    assert_eq!(ended(&run(&["--seconds", "0"])), ("seconds".into(), 1));
}

#[test]
fn the_best_weights_are_kept_or_restored() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let wild = ["--lr", "2", "--hidden", "8", "--epochs", "12", "--metric", "validation_loss"];
    let kept = summary(&dir, &data, &[&wild[..], &["--keep-best"]].concat());
    let validation: Vec<f64> = lines(dir.path().join("r/epochs.jsonl"))
        .iter()
        .map(|epoch| epoch["validation_loss"]["mean"].as_f64().unwrap())
        .collect();
    let best = validation.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(kept["best_validation_loss"]["mean"], best);
    assert!(best < validation[11], "the last epoch is not to be the best, for this test to mean something");
    assert_eq!(kept["validation_loss"]["mean"], validation[11]);
    let evaluated: Value = serde_json::from_str(&ok(dir.path(), &["eval", "r", "--json"])).unwrap();
    assert_eq!(evaluated["best_validation_loss"], kept["best_validation_loss"]);

    let restored = summary(&dir, &data, &[&wild[..], &["--restore-best"]].concat());
    assert_eq!(restored["validation_loss"]["mean"], best);
    let files = ["weights.safetensors", "weights.best.safetensors"].map(|f| tensors(&dir.path().join("r").join(f)));
    assert!(files[0] == files[1]);
}

#[test]
fn contradictions_are_refused_before_training() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let refused = |more: &[&str]| {
        let args = ["train", "--data", &data, "--batch", "16", "--epochs", "2", "--device", "cpu", "--run", "r"];
        let error = fails(dir.path(), 2, &[&args[..], more].concat());
        assert!(!dir.path().join("r").exists(), "{more:?}");
        error
    };
    let both = |more: &[&str], fields: [&str; 2]| {
        let error = refused(more);
        assert!(fields.iter().all(|field| error.contains(field)), "{more:?}: {error}");
    };
    both(&["--restore-best"], ["stop.restore_best", "data.validation"]);
    both(&["--patience", "3"], ["stop.patience", "data.validation"]);
    both(&["--set", "average={swa={start=8}}"], ["average.swa", "train.epochs"]);
    both(&["--set", "average={swa={start=2,unit=\"epoch\"}}"], ["average.swa", "train.epochs"]);
    both(&["--set", "average={swa={at=\"minima\"}}"], ["average.swa", "schedule"]);
    both(&["--set", "average={ema={bias_correction=true,warm_up=true}}"], ["average.ema.warm_up", "bias_correction"]);
    let one_cycle = "schedule={name=\"one_cycle\",max_lr=1.0,total_steps=8,pct_start=0.05}";
    both(&["--set", one_cycle], ["schedule.pct_start", "total_steps"]);
    let warm_up = "schedule={name=\"sequential\",milestones=[4],parts=[{name=\"linear\",total_iters=4},{name=\"one_cycle\",max_lr=1.0,pct_start=0.1}]}";
    both(&["--set", warm_up], ["schedule.pct_start", "steps"]);
    both(&["--set", "schedule={name=\"multistep\",milestones=[5,3]}"], ["schedule.milestones", "increasing"]);
    both(&["--norm", "batch", "--batch", "1"], ["train.batch", "model.norm"]);
    // 60 samples in batches of 59 leave one over.
    both(&["--norm", "batch", "--batch", "59"], ["train.batch", "drop_last"]);
    both(&["--min-lr", "1", "--lr", "0.1"], ["stop.min_lr", "optimizer.lr"]);
    both(&["--hidden", "none", "--dropout", "0.5"], ["model.dropout", "model.hidden"]);
    both(&["--hidden", "8,4", "--residual"], ["model.residual", "model.hidden"]);
    both(&["--set", "average={lookahead={every=1000}}"], ["average.lookahead.every", "train.epochs"]);
    both(&["--set", "average={swa={after_updates=[3,1000]}}"], ["average.swa.after_updates", "train.epochs"]);
    both(&["--target", "nan", "--metric", "train_loss"], ["stop.target", "number"]);
    both(&["--set", "schedule={name=\"cosine\",unit=\"epochs\"}"], ["schedule.unit", "step or epoch"]);
    both(&["--flip"], ["augment.flip", "table"]);
    both(&["--dropout", "1"], ["model.dropout", "[0, 1)"]);
    both(&["--mixup", "-1"], ["augment.mixup", "[0, 1000]"]);
}

/// The recipes that the README tells of are configurations.
#[test]
fn recipes_are_read() {
    for name in ["fashion-mnist", "cifar10"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.toml"));
        let table: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        let config = Config::resolve(table, Vec::new(), Vec::new()).unwrap();
        assert!(config.train.replicas == 4 && config.average.slots().len() == 7, "{name}: {config:?}");
    }
}

/// A schedule that counts epochs stays the same within one.
#[test]
fn schedules_count_epochs_where_they_are_told_to() {
    let dir = TempDir::new().unwrap();
    let data = table(&dir);
    let schedule = "schedule={name=\"step\",step_size=2,gamma=0.5,unit=\"epoch\"}";
    summary(&dir, &data, &["--epochs", "6", "--log-every", "1", "--set", schedule]);
    for line in lines(dir.path().join("r/metrics.jsonl")) {
        let want = 0.5 * 0.5f64.powi((line["epoch"].as_u64().unwrap() / 2) as i32);
        assert_eq!(line["lr"], want, "{line}");
    }
    assert!(std::fs::read_to_string(dir.path().join("r/config.toml")).unwrap().contains("unit = \"epoch\""));
}

/// The best weights are those of the least loss, and the run ends with them.
#[test]
fn early_stopping_in_a_loop_of_ones_own() {
    // A rate at which the loss does not settle.
    let optimizer = Optimizer::Sgd { lr: 1.0, momentum: 0.9, dampening: 0.0, weight_decay: 0.0, nesterov: false };
    let setup = Setup { keep_best: true, optimizer, ..setup() };
    let dataset = dataset().hold_out(0.25, 0).unwrap();
    let mut engine = CpuEngine::<f32>::new(Setup { dataset: Arc::new(dataset), batch: 8, ..setup }).unwrap();
    let stop = Stop { patience: Some(3), restore_best: true, ..Stop::default() };
    let mut trainer = Trainer::new(&mut engine, Plan { epochs: 200, stop, ..Plan::default() }).unwrap();
    trainer.init(Init::Kaiming).unwrap();
    let mut losses = Vec::new();
    while let Some(epoch) = trainer.epoch(&mut |_| {}).unwrap() {
        losses.push(epoch.validation.unwrap()[0].loss);
    }
    let best = trainer.progress().watch.best.unwrap();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(best.0, least);
    assert_eq!(engine.evaluate(Part::Validation, &[Slot::Live]).unwrap()[0].loss, least);
    assert!(losses.len() < 200, "the run was to end early");
}
