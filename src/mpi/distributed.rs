//! The engine of rank 0, which hands every step to all ranks.

use std::ops::Range;

use super::command::Command;
use super::ranks::Ranks;
use super::sharing::{Sharing, is_everywhere};
use super::worker::Worker;
use crate::average::Take;
use crate::data::{Features, Part};
use crate::engine::{
    Allocation, Capture, Curvature, Diagnose, Engine, Evaluation, Forms, Gradient, Layout, Limits, LossScale, Setup,
    Slot, Step, StepMetrics, Timed,
};
use crate::error::{Error, Result};

/// The engine of a run on several ranks: rank 0's own, which is checked, and whose steps all ranks take together, each its share
/// of the samples. What changes no weights, as evaluations and averages, rank 0 does alone.
pub struct Distributed {
    worker: Worker,
    /// The devices of all ranks, in words.
    description: String,
    /// Whether all ranks have the mean of SWA.
    has_swa: bool,
}

impl Distributed {
    /// The engine of rank 0 over its own one, where the ranks compute on such `devices`, in words. All others
    /// [`follow`](super::follow()).
    ///
    /// # Errors
    /// What [`Sharing::check`] refuses.
    pub fn new(ranks: Ranks, engine: Box<dyn Engine>, sharing: Sharing, devices: &[String]) -> Result<Self> {
        sharing.check(engine.setup(), &ranks)?;
        let own = engine.describe();
        let others = if devices.iter().all(|device| *device == own) { "" } else { " and others" };
        let description = format!("{own}{others}, {} ranks", ranks.size);
        let has_swa = matches!(sharing, Sharing::Alone { .. });
        Ok(Self { worker: Worker::new(engine, ranks, sharing)?, description, has_swa })
    }

    /// Gives all ranks what this one holds in `slot`, if they hold it.
    fn spread(&mut self, slot: Slot) -> Result<()> {
        if !is_everywhere(slot) {
            return Ok(());
        }
        (0..self.setup().replicas).try_for_each(|replica| {
            let values = self.worker.engine.download(slot, replica)?;
            self.send_vector(slot, replica, values)
        })
    }

    fn send_vector(&self, slot: Slot, replica: usize, mut values: Vec<f64>) -> Result<()> {
        Command::Vector { slot, replica }.send(&self.worker.ranks)?;
        self.worker.ranks.broadcast_values(&mut values);
        Ok(())
    }
}

/// The step as the others take it, who have no averages but those that all have.
fn of_followers(step: &Step, has_swa: bool) -> Step {
    let Take { swa, lookahead, .. } = step.take;
    Step { take: Take { swa: if has_swa { swa } else { 0.0 }, lookahead, ..Take::default() }, ..step.clone() }
}

fn refused<T>(expected: &str) -> Result<T> {
    Err(Error::config("engine", format!("expected {expected}, found another wish")))
}

impl Engine for Distributed {
    fn setup(&self) -> &Setup {
        self.worker.engine.setup()
    }

    fn layout(&self) -> &Layout {
        self.worker.engine.layout()
    }

    fn has(&self, slot: Slot) -> bool {
        self.worker.engine.has(slot)
    }

    fn allocate(&mut self, slot: Slot) -> Result<()> {
        self.worker.engine.allocate(slot)
    }

    fn free(&mut self, slot: Slot) -> Result<()> {
        self.worker.engine.free(slot)
    }

    fn upload(&mut self, slot: Slot, replica: usize, values: &[f64]) -> Result<()> {
        self.worker.engine.upload(slot, replica, values)?;
        if is_everywhere(slot) { self.send_vector(slot, replica, values.to_vec()) } else { Ok(()) }
    }

    fn download(&mut self, slot: Slot, replica: usize) -> Result<Vec<f64>> {
        self.worker.engine.download(slot, replica)
    }

    fn copy(&mut self, from: Slot, to: Slot) -> Result<()> {
        self.worker.engine.copy(from, to)?;
        self.spread(to)
    }

    fn copy_of(&mut self, replica: usize, from: Slot, to: Slot) -> Result<()> {
        self.worker.engine.copy_of(replica, from, to)?;
        self.spread(to)
    }

    fn set_own(&mut self, _: usize, _: Setup) -> Result<()> {
        refused("the setup that all ranks have")
    }

