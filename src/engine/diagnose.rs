//! Measuring an engine: its memory, its device's limits, and where the time of a step goes.

use serde::{Deserialize, Serialize};

use super::Step;
use crate::error::Result;

/// One buffer of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The name of the buffer, which says what it holds.
    pub name: String,
    /// The size of the buffer in bytes.
    pub bytes: u64,
}

/// The limits of a device: what it can do at most, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// The peak in f32, or in the precision of a CPU engine, in floating-point operations a second; a multiply-add is two.
    pub flops: f64,
    /// The peak in f16, in floating-point operations a second; none where the device has no f16.
    pub flops_f16: Option<f64>,
    /// The peak of cooperative matrices of halves, summed up in f32, in floating-point operations a second; none where
    /// the device has none.
    pub flops_cooperative: Option<f64>,
    /// The bandwidth of a copy, in bytes a second, those read and those written together.
    pub bandwidth: f64,
    /// The bytes that may stay in caches from one pass over memory to the next: twice the most that are read and written
    /// faster than at `bandwidth`, since a part of what does not fit may stay.
    pub cache: f64,
    /// The seconds of a dispatch that waits for the one before it.
    pub dispatch: f64,
    /// The seconds of a submission that the host waits for.
    pub submission: f64,
}

impl Limits {
    /// The better of two limits in every respect: the higher peaks and bandwidth, and the shorter times.
    pub fn best(&self, other: &Self) -> Self {
        let larger = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a.max(b)).or(a).or(b);
        Self {
            flops: self.flops.max(other.flops),
            flops_f16: larger(self.flops_f16, other.flops_f16),
            flops_cooperative: larger(self.flops_cooperative, other.flops_cooperative),
            bandwidth: self.bandwidth.max(other.bandwidth),
            cache: self.cache.max(other.cache),
            dispatch: self.dispatch.min(other.dispatch),
            submission: self.submission.min(other.submission),
        }
    }

    /// The least seconds in which so many operations, bytes and dispatches can be done: the larger of operations over
    /// peak and bytes over bandwidth, plus the time of the dispatches. The peak is that of f32, in which all sums are;
    /// in mixed precision that of cooperative matrices if it is higher.
    ///
    /// `bytes` are those read and those written, each value once. Of both as many as the caches hold need not pass the
    /// memory: what is read may still be there, and what is written may stay.
    pub fn floor(&self, mixed: bool, flops: f64, bytes: f64, dispatches: usize) -> f64 {
        let cooperative = self.flops_cooperative.filter(|_| mixed).unwrap_or(0.0);
        (flops / self.flops.max(cooperative)).max((bytes - 2.0 * self.cache).max(0.0) / self.bandwidth)
            + dispatches as f64 * self.dispatch
    }
}

/// The bytes for which a copy of so many bytes a second shows that caches hold no more: `rates` are of working sets that
/// double, with their bytes, up to one at the bandwidth of memory.
pub(crate) fn cached(rates: &[(f64, f64)], bandwidth: f64) -> f64 {
    let held = rates.iter().filter(|(_, rate)| *rate > CACHED * bandwidth).map(|(bytes, _)| *bytes);
    2.0 * held.fold(0.0, f64::max)
}

/// A working set that passes so many times as fast as memory is in caches, in part at least.
const CACHED: f64 = 1.2;

/// The time of one dispatch of a step, and what it did at least.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timed {
    /// The name of the kernel, with the number of its layer if it belongs to one.
    pub name: String,
    /// The seconds it took, by the device's clock.
    pub seconds: f64,
    /// The number of dispatches: one, or two where sums are split.
    pub dispatches: usize,
    /// The number of floating-point operations.
    pub flops: f64,
    /// The number of bytes read and written, each value counted once.
    pub bytes: f64,
}

/// The diagnosis of an engine: what it tells of itself and of its device. Nothing here trains.
pub trait Diagnose {
    /// The device that this engine computes on, in words.
    fn describe(&self) -> String;

    /// The wgpu device of the engine, for programs that share it; none of a CPU engine.
    fn device(&self) -> Option<wgpu::Device> {
        None
    }

    /// The buffers of the engine on its device; of the CPU engine, the vectors of its replicas, without what is small
    /// and without the data set.
    fn memory(&self) -> Vec<Allocation>;

    /// The bytes of a weight, and of every other value that the engine computes with; in mixed precision, of the
    /// weights that the optimizer sees.
    fn value_bytes(&self) -> usize;

    /// Measures the limits of the engine's device, in about a second.
    ///
    /// # Errors
    /// The device is lost.
    fn measure_limits(&mut self) -> Result<Limits>;

    /// The number of dispatches of one step, clipping included and averages not; 0 for an engine that makes none.
    fn dispatches(&self) -> usize;

    /// Carries out `step` with its dispatches one by one, and returns the time of each by the device's clock; an empty
    /// list where the device has no clock.
    ///
    /// # Errors
    /// The device is lost.
    fn profile(&mut self, step: &Step) -> Result<Vec<Timed>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        flops: 100.0,
        flops_f16: None,
        flops_cooperative: None,
        bandwidth: 10.0,
        cache: 50.0,
        dispatch: 0.5,
        submission: 0.0,
    };

    /// What caches hold takes no time of the memory; what is beyond does.
    #[test]
    fn memory_in_caches_is_no_limit() {
        assert_eq!(LIMITS.floor(false, 200.0, 90.0, 0), 2.0);
        assert_eq!(LIMITS.floor(false, 200.0, 130.0, 0), 3.0);
        assert_eq!(LIMITS.floor(false, 0.0, 100.0, 3), 1.5);
        let rates = [(8.0, 40.0), (16.0, 41.0), (32.0, 13.0), (64.0, 11.0)];
        assert_eq!((cached(&rates, 10.0), cached(&rates[3..], 10.0)), (64.0, 0.0));
    }
}
