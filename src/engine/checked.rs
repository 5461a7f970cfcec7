//! The one place where what a caller asks of an engine is checked, before the engine sees it.

use super::{
    Across, Allocation, Capture, Curvature, Diagnose, Engine, Evaluation, Forms, Gradient, Limits, LossScale, Setup,
    Slot, Step, StepMetrics, Timed,
};
use std::ops::Range;
use std::sync::Arc;

use crate::average::Take;
use crate::data::{Features, Part};
use crate::engine::Layout;
use crate::error::{Error, Result};
use crate::model::Norm;

/// An engine that refuses what does not fit: lengths, replicas, slots, rates, samples.
#[derive(Debug)]
pub struct Checked<E> {
    engine: E,
    /// Whether the order of the samples was ever set.
    has_order: bool,
    /// The number of vectors that are projected.
    projected: usize,
}

impl<E: Engine> Checked<E> {
    pub(crate) fn new(engine: E) -> Self {
        Self { engine, has_order: false, projected: 0 }
    }

    pub(crate) fn inner(&self) -> &E {
        &self.engine
    }

    #[cfg(test)]
    pub(crate) fn inner_mut(&mut self) -> &mut E {
        &mut self.engine
    }

    fn expect_slot(&self, slot: Slot) -> Result<()> {
        if self.engine.has(slot) { Ok(()) } else { Err(slot.missing()) }
    }

    fn expect_slots(&self, slots: &[Slot]) -> Result<()> {
        if slots.is_empty() {
            return Err(Error::config("slots", "expected at least one slot, found none"));
        }
        slots.iter().try_for_each(|&slot| self.expect_slot(slot))
    }

    fn expect_replica(&self, replica: usize) -> Result<()> {
        let replicas = self.setup().replicas;
        if replica < replicas {
            return Ok(());
        }
        Err(Error::config("replica", format!("expected one below {replicas} (train.replicas), found {replica}")))
    }

    /// Refuses a list that has not one entry a replica.
    fn expect_each(&self, what: &str, found: usize) -> Result<()> {
        let replicas = self.setup().replicas;
        if found == replicas {
            return Ok(());
        }
        Err(Error::config(what, format!("expected {replicas}, one a replica, found {found}")))
    }

    fn expect_training(&self) -> Result<()> {
        if self.setup().evaluation_only {
            let found = "expected an engine that trains, found one for evaluation alone (Setup::evaluation_only)";
            return Err(Error::config("engine", found));
        }
        Ok(())
    }

    fn expect_step(&self, step: &Step) -> Result<()> {
        self.expect_training()?;
        self.expect_samples(step)?;
        self.expect_each("step.rates", step.rates.len())?;
        if !step.moves.is_empty() {
            self.expect_each("step.moves", step.moves.len())?;
        }
        let expect_taken = |take: &Take| {
            let taken = [
                (take.swa > 0.0, Slot::Swa),
                (take.ema > 0.0, Slot::Ema),
                (take.lookahead > 0.0, Slot::Slow),
                (take.snapshot.is_some(), Slot::Snapshot(take.snapshot.unwrap_or_default())),
            ];
            taken.into_iter().filter(|(is_taken, _)| *is_taken).try_for_each(|(_, slot)| self.expect_slot(slot))
        };
        expect_taken(&step.take)?;
        step.moves.iter().try_for_each(|own| expect_taken(&own.take))
    }

    fn expect_positions(&self, over: &Range<usize>) -> Result<()> {
        self.expect_training()?;
        if self.setup().is_mixed() {
            let found = "expected f32 or f64 for derivatives of the evaluated loss, found mixed";
            return Err(Error::config("train.precision", found));
        }
        let samples = self.setup().dataset.train.len();
        if over.is_empty() || over.end > samples {
            let found = format!("expected some positions among {samples} samples, found {over:?}");
            return Err(Error::config("over", found));
        }
        self.expect_order()
    }

    fn expect_order(&self) -> Result<()> {
        if self.has_order {
            return Ok(());
        }
        Err(Error::config("step", "expected the order of the samples to be set, found none"))
    }

    fn expect_samples(&self, step: &Step) -> Result<()> {
        let (setup, Step { first, rows, .. }) = (self.setup(), step);
        // Beyond it a step is no longer exact in a schedule's f64.
        let indices = std::iter::once(step.index).chain(step.moves.iter().map(|own| own.index));
        if let Some(found) = indices.into_iter().find(|&index| index >= 1 << 53) {
            return Err(Error::config("step.index", format!("expected below 2^53, found {found}")));
        }
        let (samples, batch) = (setup.dataset.train.len(), setup.batch);
        let least = if setup.model.norm == Norm::Batch { 2 } else { 1 };
        if !(least..=batch).contains(rows) || first.checked_add(*rows).is_none_or(|end| end > samples) {
            let found = format!(
                "expected {least} to {batch} samples out of {samples}, found {rows} samples from position {first} on"
            );
            return Err(Error::config("step", found));
        }
        if let Some(share) = &step.share
            && (share.is_empty() || share.start < *first || share.end > first + rows)
        {
            let found = format!("expected some positions of {first}..{}, found {share:?}", first + rows);
            return Err(Error::config("step.share", found));
        }
        self.expect_order()
    }

