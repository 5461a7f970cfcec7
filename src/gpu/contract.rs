//! The contract of engines, as the GPU fulfils it.

use std::ops::Range;

use super::buffers::RING_ROWS;
use super::dataset::Feed;
use super::engine::GpuEngine;
use super::kernels::{Coefficients, PASS_BYTES, Pass, Scaling};
use super::profile;
use super::program::{Op, Share};
use super::readback::{self, read_words};
use super::step::StepProgram;
use crate::data::{Features, Part};
use crate::engine::{
    Aim, Allocation, Capture, Checked, Curvature, Diagnose, Engine, Evaluation, Forms, Gradient, Layout, Limits,
    LossScale, Setup, Slot, Step, StepMetrics, Timed,
};
use crate::error::{Error, Result};
use crate::model::Norm;

/// The number of submissions under way before the host waits for the oldest.
const IN_FLIGHT: usize = 2;
/// The most overflows of a gradient that is only looked at; each time the loss scale is halved.
const MOST_OVERFLOWS: usize = 40;

impl GpuEngine {
    /// The scaling of each replica.
    fn scaling(&self) -> Result<Vec<Scaling>> {
        let words = read_words(&self.gpu, &self.buffers.scaling, 0, self.buffers.scaling.size())?;
        Ok(bytemuck::cast_slice(&words).to_vec())
    }

    fn set_scaling(&self, scaling: &[Scaling]) {
        self.gpu.queue.write_buffer(&self.buffers.scaling, 0, bytemuck::cast_slice(scaling));
    }

    /// Lets an update take what was put into the gradient's slot, although the last step's own overflowed.
    fn accept_gradient(&self, slot: Slot, replicas: Range<usize>) -> Result<()> {
        if slot != Slot::Gradient || !self.setup.is_mixed() {
            return Ok(());
        }
        let mut scaling = self.scaling()?;
        for skipped in scaling[replicas].iter_mut().filter(|s| s.factor == 0.0) {
            skipped.factor = 1.0 / skipped.loss;
        }
        self.set_scaling(&scaling);
        Ok(())
    }

    /// Carries out a step's gradient by itself, and waits for its metrics.
    fn submit_gradient(&mut self, step: &Step, of: Gradient) -> Result<Vec<StepMetrics>> {
        self.early = self.arrived(0)?;
        self.clear_statistics_of_gradient();
        self.submit(std::slice::from_ref(step), Aim::Gradient(of))?;
        self.read_metrics_later(std::slice::from_ref(step))?;
        let early = std::mem::take(&mut self.early);
        let mut metrics = self.arrived(0)?;
        // Nothing is clipped, and so no norm taken.
        metrics.iter_mut().for_each(|m| m.grad_norm = None);
        self.early = early;
        Ok(metrics)
    }

    /// Running statistics have no gradient, so no kernel writes one; what a caller put there is no part of the next.
    pub(super) fn clear_statistics_of_gradient(&self) {
        let (trained, vector) = (self.layout.trained as u64 * 4, self.vector_bytes());
        let mut encoder = self.encoder();
        for r in (0..self.setup.replicas as u64).filter(|_| trained < vector) {
            encoder.clear_buffer(&self.buffers.grads, r * vector + trained, Some(vector - trained));
        }
        self.gpu.queue.submit([encoder.finish()]);
    }

    /// Makes the dispatches of forward pass and loss without dropout and augmentation, when they are asked for first.
    fn make_plain(&mut self) -> Result<()> {
        if let (true, Some(part)) = (self.plain.is_empty(), self.part(Part::Train)) {
            let feed = part.feed(&self.setup, self.streamed());
            let feed = Feed { is_drawn: false, ..feed.of_training(&self.buffers.order, part) };
            self.plain = self.builder()?.forward_and_loss(&self.buffers.params, &feed)?;
        }
        Ok(())
    }

