//! Networks in ONNX's format, for onnxruntime and all that reads it.

mod graph;
mod layers;
mod proto;

use std::path::Path;

use prost::Message;
use serde_json::json;

use self::graph::{Graph, int};
use self::layers::{first_activations, input_shape, layers};
use self::proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use crate::data::Column;
use crate::disk::write_whole;
use crate::engine::{Layout, Setup};
use crate::error::{Error, Result};
use crate::loss::Loss;

/// The version of ONNX's operators, the first with `LayerNormalization` (2022), and of the format that came with it.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// The most bytes of a file: what readers of protocol buffers take.
const MOST_BYTES: usize = i32::MAX as usize;

/// A trained network to be written as an ONNX model: raw values of the data in, as f32, what
/// [`predict`](crate::engine::Engine::predict) says out, for any number of samples at once.
///
/// | name | shape | holds |
/// | --- | --- | --- |
/// | `input` | (batch, channels, height, width) of images, else (batch, features) | values as they lie in the data: pixels 0 to 255 |
/// | `logits` | (batch, classes) | what a classification by cross-entropy says |
/// | `probabilities` | (batch, classes) | their softmax, in place of `logits` |
/// | `output` | (batch, targets) | what a network with another loss says; targets that were standardised in their own units |
///
/// Metadata: `weights`; `classes` and `features`, the names in their order as JSON, where the data have such.
#[derive(Clone, Copy)]
pub struct Network<'a> {
    /// The model and its loss, and of the data set the shape, the scaling and the names; its samples are not looked at.
    pub setup: &'a Setup,
    /// The weights in the order of the layout; of more than one the ensemble, as `predict` has it.
    pub members: &'a [Vec<f64>],
    /// The name of the weights, for the metadata.
    pub weights: &'a str,
    /// Whether probabilities come out in place of logits.
    pub softmax: bool,
}

/// Refuses a file that is not named `.onnx`.
///
/// # Errors
/// Another extension.
pub fn check_name(path: &Path) -> Result<()> {
    if path.extension().is_some_and(|extension| extension == "onnx") {
        return Ok(());
    }
    Err(Error::config("--onnx", format!("expected a file named .onnx, found {}", path.display())))
}

impl Network<'_> {
    /// Writes the network; the file appears whole or not at all.
    ///
    /// # Errors
    /// Another extension than `.onnx`; softmax of what are no logits; values beyond f32, or more than 2 GiB of them; a file that
    /// cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        check_name(path)?;
        write_whole(path, &self.model()?.encode_to_vec())
    }

    /// In words, what goes in and what comes out: `input (batch, 1, 28, 28) -> logits (batch, 10)`.
    pub fn describe(&self) -> String {
        let shape = input_shape(&self.setup.dataset).iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let (name, _) = self.output();
        format!("input (batch, {shape}) -> {name} (batch, {})", self.setup.model.outputs())
    }

    fn model(&self) -> Result<ModelProto> {
        let Setup { model, loss, dataset, .. } = self.setup;
        let is_softmax = *loss == Loss::CrossEntropy;
        if self.softmax && !is_softmax {
            let found =
                "expected a network that was trained by cross-entropy, whose outputs are logits, found loss mse";
            return Err(Error::config("--softmax", found));
        }
        let members = self.members;
        let bytes = Layout::new(model).len.saturating_mul(members.len() * size_of::<f32>());
        if bytes > MOST_BYTES {
            let found =
                format!("expected at most {MOST_BYTES} bytes of weights, as readers of ONNX take, found {bytes}");
            return Err(Error::config("--onnx", found));
        }
        let mut graph = Graph::default();
        graph.proto.name = "thalweg".into();
        let x = first_activations(&mut graph, dataset)?;
        let answers = members.iter().enumerate().map(|(m, weights)| {
            let prefix = if members.len() > 1 { format!("{m}.") } else { String::new() };
            let z = layers(&mut graph, model, weights, &prefix, &x)?;
            let is_probable = is_softmax && (members.len() > 1 || self.softmax);
            Ok(if is_probable { graph.node("Softmax", &[&z], vec![int("axis", -1)]) } else { z })
        });
        let answers = answers.collect::<Result<Vec<String>>>()?;
        if members.len() > 1 {
            let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
            let mean = graph.node("Mean", &answers, Vec::new());
            if is_softmax && !self.softmax {
                // As engines have it: a probability of 0 is that of no class.
                let mean = graph.with("Max", &mean, f32::MIN_POSITIVE.into())?;
                graph.node("Log", &[&mean], Vec::new());
            }
        }
        self.finish(graph)
    }

    /// Restores the units of targets, names the output and adds what there is beside the graph.
    fn finish(&self, mut graph: Graph) -> Result<ModelProto> {
        let Setup { model, dataset, .. } = self.setup;
        if let (Some(scaling), Some(last)) = (&dataset.target_scaling, graph.proto.node.last()) {
            let y = last.name.clone();
            let deviation = graph.constant("target.deviation".into(), &[model.outputs()], &scaling.deviation)?;
            let mean = graph.constant("target.mean".into(), &[model.outputs()], &scaling.mean)?;
            let y = graph.node("Mul", &[&y, &deviation], Vec::new());
            graph.node("Add", &[&y, &mean], Vec::new());
        }
        let (name, words) = self.output();
        graph.output(name, model.outputs(), words);
        let mut metadata = vec![("weights", self.weights.to_string())];
        let (classes, columns) = (dataset.encoding.names(), &dataset.encoding.columns);
        if !classes.is_empty() {
            metadata.push(("classes", json!(classes).to_string()));
        }
        if !columns.is_empty() {
            metadata.push(("features", json!(columns.iter().flat_map(features).collect::<Vec<_>>()).to_string()));
        }
        let entry = |(key, value): (&str, String)| StringStringEntryProto { key: key.into(), value };
        Ok(ModelProto {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(graph.proto),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            metadata_props: metadata.into_iter().map(entry).collect(),
        })
    }

    /// The name of the output, and what it is.
    fn output(&self) -> (&'static str, &'static str) {
        match (self.setup.loss, self.softmax) {
            (Loss::CrossEntropy, true) => ("probabilities", "the probability of each class"),
            (Loss::CrossEntropy, false) => ("logits", "the logit of each class, whose softmax is its probability"),
            (Loss::Mse, _) => ("output", "what the network says of each target, in the target's unit"),
        }
    }
}

/// The names of the features that a column of a table is made into.
fn features(column: &Column) -> Vec<String> {
    let Column { name, categories } = column;
    let of_category = |categories: &Vec<String>| categories.iter().map(|word| format!("{name}={word}")).collect();
    categories.as_ref().map_or_else(|| vec![name.clone()], of_category)
}
