//! Where each tensor of a model lies in one flat vector, and the first values of that vector.

use crate::model::{Init, Mlp, Norm};
use crate::number::{Purpose, Stream};

/// A tensor of the model under the name that `torch.nn.Sequential` gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The name of the tensor, `0.weight`, `0.bias`, `2.weight`, ...: the activations take every other number, and with
    /// normalisations, whose tensors are `1.weight` and so on, linear layers every third.
    pub name: String,
    /// The shape of the tensor: `[outputs, inputs]` for a weight, `[outputs]` for a bias, `[]` for a count.
    pub shape: Vec<usize>,
    /// The values of the tensor, row-major.
    pub values: Vec<f64>,
}

/// The place of one linear layer, and of the normalisation after it, in the flat parameter vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// The number of inputs.
    pub inputs: usize,
    /// The number of outputs.
    pub outputs: usize,
    /// The offset of the transposed weight matrix, `(stride(inputs), stride(outputs))` row-major.
    pub weight: usize,
    /// The offset of the bias, `stride(outputs)` values.
    pub bias: usize,
    /// The offset of γ, `stride(outputs)` values, if there is a normalisation.
    pub gamma: usize,
    /// The offset of β, `stride(outputs)` values, if there is a normalisation.
    pub beta: usize,
    /// The offset of the running mean, `stride(outputs)` values, if it is a batch normalisation; the running variance
    /// follows, and then the number of batches in both.
    pub statistics: usize,
}

impl Layer {
    /// The range of the weight matrix in the flat parameter vector.
    pub(crate) fn weights(&self) -> std::ops::Range<usize> {
        self.weight..self.weight + stride(self.inputs) * stride(self.outputs)
    }
}

/// The width of a row in memory: `width` rounded up to a multiple of four, so that kernels may read whole `vec4`s.
///
/// What lies in between is 0 and stays 0: its gradient is 0, and every optimizer maps (0, 0) to 0.
pub const fn stride(width: usize) -> usize {
    width.next_multiple_of(4)
}

/// The offset of every tensor in one flat parameter vector, the same for both engines.
///
/// First all weights, then all that a weight decay may leave out, biases before γ and β, last the statistics of batch
/// normalisation, which no optimizer moves. A weight lies transposed, `(inputs, outputs)`: then the forward product and
/// the weight gradient, the two largest, both run along contiguous outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The linear layers, from the lowest on.
    pub layers: Vec<Layer>,
    /// The offset at which the weights end.
    pub weights: usize,
    /// The offset at which the biases end, and with them the linear layers.
    pub biases: usize,
    /// The offset at which the trained parameters end.
    pub trained: usize,
    /// The length of the parameter vector, padding included; a multiple of 4.
    pub len: usize,
    norm: Norm,
}

/// The name under which PyTorch keeps the number of batches in the running statistics.
const BATCHES: &str = "num_batches_tracked";

impl Layout {
    /// The layout of `model`'s parameters.
    pub fn new(model: &Mlp) -> Self {
        let mut end = 0;
        let mut take = |n: usize| {
            end += n;
            end - n
        };
        let mut layers: Vec<Layer> = model
            .widths
            .windows(2)
            .map(|w| Layer {
                inputs: w[0],
                outputs: w[1],
                weight: take(stride(w[0]) * stride(w[1])),
                ..Layer::default()
            })
            .collect();
        let weights = take(0);
        for layer in &mut layers {
            layer.bias = take(stride(layer.outputs));
        }
        let biases = take(0);
        for (l, layer) in layers.iter_mut().enumerate() {
            if model.norm_after(l) != Norm::None {
                layer.gamma = take(stride(layer.outputs));
                layer.beta = take(stride(layer.outputs));
            }
        }
        let trained = take(0);
        for (l, layer) in layers.iter_mut().enumerate() {
            if model.norm_after(l) == Norm::Batch {
                layer.statistics = take(2 * stride(layer.outputs) + stride(1));
            }
        }
        Self { layers, weights, biases, trained, len: end, norm: model.norm }
    }

