//! Predictions for samples that are in no data set.

use half::f16;

use super::buffers;
use super::dataset::{Feed, Records, is_bytes, pack, record_bytes};
use super::engine::GpuEngine;
use super::kernels::Pass;
use super::readback::read_words;
use super::step::Predictor;
use crate::data::{Features, Part};
use crate::engine::{Slot, stride};
use crate::error::Result;

/// The name of the buffers of rows that are predicted.
const INPUTS: &str = "inputs";

impl GpuEngine {
    /// The logits of `inputs`, (rows, outputs) for each replica.
    pub(super) fn predict_rows(&mut self, inputs: &Features, slots: &[Slot]) -> Result<Vec<Vec<f64>>> {
        if slots.len() > 1 {
            self.make_room_for_ensembles()?;
        }
        let is_bytes = is_bytes(inputs);
        if self.predictors.iter().all(|predictor| predictor.is_bytes != is_bytes) {
            let predictor = self.predictor(is_bytes)?;
            self.predictors.push(predictor);
        }
        let (room, width) = (self.setup.room(), self.setup.dataset.width());
        let rows = inputs.len() / width;
        let mut predictions = vec![Vec::with_capacity(rows * self.setup.model.outputs()); self.setup.replicas];
        for first in (0..rows).step_by(room) {
            let count = room.min(rows - first);
            let mut packed = Vec::with_capacity(count * record_bytes(width, is_bytes));
            pack(&self.setup.dataset, inputs, (first..first + count).map(|row| row as u32), &mut packed);
            if let Some(predictor) = self.predictors.iter().find(|predictor| predictor.is_bytes == is_bytes) {
                self.gpu.queue.write_buffer(&predictor.inputs, 0, &packed);
            }
            for (member, &slot) in slots.iter().enumerate() {
                if slots.len() > 1 || first == 0 {
                    self.load(slot)?;
                }
                self.predict_pass(is_bytes, count, member, slots.len())?;
            }
            for (r, all) in predictions.iter_mut().enumerate() {
                all.extend(self.read_logits(r, count)?);
            }
        }
        Ok(predictions)
    }

    fn predict_pass(&self, is_bytes: bool, rows: usize, member: usize, members: usize) -> Result<()> {
        let (rows, replicas) = (rows as u32, self.setup.replicas as u32);
        let (member, members) = (member as u32, members as u32);
        self.write_passes(&[Pass { rows, batch: 1, replicas, member, members, ..Pass::default() }]);
        let mut recorder = self.recorder();
        if let Some(predictor) = self.predictors.iter().find(|predictor| predictor.is_bytes == is_bytes) {
            recorder.dispatch(&predictor.program.predict(members), 0, rows);
        }
        recorder.submit();
        self.gpu.check()
    }

    /// Reads replica r's logits of the pass.
    fn read_logits(&self, r: usize, rows: usize) -> Result<Vec<f64>> {
        let outputs = self.setup.model.outputs();
        let value_bytes = if self.setup.is_mixed() { 2 } else { 4 };
        let row_bytes = stride(outputs) * value_bytes;
        let logits = &self.buffers.a[self.setup.model.layers()];
        let at = (r * self.setup.room() * row_bytes) as u64;
        let words = read_words(&self.gpu, logits, at, (rows * row_bytes) as u64)?;
        let values: Vec<f64> = if self.setup.is_mixed() {
            bytemuck::cast_slice::<u32, u16>(&words).iter().map(|&h| f16::from_bits(h).to_f64()).collect()
        } else {
            words.into_iter().map(|word| f64::from(f32::from_bits(word))).collect()
        };
        Ok(values.chunks_exact(stride(outputs)).flat_map(|row| row[..outputs].to_vec()).collect())
    }

    /// Makes the predictor for features that are pixels, or numbers.
    ///
    /// Makes room for an ensemble's predictions, unless it is there.
    ///
    /// # Errors
    /// Too little memory.
    pub(super) fn make_room_for_ensembles(&mut self) -> Result<()> {
        if self.buffers.mean.is_some() {
            return Ok(());
        }
        self.buffers.mean = Some(self.allocate_bytes("mean".into(), buffers::mean_bytes(&self.setup))?);
        // Those made before know nothing of it.
        self.predictors.clear();
        self.taken.retain(|allocation| allocation.name != INPUTS);
        let builder = self.builder()?;
        let ensembles = [Part::Train, Part::Validation, Part::Test]
            .map(|part| self.part(part).map(|data| builder.ensembles(&data.feed(&self.setup, self.streamed()))));
        for (program, ensemble) in self.eval.iter_mut().zip(ensembles) {
            program.iter_mut().zip(ensemble).for_each(|(program, ops)| program.ensemble = ops);
        }
        Ok(())
    }

    /// # Errors
    /// Too little memory.
    fn predictor(&mut self, is_bytes: bool) -> Result<Predictor> {
        let room = self.setup.room();
        let bytes = (room * record_bytes(self.setup.dataset.width(), is_bytes)) as u64;
        let inputs = self.allocate_bytes(INPUTS.into(), bytes)?;
        let unused = &self.buffers.unused[0];
        let feed = Feed {
            records: &Records::Streamed,
            stream: &inputs,
            is_bytes,
            targets: unused,
            order: unused,
            order_stride: 0,
            samples: room,
            is_drawn: false,
            is_kept: false,
            is_evaluation: true,
        };
        let program = self.builder()?.eval_program(&feed)?;
        Ok(Predictor { is_bytes, inputs, program })
    }
}
