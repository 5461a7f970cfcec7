//! A replica of a population, as an engine of one replica.

use std::ops::Range;
use std::sync::{Arc, MutexGuard};

use super::state::{Answer, Asked, State};
use super::{Error, Evaluation, LossScale, Result, Setup, Shared, Slot, Step, StepMetrics};
use crate::data::{Features, Part};
use crate::engine::{Allocation, Capture, Curvature, Diagnose, Engine, Forms, Gradient, Layout, Limits, Timed};

/// The engine of one run in a population: to the run, an engine of one replica. It trains, evaluates and keeps vectors; what a
/// run does not ask for (gradients by themselves, products of second derivatives, sums of vectors) it refuses.
pub struct Seat {
    shared: Arc<Shared>,
    number: usize,
    setup: Setup,
    layout: Layout,
    /// The vectors that this run has allocated; others may have more.
    allocated: Vec<Slot>,
}

impl Seat {
    pub(super) fn new(shared: Arc<Shared>, number: usize, setup: Setup, layout: Layout) -> Self {
        Self { shared, number, setup, layout, allocated: Vec::new() }
    }

    /// The state, for something that is done at once.
    fn state(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.shared.state();
        state.flush()?;
        Ok(state)
    }

    fn refused<T>(&self, what: &str) -> Result<T> {
        Err(Error::config("engine", format!("expected an engine of its own for {what}, found one that runs share")))
    }

    fn expect_one(&self, replica: usize) -> Result<()> {
        if replica == 0 { Ok(()) } else { Err(Error::config("replica", format!("expected 0, found {replica}"))) }
    }
}

impl Engine for Seat {
    fn setup(&self) -> &Setup {
        &self.setup
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn has(&self, slot: Slot) -> bool {
        if slot.is_allocated() { self.allocated.contains(&slot) } else { self.shared.state().engine.has(slot) }
    }

    fn allocate(&mut self, slot: Slot) -> Result<()> {
        let mut state = self.state()?;
        if state.engine.has(slot) {
            let (replica, zeros) = (state.replica(self.number), vec![0.0; self.layout.len]);
            state.engine.upload(slot, replica, &zeros)?;
        } else {
            state.engine.allocate(slot)?;
        }
        drop(state);
        self.allocated.push(slot);
        Ok(())
    }

    fn free(&mut self, slot: Slot) -> Result<()> {
        // Others may have it too.
        self.allocated.retain(|&allocated| allocated != slot);
        Ok(())
    }

    fn upload(&mut self, slot: Slot, replica: usize, values: &[f64]) -> Result<()> {
        self.expect_one(replica)?;
        let mut state = self.state()?;
        let replica = state.replica(self.number);
        state.engine.upload(slot, replica, values)
    }

    fn download(&mut self, slot: Slot, replica: usize) -> Result<Vec<f64>> {
        self.expect_one(replica)?;
        let mut state = self.state()?;
        let replica = state.replica(self.number);
        state.engine.download(slot, replica)
    }

    fn copy(&mut self, from: Slot, to: Slot) -> Result<()> {
        self.shared.state().copy(self.number, from, to);
        Ok(())
    }

    fn copy_of(&mut self, replica: usize, from: Slot, to: Slot) -> Result<()> {
        self.expect_one(replica)?;
        self.copy(from, to)
    }

    fn set_own(&mut self, _: usize, _: Setup) -> Result<()> {
        self.refused("another setup")
    }

    fn set_active(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn axpy(&mut self, _: &[f64], _: Slot, _: Slot) -> Result<()> {
        self.refused("sums of vectors")
    }

    fn capture(&mut self, slots: &[Slot]) -> Result<Capture> {
        let value_bytes = self.value_bytes();
        let mut state = self.state()?;
        let replica = state.replica(self.number);
        let mut vectors = Vec::with_capacity(slots.len());
        for &slot in slots {
            let values = state.engine.download(slot, replica)?;
            vectors.push(match value_bytes {
                8 => values.iter().flat_map(|value| value.to_ne_bytes()).collect(),
                _ => values.iter().flat_map(|&value| (value as f32).to_ne_bytes()).collect(),
            });
        }
        Ok(Box::new(move || Ok(vectors)))
    }

    fn scale(&mut self, _: &[f64], _: Slot) -> Result<()> {
        self.refused("sums of vectors")
    }

    fn dot(&mut self, _: Slot, _: Slot) -> Result<Vec<f64>> {
        self.refused("inner products")
    }

    fn set_order(&mut self, orders: &[Vec<u32>]) -> Result<()> {
        let [order] = orders else {
            return Err(Error::config("orders", format!("expected 1, found {}", orders.len())));
        };
        self.shared.state().set_order(self.number, order.clone());
        Ok(())
    }

    fn steps_at_once(&self) -> usize {
        self.shared.state().engine.steps_at_once()
    }

    fn run(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>> {
        if !steps.is_empty() {
            self.shared.ask(self.number, Asked::Run(steps.to_vec()))?;
        }
        Ok(self.shared.state().metrics(self.number))
    }

    fn wait(&mut self) -> Result<Vec<StepMetrics>> {
        Ok(self.state()?.metrics(self.number))
    }

    fn gradient(&mut self, _: &Step, _: Gradient) -> Result<Vec<StepMetrics>> {
        self.refused("a gradient by itself")
    }

    fn update(&mut self, _: &Step) -> Result<()> {
        self.refused("an update by itself")
    }

    fn slope(&mut self, _: Range<usize>) -> Result<Vec<Evaluation>> {
        self.refused("derivatives of the evaluated loss")
    }

    fn curve(&mut self, _: Curvature, _: Range<usize>, _: Slot, _: Slot) -> Result<()> {
        self.refused("second derivatives")
    }

    fn evaluate(&mut self, part: Part, slots: &[Slot]) -> Result<Vec<Evaluation>> {
        match self.shared.ask(self.number, Asked::Evaluate(part, slots.to_vec()))? {
            Answer::Evaluated(evaluation) => Ok(vec![evaluation]),
            Answer::Done => Ok(Vec::new()),
        }
    }

    fn predict(&mut self, inputs: &Features, slots: &[Slot]) -> Result<Vec<Vec<f64>>> {
        let mut state = self.state()?;
        let replica = state.replica(self.number);
        Ok(vec![state.engine.predict(inputs, slots)?.swap_remove(replica)])
    }

    fn renew_statistics(&mut self, slot: Slot, steps: &[Step]) -> Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        self.shared.ask(self.number, Asked::Renew(slot, steps.to_vec())).map(drop)
    }

    fn loss_scales(&mut self) -> Result<Vec<LossScale>> {
        self.state()?.loss_scale(self.number)
    }

    fn set_loss_scales(&mut self, scales: &[LossScale]) -> Result<()> {
        match scales {
            [scale] => self.state()?.set_loss_scale(self.number, *scale),
            _ => Ok(()),
        }
    }

    fn forms(&self) -> Forms {
        self.shared.state().engine.forms()
    }
}

impl Diagnose for Seat {
    fn describe(&self) -> String {
        self.shared.state().engine.describe()
    }

    fn memory(&self) -> Vec<Allocation> {
        self.shared.state().engine.memory()
    }

    fn value_bytes(&self) -> usize {
        self.shared.state().engine.value_bytes()
    }

    fn measure_limits(&mut self) -> Result<Limits> {
        self.state()?.engine.measure_limits()
    }

    fn dispatches(&self) -> usize {
        self.shared.state().engine.dispatches()
    }

    fn profile(&mut self, _: &Step) -> Result<Vec<Timed>> {
        self.refused("a profile")
    }
}