    /// The names and shapes of all tensors, in PyTorch's order, with the flat offset of each of their elements in
    /// row-major order.
    fn tensors(&self) -> Vec<(String, Vec<usize>, Vec<usize>)> {
        let (mut tensors, mut number) = (Vec::new(), 0);
        for (l, layer) in self.layers.iter().enumerate() {
            let vector = |at: usize| (vec![layer.outputs], (at..at + layer.outputs).collect::<Vec<_>>());
            let row = |o: usize| (0..layer.inputs).map(move |i| layer.weight + i * stride(layer.outputs) + o);
            let mut add = |number: usize, name: &str, (shape, offsets)| {
                tensors.push((format!("{number}.{name}"), shape, offsets));
            };
            add(number, "weight", (vec![layer.outputs, layer.inputs], (0..layer.outputs).flat_map(row).collect()));
            add(number, "bias", vector(layer.bias));
            number += 2;
            if self.norm != Norm::None && l + 1 < self.layers.len() {
                add(number - 1, "weight", vector(layer.gamma));
                add(number - 1, "bias", vector(layer.beta));
                if self.norm == Norm::Batch {
                    let variance = layer.statistics + stride(layer.outputs);
                    add(number - 1, "running_mean", vector(layer.statistics));
                    add(number - 1, "running_var", vector(variance));
                    add(number - 1, BATCHES, (vec![], vec![variance + stride(layer.outputs)]));
                }
                number += 1;
            }
        }
        tensors
    }

    /// The names and shapes of all tensors, in PyTorch's order.
    pub fn names(&self) -> Vec<(String, Vec<usize>)> {
        self.tensors().into_iter().map(|(name, shape, _)| (name, shape)).collect()
    }

    /// The tensors of a flat parameter vector.
    ///
    /// # Panics
    /// If `flat` is not [`len`](Self::len) long.
    pub fn unpack(&self, flat: &[f64]) -> Vec<Tensor> {
        assert_eq!(flat.len(), self.len, "a flat parameter vector has the layout's length");
        let tensor = |(name, shape, offsets): (String, Vec<usize>, Vec<usize>)| Tensor {
            name,
            shape,
            values: offsets.iter().map(|&i| flat[i]).collect(),
        };
        self.tensors().into_iter().map(tensor).collect()
    }

    /// The flat parameter vector of `tensors`, given in any order.
    ///
    /// # Errors
    /// A tensor that is missing, not part of the model, or of another shape; the text names it.
    pub fn pack(&self, tensors: &[Tensor]) -> std::result::Result<Vec<f64>, String> {
        let mut flat = vec![0.0; self.len];
        let names = self.tensors();
        if let Some(extra) = tensors.iter().find(|t| names.iter().all(|(name, ..)| *name != t.name)) {
            return Err(format!("tensor {:?} {:?} has no place in the model", extra.name, extra.shape));
        }
        for (name, shape, offsets) in names {
            let tensor = tensors
                .iter()
                .find(|t| t.name == name)
                .ok_or_else(|| format!("expected tensor {name:?} {shape:?}, found none of that name"))?;
            if tensor.shape != shape {
                return Err(format!("tensor {name:?}: expected shape {shape:?}, found {:?}", tensor.shape));
            }
            for (&offset, &value) in offsets.iter().zip(&tensor.values) {
                flat[offset] = value;
            }
        }
        Ok(flat)
    }

    /// Puts 0 between the rows of the tensors, where kernels rely on it.
    pub(crate) fn clear_padding(&self, flat: &mut [f64]) {
        for (l, layer) in self.layers.iter().enumerate() {
            let (used, width) = (layer.outputs, stride(layer.outputs));
            for (i, row) in flat[layer.weights()].chunks_exact_mut(width).enumerate() {
                row[if i < layer.inputs { used } else { 0 }..].fill(0.0);
            }
            let mut vectors = vec![(layer.bias, used, width)];
            let is_hidden = l + 1 < self.layers.len();
            if self.norm != Norm::None && is_hidden {
                vectors.extend([layer.gamma, layer.beta].map(|at| (at, used, width)));
            }
            if self.norm == Norm::Batch && is_hidden {
                let (mean, variance) = (layer.statistics, layer.statistics + width);
                vectors.extend([(mean, used, width), (variance, used, width), (variance + width, 1, stride(1))]);
            }
            vectors.into_iter().for_each(|(at, used, width)| flat[at + used..at + width].fill(0.0));
        }
    }

