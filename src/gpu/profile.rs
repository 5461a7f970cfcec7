//! The time of every dispatch of a step, by the device's clock.

use std::ops::Range;

use wgpu::{BufferUsages, ComputePassDescriptor, ComputePassTimestampWrites, Features, QueryType};

use super::adapter::Gpu;
use super::kernels::Cost;
use super::program::Op;
use super::readback::read_words;
use super::work::{cost, fitting};
use crate::engine::{Layout, Setup, Timed};
use crate::error::Result;

/// Whether the device has a clock.
pub(super) fn has_clock(gpu: &Gpu) -> bool {
    gpu.device.features().contains(Features::TIMESTAMP_QUERY)
}

/// The most dispatches between readings of one set, each with two, which WebGPU bounds.
const MOST_TIMED: usize = (wgpu::QUERY_SET_MAX_QUERIES / 2) as usize;

/// Dispatches one op after the other, each in a pass of its own between two readings of the clock, and returns its seconds;
/// `shares` are those that they fill of a submission, and `encode` puts op i into its pass.
pub(super) fn seconds(gpu: &Gpu, shares: &[f64], encode: impl Fn(usize, &mut wgpu::ComputePass)) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    while all.len() < shares.len() {
        let count = fitting(0.0, &shares[all.len()..]).min(MOST_TIMED);
        all.extend(some_seconds(gpu, all.len()..all.len() + count, &encode)?);
    }
    Ok(all)
}

/// The seconds of the ops in `range`, in one submission.
fn some_seconds(gpu: &Gpu, range: Range<usize>, encode: impl Fn(usize, &mut wgpu::ComputePass)) -> Result<Vec<f64>> {
    let readings = 2 * range.len() as u32;
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
    for (op, at) in range.clone().zip((0..).step_by(2)) {
        let mut pass = encoder.begin_compute_pass(&ComputePassDescriptor {
            label: None,
            timestamp_writes: Some(ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: Some(at),
                end_of_pass_write_index: Some(at + 1),
            }),
        });
        encode(op, &mut pass);
    }
    encoder.resolve_query_set(&queries, 0..readings, &ticks, 0);
    gpu.queue.submit([encoder.finish()]);
    let words = read_words(gpu, &ticks, 0, ticks.size())?;
    let reading = |i: usize| u64::from(words[2 * i]) | u64::from(words[2 * i + 1]) << 32;
    let period = f64::from(gpu.queue.get_timestamp_period()) * 1e-9;
    Ok((0..range.len()).map(|i| reading(2 * i + 1).saturating_sub(reading(2 * i)) as f64 * period).collect())
}

/// Names `op`, and counts what it does for `rows` samples of each replica.
pub(super) fn timed(setup: &Setup, layout: &Layout, op: &Op, rows: usize, seconds: f64) -> Timed {
    let Cost { flops, bytes } = cost(setup, layout, op, rows);
    let base = op.kernel.base();
    let name = op.layer.map_or(base.to_string(), |l| format!("{base} {l}"));
    Timed { name, seconds, dispatches: op.dispatches(), flops, bytes }
}
