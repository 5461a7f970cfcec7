//! Reading buffers back to the host.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use wgpu::{Buffer, BufferUsages, MapMode, SubmissionIndex};

use super::adapter::Gpu;
use super::buffers::create;
use crate::error::Result;

/// The channel that tells when a buffer can be read.
pub(super) type Mapped = Receiver<std::result::Result<(), wgpu::BufferAsyncError>>;

/// The time after which a buffer that is still not there is a reason to look whether the device is.
const PATIENCE: Duration = Duration::from_millis(100);

/// A submission whose metrics have not been read.
pub(super) struct Pending {
    /// The index of each of its steps, and what the losses of each replica are divided by.
    pub steps: Vec<(u64, Vec<f64>)>,
    /// The buffer that the metrics are copied into.
    pub metrics: Buffer,
    /// The channel that tells when that buffer can be read.
    pub mapped: Mapped,
    /// The submission that copies them.
    pub submission: SubmissionIndex,
}

/// Copies a range of a buffer to the host and waits for it.
pub(super) fn read_words(gpu: &Gpu, buffer: &Buffer, offset: u64, bytes: u64) -> Result<Vec<u32>> {
    let readback = readable(gpu, bytes)?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, offset, &readback, 0, bytes);
    let submission = gpu.queue.submit([encoder.finish()]);
    wait(gpu, &submission, &map(&readback))?;
    let view = readback.get_mapped_range(..).map_err(|e| gpu.error(e))?;
    Ok(bytemuck::cast_slice(&view).to_vec())
}

/// A buffer that the host can read.
pub(super) fn readable(gpu: &Gpu, bytes: u64) -> Result<Buffer> {
    create(gpu, "readback", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)
}

/// Asks for `buffer` to be readable once the device is done with it.
pub(super) fn map(buffer: &Buffer) -> Mapped {
    let (sender, receiver) = channel();
    buffer.map_async(MapMode::Read, .., move |result| {
        // The receiver is gone only if the engine is.
        let _ = sender.send(result);
    });
    receiver
}

/// Waits for `submission`, and for the buffer that was asked for after it.
pub(super) fn wait(gpu: &Gpu, submission: &SubmissionIndex, mapped: &Mapped) -> Result<()> {
    gpu.wait(Some(submission))?;
    loop {
        match mapped.recv_timeout(PATIENCE) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => return Err(gpu.error(error)),
            // Another thread that shares the device may be about to tell it.
            Err(RecvTimeoutError::Timeout) => gpu.check()?,
            Err(RecvTimeoutError::Disconnected) => return Err(gpu.error("a buffer was dropped before it was read")),
        }
    }
}
