//! Derivatives of the loss that an evaluation has: its gradient, and its second derivatives times a vector.

use std::ops::Range;

use wgpu::{Buffer, CommandEncoder};

use super::curve::{CurvePrograms, Tangents};
use super::dataset::Feed;
use super::engine::GpuEngine;
use super::kernels::{PASS_BYTES, Pass};
use super::program::Op;
use crate::data::Part;
use crate::engine::{Curvature, Evaluation, Slot, stride};
use crate::error::Result;

impl GpuEngine {
    /// Leaves in the gradient's slot the gradient of the evaluated loss over positions of the order.
    pub(super) fn slope_over(&mut self, over: Range<usize>) -> Result<Vec<Evaluation>> {
        if self.slope.is_empty() {
            let (builder, feed) = (self.builder()?, self.evaluation_feed()?);
            let mut ops = builder.forward_and_loss(&self.buffers.params, &feed)?;
            ops.extend(builder.backward(&self.buffers.params, false, true)?);
            self.slope = ops;
        }
        self.clear_statistics_of_gradient();
        self.pass_over(&over, &self.slope.iter().collect::<Vec<_>>())?;
        self.evaluated(over.len())
    }

    /// Multiplies the vector in `x` with second derivatives of the evaluated loss over positions of the order.
    pub(super) fn curve_over(&mut self, of: Curvature, over: Range<usize>, x: Slot, into: Slot) -> Result<()> {
        let programs = match self.curve.take() {
            Some(programs) => programs,
            None => self.curve_programs()?,
        };
        let t = &programs.tangents;
        self.copy_vectors(self.buffers.slot(x)?, (&t.v, 0));
        self.copy_vectors((&self.buffers.params, 0), (&self.buffers.eval_params, 0));
        let mut encoder = self.encoder();
        encoder.clear_buffer(&t.part, 0, None);
        encoder.clear_buffer(&self.buffers.grads, 0, None);
        let layout = &self.layout;
        self.clear(&mut encoder, &t.v, layout.trained..layout.len);
        self.clear(&mut encoder, &self.buffers.eval_params, layout.weights..layout.len);
        self.gpu.queue.submit([encoder.finish()]);
        let back = if of == Curvature::Hessian { &programs.hessian } else { &programs.gauss_newton };
        self.pass_over(&over, &programs.forward.iter().chain(back).collect::<Vec<_>>())?;
        // What biases and β got there belongs to the gradient.
        let mut encoder = self.encoder();
        self.clear(&mut encoder, &t.part, layout.weights..layout.biases);
        for layer in layout.layers.iter().filter(|layer| layer.beta > 0) {
            self.clear(&mut encoder, &t.part, layer.beta..layer.beta + stride(layer.outputs));
        }
        self.gpu.queue.submit([encoder.finish()]);
        self.write_alpha(&vec![1.0; self.setup.replicas]);
        self.dispatch(&programs.sum)?;
        self.copy_vectors((&self.buffers.grads, 0), self.buffers.slot(into)?);
        self.curve = Some(programs);
        self.gpu.check()
    }

    /// Carries out the dispatches of passes over positions of the order, all of which count as one batch.
    fn pass_over(&self, over: &Range<usize>, ops: &[&Op]) -> Result<()> {
        self.write_own();
        let (room, replicas) = (self.setup.room(), self.setup.replicas as u32);
        let pass = |first: usize| Pass {
            first: first as u32,
            rows: room.min(over.end - first) as u32,
            batch: over.len() as u32,
            accumulate: u32::from(first > over.start),
            replicas,
            ..Pass::default()
        };
        let mut passes: Vec<Pass> = over.clone().step_by(room).map(pass).collect();
        for passes in passes.chunks_mut(self.passes_at_once(room, self.setup.replicas)) {
            self.stage(Part::Train, passes, false);
            let mut recorder = self.recorder();
            for (i, pass) in passes.iter().enumerate() {
                recorder.dispatch(ops, (i as u64 * PASS_BYTES) as u32, pass.rows);
            }
            recorder.submit();
        }
        self.gpu.check()
    }

    /// Puts 0 into a range of every replica's vector.
    fn clear(&self, encoder: &mut CommandEncoder, vectors: &Buffer, range: Range<usize>) {
        for r in (0..self.setup.replicas).filter(|_| !range.is_empty()) {
            let at = (r * self.layout.len + range.start) as u64 * 4;
            encoder.clear_buffer(vectors, at, Some(range.len() as u64 * 4));
        }
    }

    fn curve_programs(&mut self) -> Result<CurvePrograms> {
        let (setup, vector, before) = (self.setup.clone(), self.buffers.params.size(), self.taken.len());
        let tangents = Tangents::new(&setup, vector, |name, bytes| self.allocate_bytes(name, bytes));
        let tangents = tangents.inspect_err(|_| self.taken.truncate(before))?;
        self.builder()?.curve_programs(&self.evaluation_feed()?, tangents)
    }

    /// The training part in the epoch's order, as derivatives of the evaluated loss take it.
    fn evaluation_feed(&self) -> Result<Feed<'_>> {
        let part = self.part(Part::Train).ok_or_else(|| self.setup.dataset.missing(Part::Train))?;
        Ok(part.feed(&self.setup, self.streamed()).of_evaluation(&self.buffers.order, part))
    }
}
