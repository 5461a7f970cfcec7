//! Vectors as long as the parameters, and what callers do with them on the device.

use wgpu::{Buffer, BufferUsages};

use super::buffers;
use super::engine::GpuEngine;
use super::kernels::{PARTS, Pass};
use super::program::Op;
use crate::engine::{Allocation, Slot};
use crate::error::Result;

impl GpuEngine {
    pub(super) fn allocate_vector(&mut self, slot: Slot) -> Result<()> {
        let buffer = self.allocate_bytes(slot.name(), self.buffers.params.size())?;
        self.buffers.kept.push((slot, buffer));
        Ok(())
    }

    /// Makes a buffer within the memory budget.
    pub(super) fn allocate_bytes(&mut self, name: String, bytes: u64) -> Result<Buffer> {
        let needed = self.taken.iter().map(|allocation| allocation.bytes).sum::<u64>() + bytes;
        if needed > self.room.all {
            let more = needed - self.room.taken(&self.setup).min(needed);
            return Err(self.room.over_budget(&self.setup, needed, Some(more)));
        }
        let buffer = buffers::allocate(&self.gpu, &name, bytes, BufferUsages::STORAGE);
        let buffer = buffer.map_err(|error| self.room.advised(error, &self.setup, &self.taken))?;
        self.taken.push(Allocation { name, bytes });
        Ok(buffer)
    }

    pub(super) fn free_vector(&mut self, slot: Slot) {
        self.taken.retain(|allocation| allocation.name != slot.name());
        self.buffers.kept.retain(|(kept, _)| *kept != slot);
    }

    /// Copies the vectors of all replicas from one place to another.
    pub(super) fn copy_vectors(&self, (from, from_at): (&Buffer, u64), (to, to_at): (&Buffer, u64)) {
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(from, from_at, to, to_at, Some(self.buffers.params.size()));
        self.gpu.queue.submit([encoder.finish()]);
    }

    pub(super) fn axpy_vectors(&mut self, alpha: &[f64], x: Slot, y: Slot) -> Result<()> {
        self.write_alpha(alpha);
        let (x, y_own) = (self.operand(x)?, self.operand(y)?);
        let op = self.builder()?.axpy(&x, &y_own);
        self.dispatch(&op)?;
        self.put_back(&y_own, y)
    }

    pub(super) fn scale_vector(&mut self, alpha: &[f64], x: Slot) -> Result<()> {
        self.write_alpha(alpha);
        let own = self.operand(x)?;
        let op = self.builder()?.scale(&own);
        self.dispatch(&op)?;
        self.put_back(&own, x)
    }

    pub(super) fn dot_vectors(&mut self, x: Slot, y: Slot) -> Result<Vec<f64>> {
        let own = self.operand(x)?;
        let other = if x == y { own.clone() } else { self.operand(y)? };
        let op = self.builder()?.dot(&own, &other);
        self.dispatch(&op)?;
        let parts = self.read(&self.buffers.parts, 0, self.buffers.parts.size())?;
        let sum = |parts: &[f32]| parts.iter().map(|&part| f64::from(part)).sum();
        Ok(parts.chunks_exact(PARTS as usize).map(sum).collect())
    }

    pub(super) fn write_alpha(&self, alpha: &[f64]) {
        let alpha: Vec<f32> = alpha.iter().map(|&alpha| alpha as f32).collect();
        self.gpu.queue.write_buffer(&self.buffers.alpha, 0, bytemuck::cast_slice(&alpha));
    }

    /// A buffer that holds the slot's vectors and nothing else: its own, or a copy, since a part of a buffer can be bound only
    /// where the device's alignment allows it.
    fn operand(&self, slot: Slot) -> Result<Buffer> {
        let (buffer, at) = self.buffers.slot(slot)?;
        let bytes = self.buffers.params.size();
        if at == 0 && buffer.size() == bytes {
            return Ok(buffer.clone());
        }
        let copy = buffers::allocate(&self.gpu, "operand", bytes, BufferUsages::STORAGE)?;
        self.copy_vectors((buffer, at), (&copy, 0));
        Ok(copy)
    }

    /// Writes a copied operand back to its slot.
    fn put_back(&mut self, operand: &Buffer, slot: Slot) -> Result<()> {
        let (buffer, at) = self.buffers.slot(slot)?;
        if operand != buffer {
            self.copy_vectors((operand, 0), (buffer, at));
        }
        self.is_working_current &= slot != Slot::Live;
        Ok(())
    }

    /// Carries out one dispatch that is of no pass.
    pub(super) fn dispatch(&self, op: &Op) -> Result<()> {
        self.write_passes(&[Pass { replicas: self.setup.replicas as u32, ..Pass::default() }]);
        let mut recorder = self.recorder();
        recorder.dispatch(&[op], 0, 0);
        recorder.submit();
        self.gpu.check()
    }
}
