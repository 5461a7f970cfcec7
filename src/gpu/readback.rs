//! Reading buffers back to the host.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};
use wgpu::{Buffer, BufferUsages, MapMode, SubmissionIndex};

use super::adapter::Gpu;
use super::buffers::create;
use crate::engine::Step;
use crate::error::Result;

/// The channel that tells when a buffer can be read.
pub(super) type Mapped = OneshotReceiver<std::result::Result<(), wgpu::BufferAsyncError>>;

/// The time from one look for a buffer that is not there yet to the next.
const PATIENCE: Duration = Duration::from_micros(100);

/// A submission whose metrics have not been read.
pub(super) struct Pending {
    /// Its steps, and what the losses of each replica are divided by.
    pub steps: Vec<(Step, Vec<f64>)>,
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

/// Copies as many bytes from each place as soon as the device has done what it was given; the closure waits for them.
///
/// # Errors
/// Too little memory.
pub(super) fn read_later(
    gpu: &Gpu,
    places: &[(&Buffer, u64)],
    bytes: u64,
) -> Result<impl FnOnce() -> Result<Vec<Vec<u8>>> + Send + use<>> {
    let copies: Vec<Buffer> = places.iter().map(|_| readable(gpu, bytes)).collect::<Result<_>>()?;
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for ((buffer, offset), copy) in places.iter().zip(&copies) {
        encoder.copy_buffer_to_buffer(buffer, *offset, copy, 0, bytes);
    }
    let submission = gpu.queue.submit([encoder.finish()]);
    let copies: Vec<(Mapped, Buffer)> = copies.into_iter().map(|copy| (map(&copy), copy)).collect();
    let gpu = gpu.clone();
    Ok(move || {
        let read = |(mapped, copy): (Mapped, Buffer)| {
            wait(&gpu, &submission, &mapped)?;
            let view = copy.get_mapped_range(..).map_err(|e| gpu.error(e))?;
            Ok(view.to_vec())
        };
        copies.into_iter().map(read).collect()
    })
}

/// A buffer that the host can read.
pub(super) fn readable(gpu: &Gpu, bytes: u64) -> Result<Buffer> {
    create(gpu, "readback", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)
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
    gpu.wait(Some(submission))?;
    let (mut received, mut context) = (pin!(mapped.receive()), Context::from_waker(Waker::noop()));
    loop {
        match received.as_mut().poll(&mut context) {
            Poll::Ready(Some(Ok(()))) => return Ok(()),
            Poll::Ready(Some(Err(error))) => return Err(gpu.error(error)),
            Poll::Ready(None) => return Err(gpu.error("a buffer was dropped before it was read")),
            // Another thread that shares the device may be about to tell it, or the device is lost and nobody will.
            Poll::Pending => {
                gpu.check()?;
                std::thread::sleep(PATIENCE);
            }
        }
    }
}