    fn set_active(&mut self, _: usize) -> Result<()> {
        refused("all replicas to take part")
    }

    fn axpy(&mut self, alpha: &[f64], x: Slot, y: Slot) -> Result<()> {
        self.worker.engine.axpy(alpha, x, y)?;
        self.spread(y)
    }

    fn capture(&mut self, slots: &[Slot]) -> Result<Capture> {
        self.worker.engine.capture(slots)
    }

    fn scale(&mut self, alpha: &[f64], x: Slot) -> Result<()> {
        self.worker.engine.scale(alpha, x)?;
        self.spread(x)
    }

    fn dot(&mut self, x: Slot, y: Slot) -> Result<Vec<f64>> {
        self.worker.engine.dot(x, y)
    }

    fn set_order(&mut self, orders: &[Vec<u32>]) -> Result<()> {
        self.worker.engine.set_order(orders)?;
        Command::Order.send(&self.worker.ranks)?;
        orders.iter().for_each(|order| self.worker.ranks.broadcast_values(&mut order.clone()));
        Ok(())
    }

    fn steps_at_once(&self) -> usize {
        self.worker.steps_at_once()
    }

    fn run(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>> {
        Command::Run { steps: steps.iter().map(|step| of_followers(step, self.has_swa)).collect() }
            .send(&self.worker.ranks)?;
        self.worker.run(steps)
    }

    fn wait(&mut self) -> Result<Vec<StepMetrics>> {
        self.worker.engine.wait()
    }

    fn gradient(&mut self, step: &Step, of: Gradient) -> Result<Vec<StepMetrics>> {
        self.worker.engine.gradient(step, of)
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        for replica in 0..self.setup().replicas {
            let gradient = self.worker.engine.download(Slot::Gradient, replica)?;
            self.send_vector(Slot::Gradient, replica, gradient)?;
        }
        Command::Update { step: of_followers(step, self.has_swa) }.send(&self.worker.ranks)?;
        self.worker.engine.update(step)
    }

    fn slope(&mut self, over: Range<usize>) -> Result<Vec<Evaluation>> {
        self.worker.engine.slope(over)
    }

    fn curve(&mut self, of: Curvature, over: Range<usize>, x: Slot, into: Slot) -> Result<()> {
        self.worker.engine.curve(of, over, x, into)
    }

    fn evaluate(&mut self, part: Part, slots: &[Slot]) -> Result<Vec<Evaluation>> {
        self.worker.engine.evaluate(part, slots)
    }

    fn project(&mut self, part: Part, slots: &[Slot]) -> Result<bool> {
        self.worker.engine.project(part, slots)
    }

    fn evaluate_projected(&mut self, coefficients: &[Vec<f64>]) -> Result<Vec<Evaluation>> {
        self.worker.engine.evaluate_projected(coefficients)
    }

    fn predict(&mut self, inputs: &Features, slots: &[Slot]) -> Result<Vec<Vec<f64>>> {
        self.worker.engine.predict(inputs, slots)
    }

    fn renew_statistics(&mut self, slot: Slot, steps: &[Step]) -> Result<()> {
        self.worker.engine.renew_statistics(slot, steps)?;
        self.spread(slot)
    }

    fn loss_scales(&mut self) -> Result<Vec<LossScale>> {
        self.worker.engine.loss_scales()
    }

    fn set_loss_scales(&mut self, scales: &[LossScale]) -> Result<()> {
        self.worker.engine.set_loss_scales(scales)?;
        Command::LossScales { scales: scales.to_vec() }.send(&self.worker.ranks)
    }

    fn forms(&self) -> Forms {
        self.worker.engine.forms()
    }
}

impl Diagnose for Distributed {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn device(&self) -> Option<wgpu::Device> {
        self.worker.engine.device()
    }

    fn memory(&self) -> Vec<Allocation> {
        self.worker.engine.memory()
    }

    fn value_bytes(&self) -> usize {
        self.worker.engine.value_bytes()
    }

    fn measure_limits(&mut self) -> Result<Limits> {
        self.worker.engine.measure_limits()
    }

    fn dispatches(&self) -> usize {
        self.worker.engine.dispatches()
    }

    fn profile(&mut self, step: &Step) -> Result<Vec<Timed>> {
        self.worker.engine.profile(step)
    }
}
