//! What goes to the device in one submission.

use wgpu::CommandEncoder;

use super::buffers::PASSES;
use super::dataset::{Records, own_record_bytes, pack_part};
use super::engine::GpuEngine;
use super::kernels::{Coefficients, PASS_BYTES, Pass};
use super::program::Op;
use super::readback::{self, Pending};
use super::recorder::Recorder;
use super::step::StepProgram;
use crate::average::Take;
use crate::data::Part;
use crate::engine::{Aim, Gradient, LossWeights, Move, Slot, Step, StepMetrics};
use crate::error::Result;

impl GpuEngine {
    /// The number of passes that fit into one submission: their uniforms and, if streamed, their records.
    pub(super) fn passes_at_once(&self, rows: usize, replicas: usize) -> usize {
        match &self.stream {
            None => PASSES,
            Some(stream) => {
                let pass = (replicas * rows.min(self.setup.room()) * own_record_bytes(&self.setup.dataset)) as u64;
                ((stream.size() / pass) as usize).clamp(1, PASSES)
            }
        }
    }

    /// Writes the uniforms of `passes` and, if streamed, their records; `shared` says whether all replicas take the same.
    pub(super) fn stage(&self, part: Part, passes: &mut [Pass], shared: bool) {
        if let (Some(stream), Some(Records::Streamed)) = (&self.stream, self.part(part).map(|part| &part.records)) {
            let rows: u32 = passes.iter().map(|pass| pass.rows).sum();
            let mut at = 0;
            for pass in passes.iter_mut() {
                (pass.streamed, pass.streamed_rows) = (at, rows);
                at += pass.rows;
            }
            let dataset = &self.setup.dataset;
            let mut packed = Vec::with_capacity(rows as usize * own_record_bytes(dataset));
            for r in 0..if shared { 1 } else { self.setup.replicas } {
                for pass in passes.iter() {
                    let positions = pass.first..pass.first + pass.rows;
                    if shared {
                        pack_part(dataset, part, positions, &mut packed);
                    } else {
                        let order = &self.orders[r][positions.start as usize..positions.end as usize];
                        pack_part(dataset, part, order.iter().copied(), &mut packed);
                    }
                }
            }
            self.gpu.queue.write_buffer(stream, 0, &packed);
        }
        self.write_passes(passes);
    }

    /// Writes the uniforms of `passes`.
    pub(super) fn write_passes(&self, passes: &[Pass]) {
        let mut bytes = vec![0; passes.len() * PASS_BYTES as usize];
        for (pass, place) in passes.iter().zip(bytes.chunks_exact_mut(PASS_BYTES as usize)) {
            place[..size_of::<Pass>()].copy_from_slice(bytemuck::bytes_of(pass));
        }
        self.gpu.queue.write_buffer(&self.buffers.passes, 0, &bytes);
    }

    /// Submits `steps`, at most `RING_ROWS`.
    pub(super) fn submit(&mut self, steps: &[Step], aim: Aim) -> Result<()> {
        self.write_coefficients(steps, aim);
        if !matches!(aim, Aim::Statistics(_)) {
            self.renew_working();
        }
        let of_steps = steps.iter().enumerate().flat_map(|(ring_row, step)| self.passes(ring_row, step, aim));
        let (mut passes, are_second): (Vec<Pass>, Vec<bool>) = of_steps.unzip();
        let rows = steps.iter().map(|step| step.rows).max().unwrap_or(1);
        let at_once = self.passes_at_once(rows, self.setup.replicas);
        for (part, are_second) in passes.chunks_mut(at_once).zip(are_second.chunks(at_once)) {
            self.stage(Part::Train, part, false);
            let mut recorder = self.recorder();
            for (i, (pass, &is_second)) in part.iter().zip(are_second).enumerate() {
                let (step, at) = (&steps[pass.ring_row as usize], (i as u64 * PASS_BYTES) as u32);
                self.record_pass(&mut recorder, step, pass, at, is_second, aim)?;
            }
            recorder.submit();
        }
        self.gpu.check()
    }

