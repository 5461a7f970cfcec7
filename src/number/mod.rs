//! Numbers: the two precisions of the CPU engine, and the random numbers of the device and of the host.

pub(crate) mod eigen;
pub(crate) mod hash;
mod real;
mod stream;

pub use real::Real;
pub(crate) use real::wide;
pub(crate) use stream::{Purpose, Stream};
