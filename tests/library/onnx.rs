//! Networks written as ONNX models, read by onnxruntime.

use crate::common;

use std::path::Path;
use std::sync::Arc;

use common::files::npy;
use common::python::python;
use common::rounding;
use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg::average::{Average, Sampling, Snapshots};
use thalweg::cpu::CpuEngine;
use thalweg::data::{Dataset, Features, Normalize, Samples, Targets};
use thalweg::engine::{Engine, Layout, Setup, Slot};
use thalweg::export::onnx::Network;
use thalweg::loss::{Loss, softmax};
use thalweg::model::{Init, Norm};
use thalweg::{Activation, Mlp};

const N: usize = 40;

/// Models and what they are to say, to be read by onnxruntime together.
struct Cases {
    dir: TempDir,
    all: Vec<Value>,
}

impl Cases {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), all: Vec::new() }
    }

    /// Adds a network with weights of its own, one set a member, as the engine in f64 has it.
    fn add(&mut self, setup: &Setup, members: usize, is_softmax: bool) {
        let snapshots = Snapshots { max: members, when: Sampling::Listed { after_updates: vec![1] } };
        let average = Average { snapshots: Some(snapshots), ..Average::default() };
        let setup = Setup { average, ..setup.clone() };
        let weights: Vec<Vec<f64>> = (0..members as u64).map(|seed| weights(&setup.model, seed)).collect();
        let mut engine = CpuEngine::<f64>::new(setup.clone()).unwrap();
        let slots: Vec<Slot> = (0..members).map(Slot::Snapshot).collect();
        for (slot, weights) in slots.iter().zip(&weights) {
            engine.upload(*slot, 0, weights).unwrap();
        }
        let features = setup.dataset.train.features.clone();
        let alone = slots.iter().flat_map(|&slot| engine.predict(&features, &[slot]).unwrap().remove(0));
        let largest = alone.fold(0.0f64, |most, z| most.max(z.abs()));
        let mut said = engine.predict(&features, &slots).unwrap().remove(0);
        let width = setup.model.outputs();
        if is_softmax {
            softmax(&mut said, width);
        }
        let name = format!("{}", self.all.len());
        let network = Network { setup: &setup, members: &weights, weights: "last", softmax: is_softmax };
        let model = self.dir.path().join(format!("{name}.onnx"));
        network.write(&model).unwrap();
        let raw: Vec<f32> = (0..features.len()).map(|i| features.get(i) as f32).collect();
        let [channels, height, wide] = setup.dataset.shape.map(|n| n as u64);
        let shape = if height * wide > 1 { vec![N as u64, channels, height, wide] } else { vec![N as u64, channels] };
        let output = match setup.loss {
            Loss::CrossEntropy if is_softmax => "probabilities",
            Loss::CrossEntropy => "logits",
            Loss::Mse => "output",
        };
        let bound = rounding(setup.model.layers(), *setup.model.widths.iter().max().unwrap(), largest);
        self.all.push(json!({
            "model": model, "output": output, "bound": bound, "metadata": { "weights": "last" },
            "input": npy(&self.dir, &format!("{name}.x.npy"), &shape, raw),
            "want": npy(&self.dir, &format!("{name}.want.npy"), &[N as u64, width as u64], said),
        }));
    }

    /// Lets onnxruntime run all of them.
    #[track_caller]
    fn check(&self) {
        std::fs::write(self.dir.path().join("cases.json"), json!(self.all).to_string()).unwrap();
        if let Some(printed) = python(self.dir.path(), "run_onnx.py", &["cases.json"]) {
            assert_eq!(printed.trim(), format!("{} models", self.all.len()));
        }
    }
}

/// Weights that f32 holds, and norms that do something.
fn weights(model: &Mlp, seed: u64) -> Vec<f64> {
    let layout = Layout::new(model);
    let mut tensors = layout.unpack(&layout.init(model, Init::Kaiming, seed));
    for tensor in &mut tensors {
        let is_norm = layout.names().iter().any(|(name, shape)| *name == tensor.name && shape.len() == 1);
        let is_positive = tensor.name.ends_with("running_var") || is_norm && tensor.name.ends_with(".weight");
        for (i, value) in tensor.values.iter_mut().enumerate() {
            let wave = ((i + seed as usize) as f64).sin() / 2.0;
            *value = if is_positive {
                1.0 + wave
            } else if is_norm {
                wave
            } else {
                *value
            };
            *value = f64::from(*value as f32);
        }
    }
    layout.pack(&tensors).unwrap()
}

