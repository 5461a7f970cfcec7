//! Measuring an engine: its memory, its device's limits, and where the time of a step goes.

use serde::{Deserialize, Serialize};

use super::Step;
use crate::error::Result;

/// One buffer of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// What it holds.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What a device can do at most, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Floating-point operations a second in f32, or in the precision of a CPU engine, a multiply-add being two.
    pub flops: f64,
    /// The same in f16, where the device has it.
    pub flops_f16: Option<f64>,
    /// By cooperative matrices of halves, summed up in f32, where the device has them.
    pub flops_cooperative: Option<f64>,
    /// Bytes a second of a copy, those read and those written.
    pub bandwidth: f64,
    /// Seconds of a dispatch that waits for the one before it.
    pub dispatch: f64,
    /// Seconds of a submission that the host waits for.
    pub submission: f64,
}

impl Limits {
    /// The better of the two in every respect.
    pub fn best(&self, other: &Self) -> Self {
        let larger = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a.max(b)).or(a).or(b);
        Self {
            flops: self.flops.max(other.flops),
            flops_f16: larger(self.flops_f16, other.flops_f16),
            flops_cooperative: larger(self.flops_cooperative, other.flops_cooperative),
            bandwidth: self.bandwidth.max(other.bandwidth),
            dispatch: self.dispatch.min(other.dispatch),
            submission: self.submission.min(other.submission),
        }
    }

    /// The least seconds in which so much can be done: the larger of operations over peak and bytes over bandwidth, and
    /// the dispatches. The peak is that of f32, in which all sums are; in mixed precision that of cooperative matrices if it
    /// is higher.
    pub fn floor(&self, mixed: bool, flops: f64, bytes: f64, dispatches: usize) -> f64 {
        let cooperative = self.flops_cooperative.filter(|_| mixed).unwrap_or(0.0);
        (flops / self.flops.max(cooperative)).max(bytes / self.bandwidth) + dispatches as f64 * self.dispatch
    }
}

/// The time of one dispatch of a step, and what it did at least.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timed {
    /// The kernel, and its layer if it has one.
    pub name: String,
    /// By the device's clock.
    pub seconds: f64,
    /// Dispatches: one, or two where sums are split.
    pub dispatches: usize,
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read and written, each value once.
    pub bytes: f64,
}

/// What an engine tells of itself and of its device; nothing here trains.
pub trait Diagnose {
    /// Where this engine computes, in words.
    fn describe(&self) -> String;

    /// Its buffers on the device; of the CPU engine, the vectors of its replicas, without what is small and without the
    /// data set.
    fn memory(&self) -> Vec<Allocation>;

    /// Bytes of a weight, and of whatever else it computes with; in mixed precision, of the weights that the optimizer sees.
    fn value_bytes(&self) -> usize;

    /// Measures what its device can do at most, in about a second.
    ///
    /// # Errors
    /// The device is lost.
    fn measure_limits(&mut self) -> Result<Limits>;

    /// Dispatches of one step, clipping included and averages not; 0 where there is no such thing.
    fn dispatches(&self) -> usize;

    /// Carries out `step` with its dispatches one by one, and times each by the device's clock; empty where the device
    /// has none.
    ///
    /// # Errors
    /// The device is lost.
    fn profile(&mut self, step: &Step) -> Result<Vec<Timed>>;
}
