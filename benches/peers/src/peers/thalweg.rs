//! thalweg's two engines.

use anyhow::{Context, Result};
use thalweg::cpu::CpuEngine;
use thalweg::data::Order;
use thalweg::engine::{Engine, Precision, Setup, Slot, Step};
use thalweg::gpu::GpuEngine;
use thalweg::gpu::adapter::Gpu;
use thalweg::schedule::Rate;

use super::Peer;
use crate::task::{MOMENTUM, SAMPLES, Task};

/// One of the engines.
pub struct Thalweg {
    engine: Box<dyn Engine>,
    rows: usize,
    momentum: f64,
}

impl Thalweg {
    /// The CPU engine, on all cores.
    pub fn cpu(task: &Task) -> Result<Self> {
        Self::cpu_with(task, MOMENTUM)
    }

    /// The same with another momentum.
    pub fn cpu_with(task: &Task, momentum: f64) -> Result<Self> {
        Self::new(task, Box::new(CpuEngine::<f32>::new(task.setup())?), momentum)
    }

    /// The GPU engine, on the first adapter, in f32 or in mixed precision.
    pub fn gpu(task: &Task, mixed: bool) -> Result<Self> {
        let precision = if mixed { Precision::Mixed } else { Precision::F32 };
        let setup = Setup { precision, ..task.setup() };
        Self::new(task, Box::new(GpuEngine::tuned(Gpu::open_any, &setup)?), MOMENTUM)
    }

    fn new(task: &Task, mut engine: Box<dyn Engine>, momentum: f64) -> Result<Self> {
        engine.upload(Slot::Live, 0, &task.flat)?;
        engine.set_order(&[Order::Sequential.permutation(SAMPLES, 0, 0)])?;
        Ok(Self { engine, rows: task.rows, momentum })
    }

    fn step(&self, batch: usize, lr: f64) -> Step {
        let rates = vec![Rate { lr, momentum: self.momentum }];
        Step { first: batch * self.rows, rows: self.rows, rates, ..Step::default() }
    }
}

impl Peer for Thalweg {
    fn describe(&self) -> String {
        self.engine.describe()
    }

    fn loss(&mut self, batch: usize) -> Result<f64> {
        let step = self.step(batch, 0.0);
        Ok(self.engine.gradients(&step)?.first().context("expected one replica, found none")?.0)
    }

    fn run(&mut self, batches: &[usize], lr: f64) -> Result<()> {
        let steps: Vec<Step> = batches.iter().map(|&batch| self.step(batch, lr)).collect();
        for steps in steps.chunks(self.engine.steps_at_once()) {
            self.engine.run(steps)?;
        }
        self.engine.wait()?;
        Ok(())
    }
}