/// Images of two channels, 4 high and 5 wide, in three classes.
fn images() -> Dataset {
    let pixels: Vec<u8> = (0..N * 40).map(|i| ((i * 7919) % 251) as u8).collect();
    let labels: Vec<u32> = (0..N as u32).map(|i| i % 3).collect();
    Dataset::new("images", [2, 4, 5], Samples::labelled(pixels, labels), None).unwrap()
}

/// A table of three columns around such a mean, and a target a sample, or two.
fn table(mean: f32, targets: usize) -> Dataset {
    let features: Vec<f32> = (0..N * 3).map(|i| mean + ((i * 29 % 31) as f32 - 15.0) / 16.0).collect();
    let values = (0..N * targets).map(|i| 3e5 + 1e4 * (i as f64).cos()).collect();
    let targets = Targets::Values { width: targets, values };
    let samples = Samples { features: Features::F32(features), targets, weights: None };
    Dataset::new("table", [3, 1, 1], samples, None).unwrap()
}

fn setup(model: Mlp, dataset: Dataset) -> Setup {
    Setup::new(model, Arc::new(dataset))
}

#[test]
fn every_activation_norm_and_residual_is_that_of_the_engine() {
    let mut cases = Cases::new();
    let images = images().normalize(Normalize::Channel);
    for activation in Activation::ALL {
        for norm in [Norm::None, Norm::Batch, Norm::Layer] {
            for residual in [false, true] {
                let model = Mlp::new(40, 3).hidden([13, 13, 9]).activation(activation).norm(norm);
                cases.add(&setup(Mlp { residual, ..model }, images.clone()), 1, false);
            }
        }
    }
    cases.check();
}

#[test]
fn inputs_are_raw_and_outputs_in_their_units() {
    let mut cases = Cases::new();
    let classes = |hidden: &[usize]| Mlp::new(40, 3).hidden(hidden).dropout(if hidden.is_empty() { 0.0 } else { 0.5 });
    for how in [Normalize::None, Normalize::Unit, Normalize::Channel] {
        for hidden in [&[][..], &[8]] {
            let setup = setup(classes(hidden), images().normalize(how));
            for (members, is_softmax) in [(1, false), (1, true), (2, false), (3, true)] {
                cases.add(&setup, members, is_softmax);
            }
            cases.add(&Setup { loss: Loss::Mse, ..setup }, 2, false);
        }
    }
    // A spread of 1 around a mean of 10⁵: what is scaled first and shifted then is off by thousandths.
    for mean in [0.0, 1e5] {
        for targets in [1, 2] {
            let model = Mlp::new(3, targets).hidden([8]);
            let dataset = table(mean, targets).normalize(Normalize::Channel);
            cases.add(&setup(model.clone(), dataset.clone().standardize_targets().unwrap()), 1, false);
            cases.add(&setup(model, dataset), 2, false);
        }
    }
    cases.check();
}

#[test]
fn what_cannot_be_written_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("net.onnx");
    let setup = setup(Mlp::new(3, 1), table(0.0, 1));
    let good = weights(&setup.model, 0);
    let refusal = |setup: &Setup, weights: &[f64], softmax: bool, path: &Path| {
        let network = Network { setup, members: &[weights.to_vec()], weights: "last", softmax };
        network.write(path).unwrap_err().to_string()
    };
    let mut large = good.clone();
    large[0] = 1e39;
    let error = refusal(&setup, &large, false, &path);
    assert_eq!(error, "--onnx: expected values up to 3.4028235e38 for f32, found 1e39 in 0.weight");
    let error = refusal(&setup, &good, true, &path);
    assert!(error.starts_with("--softmax: expected a network that was trained by cross-entropy"), "{error}");
    let error = refusal(&setup, &good, false, &dir.path().join("net.pb"));
    assert!(error.starts_with("--onnx: expected a file named .onnx, found "), "{error}");
    let values: Vec<f64> = (0..N).flat_map(|i| [i as f64 * 1e50, 0.0, 0.0]).collect();
    let samples = Samples { features: Features::F64(values), ..setup.dataset.train.clone() };
    let wide = Dataset::new("wide", [3, 1, 1], samples, None).unwrap().normalize(Normalize::Channel);
    let wide = Setup { dataset: Arc::new(wide), ..setup.clone() };
    let error = refusal(&wide, &good, false, &path);
    assert!(error.starts_with("--onnx: expected features that f32 holds, found some that are scaled by"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
