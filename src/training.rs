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
use crate::sam::Sam;
use crate::schedule::Schedule;
use crate::stop::Stop;
use crate::train::Trainer;

/// Everything that decides a training: the network, the data, what the engine does, what the loop does, and where. Each
/// setting stands once; what a method does not set is a field of [`setup`](Self::setup) or [`plan`](Self::plan).
#[derive(Clone, Debug)]
pub struct Training {
    /// The setup that the engine is built for.
    pub setup: Setup,
    /// The plan of the run: what the loop does with the engine.
    pub plan: Plan,
    /// The rule by which the first weights are drawn. Default: PyTorch's.
    pub init: Init,
    /// The device that computes. Default: a hardware GPU if there is one, else the CPU engine.
    pub device: Device,
}

impl Training {
    /// A training of one network by AdamW for ten epochs in batches of 128 (or as many samples as there are), with the
    /// loss that fits the targets.
    pub fn new(model: Mlp, dataset: impl Into<Arc<Dataset>>) -> Self {
        Self {
            setup: Setup::new(model, dataset.into()),
            plan: Plan::default(),
            init: Init::default(),
            device: Device::default(),
        }
    }

    /// Sets the loss. Default: cross-entropy for labels, the mean squared error for other targets.
    #[must_use]
    pub fn loss(mut self, loss: Loss) -> Self {
        self.setup.loss = loss;
        self
    }

    /// Sets the optimizer. Default: AdamW.
    #[must_use]
    pub fn optimizer(mut self, optimizer: Optimizer) -> Self {
        self.setup.optimizer = optimizer;
        self
    }

    /// Sets the ascent before each update, for which a step makes two gradients. Default: none.
    #[must_use]
    pub fn sam(mut self, sam: Sam) -> Self {
        self.setup.sam = Some(sam);
        self
    }

    /// Sets the schedule of the learning rate. Default: constant.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.plan.schedule = schedule;
        self
    }

    /// Sets the number of samples a step. Default: 128, or as many as there are.
    #[must_use]
    pub fn batch(mut self, samples: usize) -> Self {
        self.setup.batch = samples;
        self
    }

    /// Sets the number of epochs, passes over the training part. Default: 10.
    #[must_use]
    pub fn epochs(mut self, epochs: u64) -> Self {
        self.plan.epochs = epochs;
        self
    }

    /// Sets the averages of the weights that are kept. Default: none.
    #[must_use]
    pub fn average(mut self, average: Average) -> Self {
        self.setup.average = average;
        self
    }

    /// Sets the random changes of the training samples. Default: none.
    #[must_use]
    pub fn augment(mut self, augment: Augment) -> Self {
        self.setup.augment = augment;
        self
    }

    /// Sets the norm of the whole gradient to which larger ones are scaled down; positive. Default: none.
    #[must_use]
    pub fn clip_norm(mut self, norm: f64) -> Self {
        self.setup.clip_norm = Some(norm);
        self
    }

    /// Sets the rules that end the run early and keep its best weights. Default: none; it ends after the last epoch.
    #[must_use]
    pub fn stop(mut self, stop: Stop) -> Self {
        self.plan.stop = stop;
        self
    }

    /// Sets the seed of first weights, orders, dropout and augmentation. Default: 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.setup.seed = seed;
        self
    }

    /// Sets the number of networks trained side by side; network r has seed + r. Default: 1.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.setup.replicas = replicas;
        self
    }

    /// Sets the precision of the engine. Default: f32.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.setup.precision = precision;
        self
    }

    /// Sets the device that computes. Default: a hardware GPU if there is one, else the CPU engine.
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// The trainer of this training: its engine opened, its first weights drawn, ready for the first step.
    ///
    /// # Errors
    /// Settings that do not go together; a device that is not there, or one with too little memory.
    pub fn trainer(self) -> Result<Trainer> {
        let (engine, _) = self.device.open(self.setup, crate::gpu::Options::default())?;
        let mut trainer = Trainer::new(engine, self.plan)?;
        trainer.init(self.init)?;
        Ok(trainer)
    }
}
