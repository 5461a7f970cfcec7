//! Scratch memory: what a step leaves on the device and no later one may read.

use wgpu::Buffer;

use super::buffers::Buffers;
use super::engine::GpuEngine;
use crate::engine::Checked;

impl Buffers {
    /// The buffers of which nothing is kept from one call of the engine to the next: all but vectors in slots that callers
    /// read, the working copy of the weights, the loss scales, the order and constants.
    fn scratch(&self) -> impl Iterator<Item = &Buffer> {
        let Self { eval_params, grads, unused, mix, a, slope, norms, dz, da, mean, .. } = self;
        let Self { metrics, parts, alpha, split, passes, coefficients, ascent, .. } = self;
        let norms = norms.iter().flatten().flat_map(|norm| [&norm.xhat, &norm.inverse]);
        let of_layers = a.iter().chain(slope).chain(dz).chain(da.iter().flatten()).chain(norms).chain(mean);
        let ascent = ascent.iter().flat_map(|ascent| [&ascent.ascended, &ascent.metrics]);
        let others = [eval_params, grads, mix, metrics, parts, alpha, split, passes, coefficients];
        of_layers.chain(others).chain(ascent).chain(unused)
    }
}

impl Checked<GpuEngine> {
    /// Fills all scratch memory with a word, for tests: the engine then goes on as if nothing had happened.
    #[doc(hidden)]
    pub fn fill_scratch(&self, word: u32) {
        let engine = self.inner();
        let inputs = engine.predictors.iter().map(|predictor| &predictor.inputs);
        for buffer in engine.buffers.scratch().chain(&engine.stream).chain(inputs) {
            let words = vec![word; buffer.size() as usize / 4];
            engine.gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&words));
        }
    }
}
