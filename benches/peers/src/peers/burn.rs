//! burn on wgpu and on its CPU backend, with its own modules, loss and optimizer.
//!
//! Cargo features choose how burn is built: `fusion`, `autotune` and `vulkan` are its own, for the wgpu backend.

use anyhow::{Context, Result};
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, DeviceKind, Int, Tensor, TensorData};

use super::Peer;
use crate::task::{Batch, MOMENTUM, Task};

#[derive(Module, Debug)]
struct Net {
    layers: [Linear; 3],
}

impl Net {
    fn new(task: &Task, device: &Device) -> Self {
        let layer = |l: usize| {
            let (inputs, outputs) = task.network.layers()[l];
            let weight = TensorData::new(task.weight_transposed(l), [inputs, outputs]);
            let bias = TensorData::new(task.bias(l), [outputs]);
            Linear { weight: Param::from_data(weight, device), bias: Some(Param::from_data(bias, device)) }
        };
        Self { layers: [layer(0), layer(1), layer(2)] }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [first, second, last] = &self.layers;
        last.forward(relu(second.forward(relu(first.forward(x)))))
    }
}

/// burn on one of its devices.
pub struct Burn {
    backend: String,
    device: Device,
    /// None only within a step, which takes the network and hands back another.
    net: Option<Net>,
    loss: CrossEntropyLoss,
    optimizer: ModuleOptimizer,
    batches: Vec<(Tensor<2>, Tensor<1, Int>)>,
}

impl Burn {
    /// On the GPU that burn chooses.
    pub fn wgpu(task: &Task) -> Self {
        let device = Device::wgpu(DeviceKind::DefaultDevice);
        let name = device.identity().map_or_else(|| "an unknown device".into(), |identity| identity.name);
        let with = |on: bool, what: &str| format!("{} {what}", if on { "with" } else { "without" });
        let fusion = with(cfg!(feature = "fusion"), "fusion");
        let autotune = with(cfg!(feature = "autotune"), "autotune");
        let language = if cfg!(feature = "vulkan") { "SPIR-V where it can" } else { "WGSL" };
        Self::new(task, device, format!("wgpu on {name}, {fusion}, {autotune}, {language}"))
    }

    /// On the CPU, with SIMD and all threads.
    pub fn flex(task: &Task) -> Self {
        Self::new(task, Device::flex(), "flex, with simd and rayon".into())
    }

    fn new(task: &Task, device: Device, backend: String) -> Self {
        let device = device.autodiff();
        let tensors = |batch: &Batch| {
            let x = TensorData::new(batch.x.clone(), [task.rows, task.network.inputs]);
            let labels = TensorData::new(batch.labels.iter().map(|&l| l as i32).collect(), [task.rows]);
            (Tensor::from_data(x, &device), Tensor::from_data(labels, &device))
        };
        Self {
            backend,
            net: Some(Net::new(task, &device)),
            loss: CrossEntropyLossConfig::new().init(&device),
            // burn's default dampening is 0.1.
            optimizer: SgdConfig::new()
                .with_momentum(Some(MomentumConfig::new().with_momentum(MOMENTUM).with_dampening(0.0)))
                .init(),
            batches: task.batches.iter().map(tensors).collect(),
            device,
        }
    }

    fn forward(&self, net: &Net, batch: usize) -> Tensor<1> {
        let (x, labels) = self.batches[batch].clone();
        self.loss.forward(net.forward(x), labels)
    }
}

impl Peer for Burn {
    fn describe(&self) -> String {
        format!("burn 0.22 {}", self.backend)
    }

    fn loss(&mut self, batch: usize) -> Result<f64> {
        let net = self.net.as_ref().context("an earlier step failed")?;
        Ok(f64::from(self.forward(net, batch).into_scalar::<f32>()))
    }

    fn run(&mut self, batches: &[usize], lr: f64) -> Result<()> {
        for &batch in batches {
            let net = self.net.take().context("an earlier step failed")?;
            let gradients = self.forward(&net, batch).backward();
            let gradients = GradientsParams::from_grads(gradients, &net);
            self.net = Some(self.optimizer.step(lr, net, gradients));
        }
        self.device.sync().context("the device failed")
    }
}
