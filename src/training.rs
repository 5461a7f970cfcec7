//! A whole training as one value.

use std::sync::Arc;

use crate::average::Average;
use crate::data::{Augment, Dataset};
use crate::device::Device;
use crate::engine::{Precision, Setup};
use crate::error::Result;
use crate::loss::Loss;
use crate::model::{Init, Mlp};
use crate::optimizer::Optimizer;
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::stop::Stop;
use crate::train::Trainer;

/// Everything that decides a training: the network, the data, what the engine does, what the loop does, and where. Each
/// setting stands once; what a method does not set is a field of [`setup`](Self::setup) or [`plan`](Self::plan).
#[derive(Clone, Debug)]
pub struct Training {
    /// What the engine is built for.
    pub setup: Setup,
    /// What the loop does with it.
    pub plan: Plan,
    /// How the first weights are drawn. Default PyTorch's.
    pub init: Init,
    /// Where it computes. Default: a hardware GPU if there is one, else the CPU engine.
    pub device: Device,
}

impl Training {
    /// One network trained by AdamW for ten epochs in batches of 128, with the loss that fits the targets.
    pub fn new(model: Mlp, dataset: impl Into<Arc<Dataset>>) -> Self {
        Self {
            setup: Setup::new(model, dataset.into()),
            plan: Plan::default(),
            init: Init::default(),
            device: Device::default(),
        }
    }

    /// With this loss. Default: cross-entropy for labels, the squared error for other targets.
    #[must_use]
    pub fn loss(mut self, loss: Loss) -> Self {
        self.setup.loss = loss;
        self
    }

    /// With this optimizer. Default AdamW.
    #[must_use]
    pub fn optimizer(mut self, optimizer: Optimizer) -> Self {
        self.setup.optimizer = optimizer;
        self
    }

    /// With this schedule of the learning rate. Default constant.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.plan.schedule = schedule;
        self
    }

    /// With so many samples a step. Default 128, or as many as there are.
    #[must_use]
    pub fn batch(mut self, samples: usize) -> Self {
        self.setup.batch = samples;
        self
    }

    /// With so many passes over the training part. Default 10.
    #[must_use]
    pub fn epochs(mut self, epochs: u64) -> Self {
        self.plan.epochs = epochs;
        self
    }

    /// With these averages of the weights. Default none.
    #[must_use]
    pub fn average(mut self, average: Average) -> Self {
        self.setup.average = average;
        self
    }

    /// With samples changed at random. Default unchanged.
    #[must_use]
    pub fn augment(mut self, augment: Augment) -> Self {
        self.setup.augment = augment;
        self
    }

    /// With gradients scaled down to this norm. Default as they are.
    #[must_use]
    pub fn clip_norm(mut self, norm: f64) -> Self {
        self.setup.clip_norm = Some(norm);
        self
    }

    /// With what ends it early, and which weights it keeps. Default: after the last epoch, with the last.
    #[must_use]
    pub fn stop(mut self, stop: Stop) -> Self {
        self.plan.stop = stop;
        self
    }

    /// With first weights, orders, dropout and augmentation drawn by this seed. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.setup.seed = seed;
        self
    }

    /// With so many networks side by side; network r has seed + r. Default 1.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.setup.replicas = replicas;
        self
    }

    /// In this precision. Default f32.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.setup.precision = precision;
        self
    }

    /// On this device.
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Opens the engine, draws the first weights, and is ready for the first step.
    ///
    /// # Errors
    /// Settings that do not go together; no such device, or one with too little memory.
    pub fn trainer(self) -> Result<Trainer> {
        let (engine, _) = self.device.open(self.setup, crate::gpu::Options::default())?;
        let mut trainer = Trainer::new(engine, self.plan)?;
        trainer.init(self.init)?;
        Ok(trainer)
    }
}
