//! Reading buffers back to the host.

use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};
use wgpu::{Buffer, BufferUsages, MapMode, PollType, SubmissionIndex};

use super::adapter::Gpu;
use crate::error::{Error, Result};

/// The channel that tells when a buffer can be read.
pub(super) type Mapped = OneshotReceiver<std::result::Result<(), wgpu::BufferAsyncError>>;

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
    let readback = readable(gpu, bytes);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    encoder.copy_buffer_to_buffer(buffer, offset, &readback, 0, bytes);
    let submission = gpu.queue.submit([encoder.finish()]);
    wait(gpu, &submission, &map(&readback))?;
    let view = readback.get_mapped_range(..).map_err(|e| Error::Device(e.to_string()))?;
    Ok(bytemuck::cast_slice(&view).to_vec())
}

/// Copies as many bytes from each place as soon as the device has done what it was given; the closure waits for them.
pub(super) fn read_later(
    gpu: &Gpu,
    places: &[(&Buffer, u64)],
    bytes: u64,
) -> impl FnOnce() -> Result<Vec<Vec<f32>>> + Send + use<> {
    let copies: Vec<Buffer> = places.iter().map(|_| readable(gpu, bytes)).collect();
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for ((buffer, offset), copy) in places.iter().zip(&copies) {
        encoder.copy_buffer_to_buffer(buffer, *offset, copy, 0, bytes);
    }
    let submission = gpu.queue.submit([encoder.finish()]);
    let copies: Vec<(Mapped, Buffer)> = copies.into_iter().map(|copy| (map(&copy), copy)).collect();
    let gpu = gpu.clone();
    move || {
        let read = |(mapped, copy): (Mapped, Buffer)| {
            wait(&gpu, &submission, &mapped)?;
            let view = copy.get_mapped_range(..).map_err(|e| Error::Device(e.to_string()))?;
            Ok(bytemuck::cast_slice(&view).to_vec())
        };
        copies.into_iter().map(read).collect()
    }
}

/// A buffer that the host can read.
pub(super) fn readable(gpu: &Gpu, bytes: u64) -> Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("readback"),
        size: bytes,
        usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// Asks for `buffer` to be readable once the device is done with it.
pub(super) fn map(buffer: &Buffer) -> Mapped {
    let (sender, receiver) = oneshot_channel();
    buffer.map_async(MapMode::Read, .., move |result| {
        // The receiver is gone only if the engine is.
        let _ = sender.send(result);
    });
    receiver
}

/// Waits for `submission`, and for the buffer that was asked for after it.
pub(super) fn wait(gpu: &Gpu, submission: &SubmissionIndex, mapped: &Mapped) -> Result<()> {
    let poll = PollType::Wait { submission_index: Some(submission.clone()), timeout: None };
    gpu.device.poll(poll).map_err(|error| Error::Device(error.to_string()))?;
    gpu.check()?;
    match pollster::block_on(mapped.receive()) {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(Error::Device(error.to_string())),
        None => Err(Error::Device("a buffer was dropped before it was read".into())),
    }
}
