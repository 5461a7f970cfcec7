//! What every peer is given: the network, its first weights and the batches.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result};
use thalweg::data::{Dataset, Normalize, Samples};
use thalweg::engine::{Layout, Setup, Tensor};
use thalweg::model::{Init, Mlp};
use thalweg::optimizer::Optimizer;

/// Samples of the made-up data set.
pub const SAMPLES: usize = 4096;
/// Classes, the width of the last layer.
pub const CLASSES: usize = 10;
/// The learning rate that is timed.
pub const LR: f64 = 1e-3;
/// The momentum of every peer that has one.
pub const MOMENTUM: f64 = 0.9;
/// The most batches that are made: enough that none is in a cache by chance, few enough that all lie on the device.
const MOST_BATCHES: usize = 64;

/// One of the networks measured, by its widths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Values of a sample.
    pub inputs: usize,
    hidden: [usize; 2],
}

/// All of them.
pub const NETWORKS: [Network; 2] =
    [Network { inputs: 3072, hidden: [512, 256] }, Network { inputs: 784, hidden: [256, 128] }];

impl Network {
    /// The network with so many inputs.
    pub fn of(inputs: usize) -> Option<Self> {
        NETWORKS.into_iter().find(|network| network.inputs == inputs)
    }

    /// Inputs and outputs of each linear layer.
    pub fn layers(self) -> [(usize, usize); 3] {
        let [first, second] = self.hidden;
        [(self.inputs, first), (first, second), (second, CLASSES)]
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{CLASSES}", self.inputs, self.hidden[0], self.hidden[1])
    }
}

/// One batch as most peers take it.
pub struct Batch {
    /// Normalised features, `(rows, inputs)`.
    pub x: Vec<f32>,
    /// Labels, `(rows)`.
    pub labels: Vec<u32>,
}

/// One network at one batch size.
pub struct Task {
    /// The network.
    pub network: Network,
    /// Samples of a step.
    pub rows: usize,
    /// The batches that the steps go round.
    pub batches: Vec<Batch>,
    /// The first weights as thalweg takes them.
    pub flat: Vec<f64>,
    tensors: Vec<Tensor>,
    setup: Setup,
}

impl Task {
    /// Makes the data and the weights, the same ones every time.
    pub fn new(network: Network, rows: usize) -> Result<Self> {
        let width = network.inputs;
        let pixels: Vec<u8> = (0..SAMPLES * width).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect();
        let labels: Vec<u32> = (0..SAMPLES as u32).map(|i| i % CLASSES as u32).collect();
        let train = Samples::labelled(pixels.clone(), labels.clone());
        let dataset = Dataset::new("noise", [1, 1, width], train, None)
            .context("the made-up data set")?
            .normalize(Normalize::Channel);
        let (scale, shift) = (dataset.normalization.scale[0] as f32, dataset.normalization.shift[0] as f32);

        let batches = pixels
            .chunks_exact(rows * width)
            .zip(labels.chunks_exact(rows))
            .take(MOST_BATCHES)
            .map(|(pixels, labels)| Batch {
                x: pixels.iter().map(|&raw| f32::from(raw) * scale + shift).collect(),
                labels: labels.to_vec(),
            })
            .collect();

        let model = Mlp::new(width, CLASSES).hidden(network.hidden);
        let layout = Layout::new(&model);
        let flat = layout.init(&model, Init::Kaiming, 0);
        let tensors = layout.unpack(&flat);
        let optimizer = Optimizer::sgd(LR).momentum(MOMENTUM);
        let setup = Setup { optimizer, batch: rows, ..Setup::new(model, Arc::new(dataset)) };
        Ok(Self { network, rows, batches, flat, tensors, setup })
    }

    /// What a thalweg engine is built for.
    pub fn setup(&self) -> Setup {
        self.setup.clone()
    }

    /// The first weight of a layer, `(outputs, inputs)`.
    pub fn weight(&self, layer: usize) -> Vec<f32> {
        self.tensors[2 * layer].values.iter().map(|&w| w as f32).collect()
    }

    /// The same, `(inputs, outputs)`.
    pub fn weight_transposed(&self, layer: usize) -> Vec<f32> {
        let (inputs, outputs) = self.network.layers()[layer];
        let weight = self.weight(layer);
        (0..inputs * outputs).map(|i| weight[i % outputs * inputs + i / outputs]).collect()
    }

    /// The first bias of a layer.
    pub fn bias(&self, layer: usize) -> Vec<f32> {
        self.tensors[2 * layer + 1].values.iter().map(|&b| b as f32).collect()
    }
}
