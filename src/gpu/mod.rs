//! The GPU engine: WGSL compute shaders through wgpu.
//!
//! [`adapter`] finds and opens an adapter, [`kernels`] is the table of shaders, `buffers` says what lies on the device,
//! `program` is the step from top to bottom, and the engine hands steps to the device, many to a submission.

pub mod adapter;
mod buffers;
mod engine;
pub mod kernels;
mod limits;
mod profile;
mod program;
mod single;

pub use engine::{GpuEngine, Options};
pub use limits::{PROBES, Probe, limits};
pub use single::Dispatch;
