//! Comparing this machine's GPU with the CPU in f64, and the CPU with central differences.
//!
//! Close means `|got − want| ≤ tolerance`, written so that NaN is off. Each check says how its tolerance is derived.

pub(crate) mod kernels;
mod networks;

pub use networks::{Mixed, Precise, networks};

use std::fmt;

use crate::error::Result;
use crate::gpu::adapter::Gpu;
use crate::number::{Purpose, Stream};

/// The distance of 1 to the next f32, twice the largest relative rounding error.
const EPS: f64 = f32::EPSILON as f64;

/// One comparison of two tensors.
#[derive(Clone, Debug)]
pub struct Check {
    /// The name of what was compared.
    pub name: String,
    /// The number of elements compared.
    pub elements: usize,
    /// The number of elements that are off.
    pub off: usize,
    /// The index of the worst element, which is off by the most tolerances.
    pub worst: usize,
    /// The value of the worst element.
    pub got: f64,
    /// The value that it should have.
    pub want: f64,
    /// The tolerance: how far it may be from that.
    pub tolerance: f64,
}

impl Check {
    /// Compares `got` with `want`; element i may be off by `tolerance(want[i])`.
    pub fn new(name: impl Into<String>, got: &[f64], want: &[f64], tolerance: impl Fn(f64) -> f64) -> Self {
        let name = name.into();
        assert_eq!(got.len(), want.len(), "{name}: both tensors have one length");
        let ratio = |i: usize| share(got[i], want[i], tolerance(want[i]));
        let within = |i: &usize| (got[*i] - want[*i]).abs() <= tolerance(want[*i]);
        let worst = (0..got.len()).max_by(|&i, &j| ratio(i).total_cmp(&ratio(j))).unwrap_or(0);
        Self {
            name,
            elements: got.len(),
            off: (0..got.len()).filter(|i| !within(i)).count(),
            worst,
            got: got.get(worst).copied().unwrap_or(f64::NAN),
            want: want.get(worst).copied().unwrap_or(f64::NAN),
            tolerance: want.get(worst).map_or(0.0, |&want| tolerance(want)),
        }
    }

    /// The name of what was checked, a kernel or a kind of comparison of whole networks: the beginning of the check's.
    pub fn subject(&self) -> &str {
        let end = if self.name.contains(" vs ") { self.name.find(", ") } else { self.name.find(' ') };
        &self.name[..end.unwrap_or(self.name.len())]
    }

    /// The error of the worst element, as a share of what is allowed; infinite where it is NaN.
    pub fn share(&self) -> f64 {
        share(self.got, self.want, self.tolerance)
    }

    /// Whether every element is close.
    pub fn passed(&self) -> bool {
        self.off == 0 && self.elements > 0
    }
}

/// How many times its tolerance a value is off; NaN is off by infinity.
fn share(got: f64, want: f64, tolerance: f64) -> f64 {
    let share = (got - want).abs() / tolerance;
    if share.is_nan() && got != want { f64::INFINITY } else { share }
}

impl fmt::Display for Check {
    /// The check's name, and below it how many elements are off and which is the worst.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, elements, off, worst, got, want, tolerance } = self;
        let error = (got - want).abs();
        write!(f, "{name}\n  {off} of {elements} elements are off; worst is [{worst}]: ")?;
        write!(f, "got {got:e}, want {want:e}, error {error:.1e}, allowed {tolerance:.1e}")
    }
}

/// How much is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every kernel on one shape, in f32 and in the halves that the adapter has, and one network of each kind: half a minute on
    /// a software driver.
    #[default]
    Quick,
    /// Every kernel in every form, over shapes that straddle its tiles, and all networks: minutes on a software driver.
    Full,
}

/// The checks of each kernel by itself, then those of whole networks.
///
/// # Errors
/// The device is lost, or refuses a shader.
pub fn verify(gpu: Gpu, scope: Scope) -> Result<Vec<Check>> {
    // Most of the time goes into compiling kernels, which a software driver does one by one for a device: on two of them.
    let other = Gpu::open(gpu.description.index)?;
    let (in_f32, rest) = rayon::join(
        || kernels::in_f32(&gpu, scope),
        || {
            let in_halves = kernels::in_halves(&other, scope)?;
            let networks = [networks(&Precise, scope)?, networks(&other, scope)?, networks(&Mixed(&other), scope)?];
            Ok([in_halves, networks.concat()].concat())
        },
    );
    Ok([in_f32?, rest?].concat())
}

/// Uniform deviates in ±`scale`, rounded to f32, from a stream that `seed` names.
fn uniform(seed: u64, n: usize, scale: f64) -> Vec<f64> {
    let mut stream = Stream::new(seed, Purpose::Verify, n as u64);
    (0..n).map(|_| f64::from(((2.0 * stream.uniform() - 1.0) * scale) as f32)).collect()
}
