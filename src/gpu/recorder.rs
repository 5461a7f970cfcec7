//! Commands on their way to the device, cut into submissions none of which keeps it for long: a slow GPU must answer before
//! its driver loses patience.

use wgpu::{CommandEncoder, SubmissionIndex};

use super::engine::GpuEngine;
use super::program::{Op, Share};
use super::work::{cost, fitting, share};

/// A submission that is being made.
pub(super) struct Recorder<'a> {
    engine: &'a GpuEngine,
    /// The encoder of what is not yet submitted.
    pub encoder: CommandEncoder,
    /// The share of a submission that it holds.
    filled: f64,
}

impl GpuEngine {
    /// Begins a submission.
    pub(super) fn recorder(&self) -> Recorder<'_> {
        Recorder { engine: self, encoder: self.encoder(), filled: 0.0 }
    }

    /// The share of the replicas that takes part.
    fn share_of_replicas(&self) -> Share {
        Share { active: self.active as u32, replicas: self.setup.replicas as u32 }
    }

    /// The share of a submission that a dispatch fills, for a pass of `rows` rows.
    pub(super) fn share(&self, op: &Op, rows: u32) -> f64 {
        share(cost(&self.setup, &self.layout, op, rows as usize))
    }
}

impl Recorder<'_> {
    /// Dispatches `ops` one after the other for a pass of `rows` rows, whose uniform lies at `pass_at`; submits what is there
    /// whenever no more fits beside it.
    pub fn dispatch(&mut self, ops: &[&Op], pass_at: u32, rows: u32) {
        let shares: Vec<f64> = ops.iter().map(|op| self.engine.share(op, rows)).collect();
        let mut done = 0;
        while done < ops.len() {
            let count = fitting(self.filled, &shares[done..]);
            if count == 0 {
                self.flush();
                continue;
            }
            let mut compute = self.encoder.begin_compute_pass(&Default::default());
            for op in &ops[done..done + count] {
                op.encode(&mut compute, &self.engine.group, pass_at, rows, self.engine.share_of_replicas());
            }
            drop(compute);
            self.filled += shares[done..done + count].iter().sum::<f64>();
            done += count;
        }
    }

    fn flush(&mut self) {
        let full = std::mem::replace(&mut self.encoder, self.engine.encoder());
        self.engine.gpu.queue.submit([full.finish()]);
        self.filled = 0.0;
    }

    /// Submits what is left.
    pub fn submit(self) -> SubmissionIndex {
        self.engine.gpu.queue.submit([self.encoder.finish()])
    }
}
