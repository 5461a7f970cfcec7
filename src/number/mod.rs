//! Numbers: the two precisions of the CPU engine, the random numbers of the device and of the host, means and deviations.

pub(crate) mod eigen;
pub(crate) mod hash;
mod real;
mod spread;
mod stream;

pub use real::Real;
pub(crate) use real::wide;
pub(crate) use spread::squares;
pub use spread::{deviation, mean};
pub(crate) use stream::{Purpose, Stream};
