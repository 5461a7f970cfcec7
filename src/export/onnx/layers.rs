//! The nodes of a network: its normalised input, its layers, its activations.

use super::graph::{Graph, float, int};
use crate::activation::{Activation, GELU_CUBE, GELU_SCALE, LEAK};
use crate::data::Dataset;
use crate::engine::Layout;
use crate::error::{Error, Result};
use crate::model::{Mlp, NORM_EPS, Norm};

/// The shape of a sample as it goes in: that of an image, or the features of a table.
pub(super) fn input_shape(dataset: &Dataset) -> &[usize] {
    if dataset.shape[1..] == [1, 1] { &dataset.shape[..1] } else { &dataset.shape }
}

/// Adds the input and what the first layer sees of it, the normalised features, a row a sample; returns their name.
///
/// They are `(raw − mean) · scale` and not `raw · scale + shift`, whose sum would lose a small spread around a large mean; a mean
/// whose rounding to f32 would show is taken off in two parts.
///
/// # Errors
/// A normalisation that f32 does not hold.
pub(super) fn first_activations(graph: &mut Graph, dataset: &Dataset) -> Result<String> {
    let shape = input_shape(dataset);
    let (scale, shift) = (&dataset.normalization.scale, &dataset.normalization.shift);
    if let Some(found) = scale.iter().find(|scale| scale.abs() < f32::MIN_POSITIVE.into()) {
        let text = format!("expected features that f32 holds, found some that are scaled by {found:e}");
        return Err(Error::config("--onnx", text));
    }
    let means: Vec<f64> = scale.iter().zip(shift).map(|(scale, shift)| -shift / scale).collect();
    let rest = means.iter().zip(scale).map(|(&mean, scale)| {
        let rest = mean - f64::from(mean as f32);
        if (rest * scale).abs() < f32::EPSILON.into() { 0.0 } else { rest }
    });
    let rest: Vec<f64> = rest.collect();
    let mut of_channels = vec![1; shape.len()];
    of_channels[0] = scale.len();
    let mut x = graph.input("input", shape, "raw values, as they lie in the data: pixels 0 to 255");
    for (name, operation, neutral, values) in
        [("mean", "Sub", 0.0, &means), ("mean.rest", "Sub", 0.0, &rest), ("scale", "Mul", 1.0, scale)]
    {
        if values.iter().any(|&value| value != neutral) {
            let constant = graph.constant(format!("input.{name}"), &of_channels, values)?;
            x = graph.node(operation, &[&x, &constant], Vec::new());
        }
    }
    Ok(if shape.len() > 1 { graph.node("Flatten", &[&x], vec![int("axis", 1)]) } else { x })
}

/// Adds the layers of a network on top of `x`, with weights whose tensors have their names behind a prefix; returns the name of the
/// last one's z.
///
/// # Errors
/// Weights that f32 does not hold.
pub(super) fn layers(graph: &mut Graph, model: &Mlp, weights: &[f64], prefix: &str, x: &str) -> Result<String> {
    // A count, which nothing is computed from, has no dimensions.
    let tensors = Layout::new(model).unpack(weights).into_iter().filter(|tensor| !tensor.shape.is_empty());
    let names = tensors.map(|t| graph.constant(format!("{prefix}{}", t.name), &t.shape, &t.values));
    let names = names.collect::<Result<Vec<String>>>()?;
    let mut names = names.into_iter();
    let mut node = |graph: &mut Graph, operation: &str, value: &str, tensors: usize, attributes| {
        let tensors: Vec<String> = names.by_ref().take(tensors).collect();
        let inputs: Vec<&str> = std::iter::once(value).chain(tensors.iter().map(String::as_str)).collect();
        graph.node(operation, &inputs, attributes)
    };
    let mut a = x.to_string();
    for l in 0..model.layers() {
        let z = node(graph, "Gemm", &a, 2, vec![int("transB", 1)]);
        let epsilon = float("epsilon", NORM_EPS);
        let n = match model.norm_after(l) {
            Norm::None => z,
            Norm::Batch => node(graph, "BatchNormalization", &z, 4, vec![epsilon]),
            Norm::Layer => node(graph, "LayerNormalization", &z, 2, vec![int("axis", -1), epsilon]),
        };
        let y = activate(graph, model.activation_after(l), n)?;
        a = if model.is_residual(l) { graph.node("Add", &[&y, &a], Vec::new()) } else { y };
    }
    Ok(a)
}

/// Adds the activation of z; returns the name of its output. What the operators lack is composed of others, GELU in the order
/// of PyTorch's exporter, which readers know and fuse.
fn activate(graph: &mut Graph, activation: Activation, z: String) -> Result<String> {
    Ok(match activation {
        Activation::Identity => z,
        Activation::Relu => graph.node("Relu", &[&z], Vec::new()),
        Activation::Tanh => graph.node("Tanh", &[&z], Vec::new()),
        Activation::Sigmoid => graph.node("Sigmoid", &[&z], Vec::new()),
        Activation::LeakyRelu => graph.node("LeakyRelu", &[&z], vec![float("alpha", LEAK)]),
        Activation::Elu => graph.node("Elu", &[&z], vec![float("alpha", 1.0)]),
        Activation::Silu => {
            let share = graph.node("Sigmoid", &[&z], Vec::new());
            graph.node("Mul", &[&z, &share], Vec::new())
        }
        Activation::Gelu => {
            let inner = graph.with("Div", &z, std::f64::consts::SQRT_2)?;
            let inner = graph.node("Erf", &[&inner], Vec::new());
            halved_product(graph, &z, &inner)?
        }
        Activation::GeluTanh => {
            let square = graph.node("Mul", &[&z, &z], Vec::new());
            let cube = graph.node("Mul", &[&square, &z], Vec::new());
            let cube = graph.with("Mul", &cube, GELU_CUBE)?;
            let inner = graph.node("Add", &[&z, &cube], Vec::new());
            let inner = graph.with("Mul", &inner, GELU_SCALE)?;
            let inner = graph.node("Tanh", &[&inner], Vec::new());
            halved_product(graph, &z, &inner)?
        }
    })
}

/// Adds `z (1 + t) / 2`.
fn halved_product(graph: &mut Graph, z: &str, t: &str) -> Result<String> {
    let share = graph.with("Add", t, 1.0)?;
    let product = graph.node("Mul", &[z, &share], Vec::new());
    graph.with("Mul", &product, 0.5)
}