    /// The passes of a step, each with whether it is one of the second gradient, that at the end of an ascent.
    fn passes(&self, ring_row: usize, step: &Step, aim: Aim) -> Vec<(Pass, bool)> {
        let gradients = if aim.is_of_step() { self.setup.gradients() } else { 1 };
        let mut passes = Vec::new();
        for is_second in [false, true].into_iter().take(gradients) {
            for range in step.passes(self.setup.most_in_pass()) {
                let pass = Pass {
                    first: range.start as u32,
                    rows: range.len() as u32,
                    batch: step.rows as u32,
                    ring_row: ring_row as u32,
                    // Those of the second gradient are further ones: an overflow in any skips the step.
                    accumulate: u32::from(!passes.is_empty()),
                    replicas: self.setup.replicas as u32,
                    ..Pass::default()
                };
                passes.push((pass, is_second));
            }
        }
        passes
    }

    /// Records one pass of a step and, after its last, what the step does to the weights.
    fn record_pass(
        &self,
        recorder: &mut Recorder,
        step: &Step,
        pass: &Pass,
        at: u32,
        is_second: bool,
        aim: Aim,
    ) -> Result<()> {
        let program = self.program()?;
        let ascent = program.ascent.as_ref().filter(|_| aim.is_of_step());
        let is_last = (pass.first + pass.rows) as usize == step.positions().end;
        let is_whole = aim == Aim::Update && pass.rows as usize == step.rows && ascent.is_none();
        let ends_step = aim == Aim::Update && is_last && is_second == ascent.is_some();
        let mut ops: Vec<&Op> = match (aim, ascent) {
            (Aim::Statistics(_), _) => program.statistics.iter().collect(),
            (Aim::Gradient(Gradient::Plain), _) => program.gradient(&self.plain),
            (_, Some(ascent)) if is_second => ascent.pass.iter().collect(),
            _ if is_whole => program.whole(),
            _ => program.gradient(&program.forward),
        };
        if let Some(ascent) = ascent.filter(|_| is_last) {
            ops.extend(if is_second { ascent.descend.as_slice() } else { &ascent.ascend });
        }
        if ends_step && !is_whole {
            ops.extend(&program.update);
        }
        if ends_step {
            ops.extend(self.averages(program, step));
        }
        recorder.dispatch(&ops, at, pass.rows);
        if ends_step { self.encode_snapshot(&mut recorder.encoder, step) } else { Ok(()) }
    }

    /// The dispatches with which averages take the weights after an update.
    pub(super) fn averages<'a>(&'a self, program: &'a StepProgram, step: &Step) -> Vec<&'a Op> {
        let takes: Vec<Take> = step.each(self.active).map(|own| own.take).collect();
        let mut ops = program.averages(&takes);
        if takes.iter().any(|take| take.lookahead > 0.0) {
            // The weights are others now.
            ops.extend(self.working_op(false));
        }
        ops
    }

    /// Encodes the copy of the weights that an ensemble takes.
    pub(super) fn encode_snapshot(&self, encoder: &mut CommandEncoder, step: &Step) -> Result<()> {
        let bytes = self.buffers.params.size() / self.setup.replicas as u64;
        for (r, own) in step.each(self.active).enumerate() {
            if let Some(i) = own.take.snapshot {
                let ((snapshot, _), at) = (self.buffers.slot(Slot::Snapshot(i))?, r as u64 * bytes);
                encoder.copy_buffer_to_buffer(&self.buffers.params, at, snapshot, at, Some(bytes));
            }
        }
        Ok(())
    }

    /// Writes what passes that are of no step read of the coefficients.
    pub(super) fn write_own(&self) {
        let own: Vec<Coefficients> = self.own.iter().map(|(own, _)| *own).collect();
        self.gpu.queue.write_buffer(&self.buffers.coefficients, 0, bytemuck::cast_slice(&own));
    }

