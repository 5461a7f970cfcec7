//! The time of every dispatch of a step, by the device's clock.

use wgpu::{BufferUsages, ComputePassDescriptor, ComputePassTimestampWrites, Features, QueryType};

use super::adapter::Gpu;
use super::program::Op;
use super::readback::read_words;
use crate::data::Features as Records;
use crate::engine::{Setup, Timed};
use crate::error::Result;
use crate::model::{Layout, stride};

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

/// Names `op`, and counts what it does for `rows` samples of each replica, each value read or written once.
pub(super) fn timed(setup: &Setup, layout: &Layout, op: &Op, rows: usize, seconds: f64) -> Timed {
    let replicas = setup.replicas as f64;
    let n = rows as f64 * replicas;
    let state = setup.optimizer.state_vectors() as f64;
    let update = 2.0 + 2.0 * state + if setup.is_mixed() { 0.5 } else { 0.0 };
    let row = if setup.is_mixed() { 0.5 } else { 1.0 };
    let first = if op.kernel != "grad_norm" && setup.clip_norm.is_none() { layout.biases } else { 0 };
    let params = (layout.trained - first) as f64 * replicas;
    let x = stride(setup.model.inputs()) as f64;
    let layer = &layout.layers[op.layer.unwrap_or(layout.layers.len() - 1)];
    let (i, o) = (stride(layer.inputs) as f64, stride(layer.outputs) as f64);
    let w = i * o * replicas;
    // Values of four bytes; those of rows, and of the weights that products read, may be halves.
    let (flops, values) = match op.kernel {
        "gather" => {
            let raw = if matches!(setup.dataset.train.features, Records::U8(_)) { 0.25 } else { 1.0 };
            (2.0 * n * x, n * x * (row + raw))
        }
        "linear" => (2.0 * n * i * o, row * (w + n * i + 2.0 * n * o)),
        "linear_dx" => (2.0 * n * i * o, row * (w + n * o + 2.0 * n * i)),
        "linear_dw" => {
            let (flops, written) = if op.updates { (6.0, update) } else { (0.0, 1.0) };
            (2.0 * n * i * o + flops * w, written * w + row * (n * i + n * o))
        }
        "batch_norm" | "layer_norm" => (8.0 * n * o, row * 3.0 * n * o),
        "activate" => (n * o, row * 3.0 * n * o),
        "norm_dw" => (3.0 * n * o, row * 2.0 * n * o),
        "batch_norm_dx" | "layer_norm_dx" => (8.0 * n * o, row * 3.0 * n * o),
        "softmax_cross_entropy" | "mse" => (8.0 * n * o, row * 2.0 * n * o),
        "loss_scale" => (0.0, row * n * stride(layout.layers[0].outputs) as f64),
        "grad_norm" => (2.0 * params, params),
        // The optimizer: gradient, weight and state are read, weight and state written.
        _ => (6.0 * params, (1.0 + update) * params),
    };
    let name = op.layer.map_or(op.kernel.to_string(), |l| format!("{} {l}", op.kernel));
    Timed { name, seconds, dispatches: op.dispatches(), flops, bytes: 4.0 * values }
}