    /// The first weights of a network, drawn with `seed`; replica r of a run uses seed + r.
    pub fn init(&self, model: &Mlp, init: Init, seed: u64) -> Vec<f64> {
        let mut flat = vec![0.0; self.len];
        for (l, layer) in self.layers.iter().enumerate() {
            let mut stream = Stream::new(seed, Purpose::Weights, l as u64);
            let (inputs, outputs) = (layer.inputs as f64, layer.outputs as f64);
            let mut draw = || match init {
                Init::Pytorch => (2.0 * stream.uniform() - 1.0) / inputs.sqrt(),
                Init::Kaiming => stream.normal() * model.activation_after(l).gain() / inputs.sqrt(),
                Init::Xavier => (2.0 * stream.uniform() - 1.0) * (6.0 / (inputs + outputs)).sqrt(),
            };
            for o in 0..layer.outputs {
                for i in 0..layer.inputs {
                    flat[layer.weight + i * stride(layer.outputs) + o] = draw();
                }
            }
            if init == Init::Pytorch {
                for o in 0..layer.outputs {
                    flat[layer.bias + o] = draw();
                }
            }
            if model.norm_after(l) != Norm::None {
                flat[layer.gamma..][..layer.outputs].fill(1.0);
            }
            if model.norm_after(l) == Norm::Batch {
                flat[layer.statistics + stride(layer.outputs)..][..layer.outputs].fill(1.0);
            }
        }
        flat
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;

    fn model() -> Mlp {
        Mlp::new(5, 2).hidden([3, 6])
    }

    #[test]
    fn tensors_do_not_overlap_and_survive_packing() {
        let layout = Layout::new(&model());
        let mut used = vec![false; layout.len];
        for offset in layout.tensors().into_iter().flat_map(|(.., offsets)| offsets) {
            assert!(!std::mem::replace(&mut used[offset], true), "offset {offset} is used twice");
        }
        assert_eq!(used.iter().filter(|u| **u).count(), model().parameters());
        let norm = Mlp { norm: Norm::Batch, ..model() };
        let statistics = Layout::new(&norm).tensors().into_iter().filter(|(name, ..)| name.contains("running"));
        let statistics: usize = statistics.map(|(.., offsets)| offsets.len()).sum();
        let all: usize = Layout::new(&norm).tensors().iter().map(|(.., offsets)| offsets.len()).sum();
        assert_eq!((statistics, all), (2 * (3 + 6), norm.parameters() + statistics + 2));

        let flat = layout.init(&model(), Init::Pytorch, 7);
        let mut tensors = layout.unpack(&flat);
        assert_eq!(tensors[0].shape, [3, 5]);
        assert_eq!(tensors[4].name, "4.weight");
        tensors.reverse();
        assert_eq!(layout.pack(&tensors).unwrap(), flat);
    }

    #[test]
    fn tensors_that_do_not_fit_are_named() {
        let layout = Layout::new(&model());
        let good = layout.unpack(&vec![0.0; layout.len]);

        let mut bad = good.clone();
        bad[2].shape = vec![3, 6];
        assert_eq!(layout.pack(&bad).unwrap_err(), r#"tensor "2.weight": expected shape [6, 3], found [3, 6]"#);
        assert!(layout.pack(&good[1..]).unwrap_err().contains(r#"expected tensor "0.weight" [3, 5]"#));
        bad = good.clone();
        bad[0].name = "1.weight".into();
        assert!(layout.pack(&bad).unwrap_err().contains("no place"));
    }

    #[test]
    fn first_weights_have_the_spread_of_their_rule() {
        let model = Mlp::new(300, 100).hidden([200]).activation(Activation::Tanh);
        let layout = Layout::new(&model);
        let deviation = |init, l: usize| {
            let weights = &layout.unpack(&layout.init(&model, init, 0))[2 * l].values;
            (weights.iter().map(|w| w * w).sum::<f64>() / weights.len() as f64).sqrt()
        };
        // A uniform deviate of width ±u has deviation u/√3; 20,000 draws estimate it to 1 %.
        let close = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 0.03, "{got} is not near {want}");
        close(deviation(Init::Pytorch, 0), 1.0 / 900f64.sqrt());
        close(deviation(Init::Kaiming, 0), 5.0 / 3.0 / 300f64.sqrt());
        close(deviation(Init::Kaiming, 1), 1.0 / 200f64.sqrt());
        close(deviation(Init::Xavier, 0), (2.0f64 / 500.0).sqrt());
    }
}