    /// Refuses a share where there are only whole steps.
    fn expect_whole(&self, step: &Step) -> Result<()> {
        self.expect_step(step)?;
        match &step.share {
            None => Ok(()),
            Some(share) => Err(Error::config("step.share", format!("expected the whole step, found {share:?}"))),
        }
    }
}

impl<E: Engine> Engine for Checked<E> {
    fn setup(&self) -> &Setup {
        self.engine.setup()
    }

    fn layout(&self) -> &Layout {
        self.engine.layout()
    }

    fn has(&self, slot: Slot) -> bool {
        self.engine.has(slot)
    }

    fn allocate(&mut self, slot: Slot) -> Result<()> {
        if !slot.is_allocated() {
            return Err(Error::config("slot", format!("expected best or scratch, found {}", slot.name())));
        }
        if self.engine.has(slot) {
            return Err(Error::config("slot", format!("expected one that is free, found {} in use", slot.name())));
        }
        self.engine.allocate(slot)
    }

    fn free(&mut self, slot: Slot) -> Result<()> {
        if !slot.is_allocated() {
            return Err(Error::config("slot", format!("expected best or scratch, found {}", slot.name())));
        }
        self.expect_slot(slot)?;
        self.engine.free(slot)
    }

    fn upload(&mut self, slot: Slot, replica: usize, values: &[f64]) -> Result<()> {
        self.expect_slot(slot)?;
        self.expect_replica(replica)?;
        let (len, found) = (self.layout().len, values.len());
        if found != len {
            return Err(Error::config(slot.name(), format!("expected {len} values, as the layout has, found {found}")));
        }
        let mut values = values.to_vec();
        self.layout().clear_padding(&mut values);
        self.engine.upload(slot, replica, &values)
    }

    fn download(&mut self, slot: Slot, replica: usize) -> Result<Vec<f64>> {
        self.expect_slot(slot)?;
        self.expect_replica(replica)?;
        self.engine.download(slot, replica)
    }

    fn capture(&mut self, slots: &[Slot]) -> Result<Capture> {
        self.expect_slots(slots)?;
        self.engine.capture(slots)
    }

    fn copy(&mut self, from: Slot, to: Slot) -> Result<()> {
        self.expect_slots(&[from, to])?;
        if from == to { Ok(()) } else { self.engine.copy(from, to) }
    }

    fn copy_of(&mut self, replica: usize, from: Slot, to: Slot) -> Result<()> {
        self.expect_slots(&[from, to])?;
        self.expect_replica(replica)?;
        if from == to { Ok(()) } else { self.engine.copy_of(replica, from, to) }
    }

    fn set_own(&mut self, replica: usize, setup: Setup) -> Result<()> {
        self.expect_replica(replica)?;
        self.expect_each("setup.own", self.setup().own.len())?;
        let mut own = self.setup().own.clone();
        own[replica] = setup.clone();
        Setup { own, ..self.setup().clone() }.check_own(f64::INFINITY)?;
        self.engine.set_own(replica, setup)
    }

    fn set_active(&mut self, replicas: usize) -> Result<()> {
        if !(1..=self.setup().replicas).contains(&replicas) {
            let found = format!("expected 1 to {} (train.replicas), found {replicas}", self.setup().replicas);
            return Err(Error::config("replicas", found));
        }
        self.engine.set_active(replicas)
    }

    fn axpy(&mut self, alpha: &[f64], x: Slot, y: Slot) -> Result<()> {
        self.expect_slots(&[x, y])?;
        self.expect_each("alpha", alpha.len())?;
        if x == y {
            return Err(Error::config("slot", format!("expected two slots, found {} twice; use scale", x.name())));
        }
        self.engine.axpy(alpha, x, y)
    }

    fn scale(&mut self, alpha: &[f64], x: Slot) -> Result<()> {
        self.expect_slot(x)?;
        self.expect_each("alpha", alpha.len())?;
        self.engine.scale(alpha, x)
    }

    fn dot(&mut self, x: Slot, y: Slot) -> Result<Vec<f64>> {
        self.expect_slots(&[x, y])?;
        self.engine.dot(x, y)
    }

    fn set_order(&mut self, orders: &[Vec<u32>]) -> Result<()> {
        self.expect_training()?;
        self.expect_each("orders", orders.len())?;
        let samples = self.setup().dataset.train.len();
        for order in orders {
            if order.len() != samples {
                return Err(Error::config("orders", format!("expected {samples} samples, found {}", order.len())));
            }
            if let Some(found) = order.iter().find(|&&sample| sample as usize >= samples) {
                return Err(Error::config("orders", format!("expected samples below {samples}, found {found}")));
            }
        }
        self.has_order = true;
        self.engine.set_order(orders)
    }

    fn steps_at_once(&self) -> usize {
        self.engine.steps_at_once()
    }

