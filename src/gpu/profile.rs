//! The time of every dispatch of a step, by the device's clock.

use wgpu::{BufferUsages, ComputePassDescriptor, ComputePassTimestampWrites, Features, QueryType};

use super::adapter::Gpu;
use super::kernels::{Cost, Work};
use super::program::Op;
use super::readback::read_words;
use crate::data::Features as Records;
use crate::engine::{Layout, Setup, Timed, stride};
use crate::error::Result;

/// Whether the device has a clock.
pub(super) fn has_clock(gpu: &Gpu) -> bool {
    gpu.device.features().contains(Features::TIMESTAMP_QUERY)
}

/// Dispatches `ops` one after the other, each in a pass of its own between two readings of the clock; `encode` puts op i
/// into its pass.
pub(super) fn seconds(gpu: &Gpu, ops: usize, encode: impl Fn(usize, &mut wgpu::ComputePass)) -> Result<Vec<f64>> {
    let readings = 2 * ops as u32;
    let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
        label: Some("profile"),
        ty: QueryType::Timestamp,
        count: readings,
    });
    let ticks = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("profile"),
        size: u64::from(readings) * 8,
        usage: BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    for i in 0..ops {
        let at = 2 * i as u32;
        let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor {
            label: None,
            timestamp_writes: Some(ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: Some(at),
                end_of_pass_write_index: Some(at + 1),
            }),
        });
        encode(i, &mut pass);
    }
    encoder.resolve_query_set(&queries, 0..readings, &ticks, 0);
    gpu.queue.submit([encoder.finish()]);
    let words = read_words(gpu, &ticks, 0, ticks.size())?;
    let reading = |i: usize| u64::from(words[2 * i]) | u64::from(words[2 * i + 1]) << 32;
    let period = f64::from(gpu.queue.get_timestamp_period()) * 1e-9;
    Ok((0..ops).map(|i| reading(2 * i + 1).saturating_sub(reading(2 * i)) as f64 * period).collect())
}

/// Names `op`, and counts what it does for `rows` samples of each replica.
pub(super) fn timed(setup: &Setup, layout: &Layout, op: &Op, rows: usize, seconds: f64) -> Timed {
    let replicas = setup.replicas as f64;
    let layer = &layout.layers[op.layer.unwrap_or(layout.layers.len() - 1)];
    // Where updates are fused with the weight gradients, the optimizer has the rest.
    let first = if setup.clip_norm.is_none() { layout.biases } else { 0 };
    let is_bytes = matches!(setup.dataset.train.features, Records::U8(_));
    let stored_bytes = if setup.is_mixed() { 2.0 } else { 4.0 };
    let work = Work {
        samples: rows as f64 * replicas,
        replicas,
        inputs: stride(layer.inputs) as f64,
        outputs: stride(layer.outputs) as f64,
        features: stride(setup.model.inputs()) as f64,
        feature_bytes: if is_bytes { 1.0 } else { 4.0 },
        lowest: stride(layout.layers[0].outputs) as f64,
        params: (layout.trained - first) as f64 * replicas,
        stored_bytes,
        update_bytes: 8.0 * (1 + setup.optimizer.state_vectors()) as f64
            + if setup.is_mixed() { stored_bytes } else { 0.0 },
        updates: op.updates,
    };
    let Cost { flops, bytes } = (op.kernel.cost)(&work);
    let base = op.kernel.base();
    let name = op.layer.map_or(base.to_string(), |l| format!("{base} {l}"));
    Timed { name, seconds, dispatches: op.dispatches(), flops, bytes }
}