    pub(super) fn write_coefficients(&self, steps: &[Step], aim: Aim) {
        let mut all: Vec<Coefficients> = Vec::with_capacity(steps.len() * self.setup.replicas);
        for (n, step) in steps.iter().enumerate() {
            let aim = if let Aim::Statistics(first) = aim { Aim::Statistics(first + n) } else { aim };
            for (r, (&rate, total)) in step.rates.iter().zip(self.totals(step)).enumerate() {
                let (Move { index, take }, (own, optimizer)) = (step.of(r), self.own[r]);
                all.push(Coefficients {
                    swa: take.swa as f32,
                    ema: take.ema as f32,
                    lookahead: take.lookahead as f32,
                    statistics: aim.statistics() as f32,
                    total: total as f32,
                    step: index as u32,
                    ..own.of_update(optimizer.coefficients(index + 1, rate))
                });
            }
        }
        self.gpu.queue.write_buffer(&self.buffers.coefficients, 0, bytemuck::cast_slice(&all));
    }

    /// What the losses of a step are divided by, one a replica.
    fn totals(&self, step: &Step) -> Vec<f64> {
        let weights = self.loss_weights.as_ref();
        let total = |order: &Vec<u32>| LossWeights::total(weights, &order[step.first..step.first + step.rows]);
        match weights {
            Some(_) => self.orders.iter().map(total).collect(),
            None => vec![step.rows as f64; self.setup.replicas],
        }
    }

    /// Copies the metrics of `steps` into a buffer that the host can read once the device is done.
    pub(super) fn read_metrics_later(&mut self, steps: &[Step]) -> Result<()> {
        let steps = steps.iter().map(|step| (step.clone(), self.totals(step))).collect();
        let metrics = match self.spare.pop() {
            Some(buffer) => buffer,
            None => readback::readable(&self.gpu, self.buffers.metrics.size())?,
        };
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(&self.buffers.metrics, 0, &metrics, 0, self.buffers.metrics.size());
        let submission = self.gpu.queue.submit([encoder.finish()]);
        let mapped = readback::map(&metrics);
        self.pending.push_back(Pending { steps, metrics, mapped, submission });
        self.gpu.check()
    }

    /// Waits until at most so many submissions are under way; returns what has arrived since the last call.
    pub(super) fn arrived(&mut self, under_way: usize) -> Result<Vec<StepMetrics>> {
        let mut arrived = std::mem::take(&mut self.early);
        while self.pending.len() > under_way {
            arrived.extend(self.oldest()?);
        }
        Ok(arrived)
    }

    /// Waits for the oldest submission.
    fn oldest(&mut self) -> Result<Vec<StepMetrics>> {
        let Some(pending) = self.pending.pop_front() else { return Ok(Vec::new()) };
        readback::wait(&self.gpu, &pending.submission, &pending.mapped)?;
        let (replicas, is_mixed) = (self.setup.replicas, self.setup.is_mixed());
        let mut metrics = Vec::with_capacity(pending.steps.len() * replicas);
        {
            let view = pending.metrics.get_mapped_range(..).map_err(|e| self.gpu.error(e))?;
            let rows: &[[f32; 4]] = bytemuck::cast_slice(&view);
            for (ring_row, (step, totals)) in pending.steps.iter().enumerate() {
                for (replica, row) in rows[ring_row * replicas..][..self.active].iter().enumerate() {
                    // That of gradients that overflowed is NaN.
                    let norm = self.setup.clip_norm.map(|_| f64::from(row[2])).filter(|n| !(is_mixed && n.is_nan()));
                    metrics.push(StepMetrics {
                        step: step.of(replica).index,
                        replica,
                        loss: f64::from(row[0]) / totals[replica],
                        correct: row[1] as u64,
                        grad_norm: norm,
                        loss_scale: is_mixed.then(|| f64::from(row[3])),
                    });
                }
            }
        }
        pending.metrics.unmap();
        self.spare.push(pending.metrics);
        Ok(metrics)
    }
}
