//! Evaluations of sums of multiples of vectors, of which the first layer's products are known: that product is linear in the
//! weights, so that what it makes of a sample at any point of a plane is a sum of what it makes with three vectors.

use wgpu::{Buffer, BufferUsages};

use super::buffers;
use super::builder::Builder;
use super::dataset::Feed;
use super::engine::GpuEngine;
use super::kernels::{self, PASS_BYTES, Pass};
use super::program::Op;
use super::step::Projected;
use crate::data::Part;
use crate::engine::{Evaluation, Slot, stride};
use crate::error::{Error, Result};

/// The name of the buffers of what is projected.
const PROJECTED: &str = "projected";

impl GpuEngine {
    /// Keeps what the first layer makes of a part's samples with up to three vectors; nothing where that takes too much memory, a
    /// residual connection asks for the samples themselves, or values are halves.
    pub(super) fn project_part(&mut self, part: Part, slots: &[Slot]) -> Result<bool> {
        self.projected = None;
        self.taken.retain(|allocation| allocation.name != PROJECTED);
        if !(1..=3).contains(&slots.len()) || self.setup.model.is_residual(0) || self.setup.is_mixed() {
            return Ok(false);
        }
        let samples = self.part(part).ok_or_else(|| self.setup.dataset.missing(part))?.samples;
        let bytes = (samples * stride(self.setup.model.widths[1])) as u64 * 4;
        let mut z = Vec::new();
        for _ in slots {
            match self.allocate_bytes(PROJECTED.into(), bytes) {
                Ok(buffer) => z.push(buffer),
                Err(Error::DeviceMemory { .. }) => {
                    self.taken.retain(|allocation| allocation.name != PROJECTED);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        let data = self.part(part).ok_or_else(|| self.setup.dataset.missing(part))?;
        let feed = data.feed(&self.setup, self.streamed());
        let builder = self.builder()?;
        let project = builder.first_product(&feed)?;
        let coefficients = 3 * self.setup.replicas as u64 * 4;
        let coefficients = buffers::allocate(&self.gpu, "multiples", coefficients, BufferUsages::STORAGE)?;
        let pick = |i: usize| z.get(i).unwrap_or(&z[0]);
        let program = builder.combined(&feed, &coefficients, [pick(0), pick(1), pick(2)])?;
        for (&slot, z) in slots.iter().zip(&z) {
            self.load(slot)?;
            self.project_vector(part, samples, &project, z)?;
        }
        self.projected = Some(Projected { samples, coefficients, program });
        self.gpu.check().map(|()| true)
    }

    /// Puts what the first layer makes of all samples of a part, with the weights that are evaluated, into `z`.
    fn project_vector(&self, part: Part, samples: usize, project: &[Op], z: &Buffer) -> Result<()> {
        let row = stride(self.setup.model.widths[1]) as u64 * 4;
        let mut passes = self.passes_of(samples);
        for passes in passes.chunks_mut(self.passes_at_once(self.setup.room(), 1)) {
            self.stage(part, passes, true);
            let mut recorder = self.recorder();
            for (i, pass) in passes.iter().enumerate() {
                let ops: Vec<&Op> = project.iter().collect();
                recorder.dispatch(&ops, (i as u64 * PASS_BYTES) as u32, pass.rows);
                let (at, bytes) = (u64::from(pass.first) * row, u64::from(pass.rows) * row);
                // All replicas have the same vector, so that the first one's rows are theirs.
                recorder.encoder.copy_buffer_to_buffer(&self.buffers.a[1], 0, z, at, bytes);
            }
            recorder.submit();
        }
        self.gpu.check()
    }

    /// The mean loss and accuracy of the live weights over the part that is projected, one a replica; the first layer's are the
    /// sum of the projected vectors times `coefficients`.
    pub(super) fn evaluate_sums(&mut self, coefficients: &[Vec<f64>]) -> Result<Vec<Evaluation>> {
        self.load(Slot::Live)?;
        let Some(projected) = &self.projected else { return Ok(Vec::new()) };
        let padded = |of_replica: &Vec<f64>| -> [f32; 3] {
            std::array::from_fn(|i| of_replica.get(i).map_or(0.0, |&coefficient| coefficient as f32))
        };
        let values: Vec<[f32; 3]> = coefficients.iter().map(padded).collect();
        self.gpu.queue.write_buffer(&projected.coefficients, 0, bytemuck::cast_slice(&values));
        let ops: Vec<&Op> = projected.program.iter().collect();
        let passes = self.passes_of(projected.samples);
        for passes in passes.chunks(buffers::PASSES) {
            self.write_passes(passes);
            let mut recorder = self.recorder();
            for (i, pass) in passes.iter().enumerate() {
                recorder.dispatch(&ops, (i as u64 * PASS_BYTES) as u32, pass.rows);
            }
            recorder.submit();
        }
        self.evaluated(projected.samples)
    }

    /// The passes of an evaluation of so many samples.
    pub(super) fn passes_of(&self, samples: usize) -> Vec<Pass> {
        let (room, replicas) = (self.setup.room(), self.setup.replicas as u32);
        let pass = |first: usize| Pass {
            first: first as u32,
            rows: room.min(samples - first) as u32,
            batch: 1,
            accumulate: u32::from(first > 0),
            replicas,
            members: 1,
            ..Pass::default()
        };
        (0..samples).step_by(room).map(pass).collect()
    }
}

impl Builder<'_> {
    /// Makes the dispatches of the first layer's product alone: `records -> a[0] -> z, in a[1]`
    fn first_product(&self, feed: &Feed) -> Result<Vec<Op>> {
        let b = self.buffers;
        let mut ops = self.gather(feed, &b.a[0], &b.mix);
        ops.push(self.linear_plain(0, feed, &b.eval_params, &b.a[0], &b.a[1])?);
        Ok(ops)
    }

    /// Makes the dispatches of an evaluation whose first product is combined: `c, z of each vector -> z -> a[1] -> ... -> loss`
    fn combined(&self, feed: &Feed, c: &Buffer, z: [&Buffer; 3]) -> Result<Vec<Op>> {
        let b = self.buffers;
        let width = self.setup.model.widths[1];
        let outputs = stride(width) as u32 / 4;
        let args = kernels::CombineArgs { outputs, z_stride: self.rows_stride(width) };
        let target = b.norms[0].as_ref().map_or(&b.a[1], |norm| &norm.xhat);
        let constants = [("LANES", kernels::LANES.into())];
        let buffers = [c, z[0], z[1], z[2], target];
        let mut ops = vec![self.op(&kernels::combine, &constants, &args, &buffers, self.vec4s(outputs)).of_layer(0)];
        if let Some(norm) = &b.norms[0] {
            ops.push(self.norm(0, feed, &b.eval_params, &norm.xhat, &b.a[1], &norm.inverse));
        }
        ops.push(self.activate(0, feed, &b.a[0], &b.a[1], &b.unused[1]));
        ops.extend(self.layers(1, &b.eval_params, feed)?);
        ops.push(self.loss(feed, &b.a[self.layout.layers.len()], &b.metrics));
        Ok(ops)
    }
}