    fn run(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>> {
        steps.iter().try_for_each(|step| self.expect_whole(step))?;
        self.engine.run(steps)
    }

    fn wait(&mut self) -> Result<Vec<StepMetrics>> {
        self.engine.wait()
    }

    fn gradient(&mut self, step: &Step, of: Gradient) -> Result<Vec<StepMetrics>> {
        self.expect_step(step)?;
        self.engine.gradient(step, of)
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        self.expect_whole(step)?;
        self.engine.update(step)
    }

    fn slope(&mut self, over: Range<usize>) -> Result<Vec<Evaluation>> {
        self.expect_positions(&over)?;
        self.engine.slope(over)
    }

    fn curve(&mut self, of: Curvature, over: Range<usize>, x: Slot, into: Slot) -> Result<()> {
        self.expect_positions(&over)?;
        self.expect_slots(&[x, into])?;
        let is_free = |slot: Slot| !matches!(slot, Slot::Live | Slot::Gradient);
        if x == into || !is_free(x) || !is_free(into) {
            let found =
                format!("expected two slots, neither of them live or gradient, found {} and {}", x.name(), into.name());
            return Err(Error::config("slot", found));
        }
        self.engine.curve(of, over, x, into)
    }

    fn evaluate(&mut self, part: Part, slots: &[Slot]) -> Result<Vec<Evaluation>> {
        self.expect_slots(slots)?;
        let dataset = &self.setup().dataset;
        if dataset.part(part).is_none() {
            return Err(dataset.missing(part));
        }
        self.engine.evaluate(part, slots)
    }

    fn project(&mut self, part: Part, slots: &[Slot]) -> Result<bool> {
        slots.iter().try_for_each(|&slot| self.expect_slot(slot))?;
        let dataset = &self.setup().dataset;
        if dataset.part(part).is_none() {
            return Err(dataset.missing(part));
        }
        self.projected = 0;
        let is_kept = self.engine.project(part, slots)?;
        self.projected = if is_kept { slots.len() } else { 0 };
        Ok(is_kept)
    }

    fn evaluate_projected(&mut self, coefficients: &[Vec<f64>]) -> Result<Vec<Evaluation>> {
        self.expect_each("coefficients", coefficients.len())?;
        let wanted = self.projected;
        if let Some(found) = coefficients.iter().map(Vec::len).find(|&len| len != wanted || wanted == 0) {
            let found = format!("expected one for each of {wanted} projected vectors, found {found}");
            return Err(Error::config("coefficients", found));
        }
        self.engine.evaluate_projected(coefficients)
    }

    fn predict(&mut self, inputs: &Features, slots: &[Slot]) -> Result<Vec<Vec<f64>>> {
        self.expect_slots(slots)?;
        let (found, width) = (inputs.len(), self.setup().dataset.width());
        if found == 0 || !found.is_multiple_of(width) {
            let found = format!("expected samples of {width} features, found {found} values");
            return Err(Error::config("inputs", found));
        }
        let mut outputs = self.engine.predict(inputs, slots)?;
        if let Some(scaling) = &self.setup().dataset.target_scaling {
            outputs.iter_mut().for_each(|of_replica| scaling.restore(of_replica));
        }
        Ok(outputs)
    }

    fn renew_statistics(&mut self, slot: Slot, steps: &[Step]) -> Result<()> {
        self.expect_slot(slot)?;
        steps.iter().try_for_each(|step| self.expect_whole(step))?;
        self.engine.renew_statistics(slot, steps)
    }

    fn loss_scales(&mut self) -> Result<Vec<LossScale>> {
        self.engine.loss_scales()
    }

    fn set_loss_scales(&mut self, scales: &[LossScale]) -> Result<()> {
        if self.setup().is_mixed() {
            self.expect_each("loss scales", scales.len())?;
        }
        self.engine.set_loss_scales(scales)
    }

    fn normalize_across(&mut self, across: Arc<dyn Across>) -> bool {
        self.engine.normalize_across(across)
    }

    fn skip_updates(&mut self, skipped: &[bool]) -> Result<()> {
        if self.setup().is_mixed() {
            self.expect_each("skipped", skipped.len())?;
        }
        self.engine.skip_updates(skipped)
    }

    fn forms(&self) -> Forms {
        self.engine.forms()
    }
}

impl<E: Diagnose + Engine> Diagnose for Checked<E> {
    fn describe(&self) -> String {
        self.engine.describe()
    }

    fn device(&self) -> Option<wgpu::Device> {
        self.engine.device()
    }

    fn memory(&self) -> Vec<Allocation> {
        self.engine.memory()
    }

    fn value_bytes(&self) -> usize {
        self.engine.value_bytes()
    }

    fn measure_limits(&mut self) -> Result<Limits> {
        self.engine.measure_limits()
    }

    fn dispatches(&self) -> usize {
        self.engine.dispatches()
    }

    fn profile(&mut self, step: &Step) -> Result<Vec<Timed>> {
        self.expect_step(step)?;
        self.engine.profile(step)
    }
}