    /// Evaluates the weights in `eval_params`, one member of an ensemble of `members`.
    fn evaluate_member(&self, part: Part, samples: usize, member: usize, members: usize) -> Result<()> {
        let program = self.eval[part as usize].as_ref().ok_or_else(|| self.setup.dataset.missing(part))?;
        let (member, members) = (member as u32, members as u32);
        let mut passes: Vec<Pass> =
            self.passes_of(samples).into_iter().map(|pass| Pass { member, members, ..pass }).collect();
        for passes in passes.chunks_mut(self.passes_at_once(self.setup.room(), 1)) {
            self.stage(part, passes, true);
            let mut recorder = self.recorder();
            for (i, pass) in passes.iter().enumerate() {
                let mut ops = program.predict(members);
                if member + 1 >= members {
                    ops.extend(program.loss());
                }
                recorder.dispatch(&ops, (i as u64 * PASS_BYTES) as u32, pass.rows);
            }
            recorder.submit();
        }
        self.gpu.check()
    }

    /// The evaluations whose sums over so many samples lie in the first row of the metrics.
    pub(super) fn evaluated(&self, samples: usize) -> Result<Vec<Evaluation>> {
        let sums = self.read(&self.buffers.metrics, 0, self.setup.replicas as u64 * 16)?;
        let n = samples as f64;
        let evaluation = |row: &[f32]| Evaluation { loss: f64::from(row[0]) / n, accuracy: f64::from(row[1]) / n };
        Ok(sums.chunks_exact(4).take(self.active).map(evaluation).collect())
    }

    fn vector_bytes(&self) -> u64 {
        self.layout.len as u64 * 4
    }
}

impl Checked<GpuEngine> {
    /// Whether the records stay on the host and are copied over before each submission.
    pub fn is_streamed(&self) -> bool {
        self.inner().is_streamed()
    }
}

