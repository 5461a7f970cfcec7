//! candle on the CPU.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};
use candle_nn::loss;

use super::Peer;
use crate::task::{MOMENTUM, Task};

/// candle, with SGD's momentum by hand: its own SGD has none.
///
/// Its weights lie as `(inputs, outputs)`. Its `Linear` holds them the other way, and transposes their gradient element
/// by element.
pub struct Candle {
    /// Weight and bias of each layer in turn, and the velocity of each once there is one.
    vars: Vec<(Var, Option<Tensor>)>,
    batches: Vec<(Tensor, Tensor)>,
}

impl Candle {
    /// On all cores, as candle's own thread pool decides.
    pub fn cpu(task: &Task) -> Result<Self> {
        let device = Device::Cpu;
        let mut vars = Vec::new();
        for (l, (inputs, outputs)) in task.network.layers().into_iter().enumerate() {
            vars.push((Var::from_vec(task.weight_transposed(l), (inputs, outputs), &device)?, None));
            vars.push((Var::from_vec(task.bias(l), outputs, &device)?, None));
        }
        let mut batches = Vec::new();
        for batch in &task.batches {
            let x = Tensor::from_slice(&batch.x, (task.rows, task.network.inputs), &device)?;
            batches.push((x, Tensor::from_slice(&batch.labels, task.rows, &device)?));
        }
        Ok(Self { vars, batches })
    }

    fn forward(&self, batch: usize) -> Result<Tensor> {
        let (x, labels) = &self.batches[batch];
        let mut a = x.clone();
        for (l, layer) in self.vars.chunks_exact(2).enumerate() {
            if l > 0 {
                a = a.relu()?;
            }
            a = a.matmul(&layer[0].0)?.broadcast_add(&layer[1].0)?;
        }
        Ok(loss::cross_entropy(&a, labels)?)
    }
}

impl Peer for Candle {
    fn describe(&self) -> String {
        "candle 0.11 on the CPU".into()
    }

    fn loss(&mut self, batch: usize) -> Result<f64> {
        Ok(f64::from(self.forward(batch)?.to_scalar::<f32>()?))
    }

    fn run(&mut self, batches: &[usize], lr: f64) -> Result<()> {
        for &batch in batches {
            let gradients = self.forward(batch)?.backward()?;
            for (var, velocity) in &mut self.vars {
                let gradient = gradients.get(var).context("expected a gradient of each parameter, found none")?;
                let next = match velocity {
                    Some(velocity) => ((&*velocity * MOMENTUM)? + gradient)?,
                    None => gradient.clone(),
                };
                var.set(&var.sub(&(&next * lr)?)?)?;
                *velocity = Some(next);
            }
        }
        Ok(())
    }
}