impl Engine for GpuEngine {
    fn setup(&self) -> &Setup {
        &self.setup
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn has(&self, slot: Slot) -> bool {
        self.buffers.slot(slot).is_ok()
    }

    fn allocate(&mut self, slot: Slot) -> Result<()> {
        self.allocate_vector(slot)
    }

    fn free(&mut self, slot: Slot) -> Result<()> {
        self.free_vector(slot);
        self.gpu.check()
    }

    fn upload(&mut self, slot: Slot, replica: usize, values: &[f64]) -> Result<()> {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        let (buffer, at) = self.buffers.slot(slot)?;
        self.gpu.queue.write_buffer(buffer, at + replica as u64 * self.vector_bytes(), bytemuck::cast_slice(&values));
        self.is_working_current &= slot != Slot::Live;
        self.accept_gradient(slot, replica..replica + 1)?;
        self.gpu.check()
    }

    fn download(&mut self, slot: Slot, replica: usize) -> Result<Vec<f64>> {
        let bytes = self.vector_bytes();
        let (buffer, at) = self.buffers.slot(slot)?;
        let values = self.read(buffer, at + replica as u64 * bytes, bytes)?;
        Ok(values.into_iter().map(f64::from).collect())
    }

    fn capture(&mut self, slots: &[Slot]) -> Result<Capture> {
        let vectors: Vec<_> = slots.iter().map(|&slot| self.buffers.slot(slot)).collect::<Result<_>>()?;
        let read = readback::read_later(&self.gpu, &vectors, self.buffers.params.size())?;
        let vector = self.vector_bytes() as usize;
        Ok(Box::new(move || {
            let bytes = read()?;
            Ok(bytes.iter().flat_map(|replicas| replicas.chunks_exact(vector)).map(<[u8]>::to_vec).collect())
        }))
    }

    fn copy(&mut self, from: Slot, to: Slot) -> Result<()> {
        self.copy_vectors(self.buffers.slot(from)?, self.buffers.slot(to)?);
        self.is_working_current &= to != Slot::Live;
        self.accept_gradient(to, 0..self.setup.replicas)?;
        self.gpu.check()
    }

    fn copy_of(&mut self, replica: usize, from: Slot, to: Slot) -> Result<()> {
        let (bytes, (from, from_at), (into, at)) =
            (self.vector_bytes(), self.buffers.slot(from)?, self.buffers.slot(to)?);
        let first = replica as u64 * bytes;
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(from, from_at + first, into, at + first, Some(bytes));
        self.gpu.queue.submit([encoder.finish()]);
        self.is_working_current &= to != Slot::Live;
        self.accept_gradient(to, replica..replica + 1)?;
        self.gpu.check()
    }

    fn set_own(&mut self, replica: usize, setup: Setup) -> Result<()> {
        self.buffers.fill_own(&self.gpu, replica, &setup);
        self.own[replica] = (Coefficients::own(&setup, replica), setup.optimizer);
        self.setup.own[replica] = setup;
        self.gpu.check()
    }

    fn set_active(&mut self, replicas: usize) -> Result<()> {
        self.early = self.arrived(0)?;
        self.active = replicas;
        Ok(())
    }

    fn axpy(&mut self, alpha: &[f64], x: Slot, y: Slot) -> Result<()> {
        self.axpy_vectors(alpha, x, y)
    }

    fn scale(&mut self, alpha: &[f64], x: Slot) -> Result<()> {
        self.scale_vector(alpha, x)
    }

    fn dot(&mut self, x: Slot, y: Slot) -> Result<Vec<f64>> {
        self.dot_vectors(x, y)
    }

    fn set_order(&mut self, orders: &[Vec<u32>]) -> Result<()> {
        let mut offset = 0;
        for order in orders {
            let bytes: &[u8] = bytemuck::cast_slice(order);
            self.gpu.queue.write_buffer(&self.buffers.order, offset, bytes);
            offset += bytes.len() as u64;
        }
        if self.is_streamed() || self.setup.is_weighted() {
            self.orders = orders.to_vec();
        }
        self.gpu.check()
    }

    fn steps_at_once(&self) -> usize {
        let rows = self.setup.most_in_pass();
        let pass: f64 = self.train.iter().flat_map(StepProgram::whole).map(|op| self.share(op, rows as u32)).sum();
        let step = pass * self.setup.batch.div_ceil(rows) as f64;
        (1.0 / step).clamp(1.0, RING_ROWS as f64) as usize
    }

    fn run(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>> {
        let mut arrived = Vec::new();
        for steps in steps.chunks(RING_ROWS) {
            self.submit(steps, Aim::Update)?;
            self.read_metrics_later(steps)?;
            arrived.extend(self.arrived(IN_FLIGHT)?);
        }
        Ok(arrived)
    }

    fn wait(&mut self) -> Result<Vec<StepMetrics>> {
        self.gpu.check()?;
        self.arrived(0)
    }

    fn gradient(&mut self, step: &Step, of: Gradient) -> Result<Vec<StepMetrics>> {
        if of == Gradient::Plain {
            self.make_plain()?;
        }
        // A step's own gradient may overflow: the update is skipped then, and the scale is another next time.
        if of == Gradient::OfStep || !self.setup.is_mixed() {
            return self.submit_gradient(step, of);
        }
        let before = self.scaling()?;
        let mut metrics =
            Err(Error::Device("the gradients do not fit into half precision at any loss scale; use f32".into()));
        for _ in 0..MOST_OVERFLOWS {
            let tried = self.submit_gradient(step, of)?;
            if self.scaling()?.iter().all(|s| s.factor != 0.0) {
                metrics = Ok(tried);
                break;
            }
        }
        self.set_scaling(&before);
        self.accept_gradient(Slot::Gradient, 0..before.len())?;
        metrics
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        self.write_coefficients(std::slice::from_ref(step), Aim::Update);
        self.write_passes(&[Pass { replicas: self.setup.replicas as u32, ..Pass::default() }]);
        let (program, mut recorder) = (self.program()?, self.recorder());
        let ops: Vec<&Op> = program.update.iter().chain(self.averages(program, step)).collect();
        recorder.dispatch(&ops, 0, 0);
        self.encode_snapshot(&mut recorder.encoder, step)?;
        recorder.submit();
        self.gpu.check()
    }

    fn slope(&mut self, over: Range<usize>) -> Result<Vec<Evaluation>> {
        self.slope_over(over)
    }

    fn curve(&mut self, of: Curvature, over: Range<usize>, x: Slot, into: Slot) -> Result<()> {
        self.curve_over(of, over, x, into)
    }

    fn evaluate(&mut self, part: Part, slots: &[Slot]) -> Result<Vec<Evaluation>> {
        if slots.len() > 1 {
            self.make_room_for_ensembles()?;
        }
        let samples = self.part(part).ok_or_else(|| self.setup.dataset.missing(part))?.samples;
        for (member, &slot) in slots.iter().enumerate() {
            self.load(slot)?;
            self.evaluate_member(part, samples, member, slots.len())?;
        }
        self.evaluated(samples)
    }

    fn project(&mut self, part: Part, slots: &[Slot]) -> Result<bool> {
        self.project_part(part, slots)
    }

    fn evaluate_projected(&mut self, coefficients: &[Vec<f64>]) -> Result<Vec<Evaluation>> {
        self.evaluate_sums(coefficients)
    }

    fn predict(&mut self, inputs: &Features, slots: &[Slot]) -> Result<Vec<Vec<f64>>> {
        self.predict_rows(inputs, slots)
    }

    fn renew_statistics(&mut self, slot: Slot, steps: &[Step]) -> Result<()> {
        if self.setup.model.norm != Norm::Batch {
            return Ok(());
        }
        self.load(slot)?;
        let mut first = 0;
        for steps in steps.chunks(RING_ROWS) {
            self.submit(steps, Aim::Statistics(first))?;
            first += steps.len();
        }
        self.copy_vectors((&self.buffers.eval_params, 0), self.buffers.slot(slot)?);
        self.gpu.check()
    }

    fn loss_scales(&mut self) -> Result<Vec<LossScale>> {
        if !self.setup.is_mixed() {
            return Ok(Vec::new());
        }
        Ok(self.scaling()?.iter().map(|s| LossScale { next: s.next, steps: s.steps }).collect())
    }

    fn set_loss_scales(&mut self, scales: &[LossScale]) -> Result<()> {
        if !self.setup.is_mixed() {
            return Ok(());
        }
        let scaling = |s: &LossScale| Scaling { steps: s.steps, ..Scaling::new(s.next) };
        self.set_scaling(&scales.iter().map(scaling).collect::<Vec<_>>());
        self.gpu.check()
    }

    fn skip_updates(&mut self, skipped: &[bool]) -> Result<()> {
        if !self.setup.is_mixed() {
            return Ok(());
        }
        let mut scaling = self.scaling()?;
        scaling.iter_mut().zip(skipped).filter(|(_, skipped)| **skipped).for_each(|(s, _)| s.factor = 0.0);
        self.set_scaling(&scaling);
        self.gpu.check()
    }

    fn forms(&self) -> Forms {
        self.forms.clone()
    }
}

impl Diagnose for GpuEngine {
    fn describe(&self) -> String {
        self.gpu.description.to_string()
    }

    fn device(&self) -> Option<wgpu::Device> {
        Some(self.gpu.device().clone())
    }

    fn value_bytes(&self) -> usize {
        size_of::<f32>()
    }

    fn memory(&self) -> Vec<Allocation> {
        self.taken.clone()
    }

    fn measure_limits(&mut self) -> Result<Limits> {
        super::measure_limits(&self.gpu)
    }

    fn dispatches(&self) -> usize {
        self.train.iter().flat_map(StepProgram::whole).map(Op::dispatches).sum()
    }

    fn profile(&mut self, step: &Step) -> Result<Vec<Timed>> {
        if !profile::has_clock(&self.gpu) {
            return Ok(Vec::new());
        }
        self.renew_working();
        // The first pass stands for all, if the step has several.
        let rows = step.rows.min(self.setup.most_in_pass());
        self.write_coefficients(std::slice::from_ref(step), Aim::Update);
        let (first, batch, replicas) = (step.first as u32, step.rows as u32, self.setup.replicas as u32);
        let mut pass = [Pass { first, rows: rows as u32, batch, replicas, ..Pass::default() }];
        self.stage(Part::Train, &mut pass, false);
        // The second gradient of a step with an ascent is added to the first, which is 0 by then.
        self.write_passes(&[pass[0], Pass { accumulate: 1, ..pass[0] }]);
        let program = self.program()?;
        let (ops, before_second) = (program.whole(), program.before_second());
        let shares: Vec<f64> = ops.iter().map(|op| self.share(op, rows as u32)).collect();
        let encode = |i: usize, compute: &mut wgpu::ComputePass| {
            let at = if i < before_second { 0 } else { PASS_BYTES as u32 };
            ops[i].encode(compute, &self.group, at, rows as u32, Share::ALL);
        };
        let seconds = profile::seconds(&self.gpu, &shares, encode)?;
        let timed = ops.iter().zip(seconds);
        Ok(timed.map(|(op, seconds)| profile::timed(&self.setup, &self.layout, op, rows, seconds)).collect())
    }
}
