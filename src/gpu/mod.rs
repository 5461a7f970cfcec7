//! The GPU engine: WGSL compute shaders through wgpu.
//!
//! [`adapter`] finds and opens an adapter, [`kernels`] is the table of shaders, `buffers` says what lies on the device,
//! `builder` makes the dispatches of a step from top to bottom, `program` holds them, and the engine hands steps to the device, many to a submission.

pub mod adapter;
mod buffers;
mod builder;
mod engine;
pub mod kernels;
mod limits;
mod profile;
mod program;
mod single;

pub use engine::{GpuEngine, Options};
pub use limits::{PROBES, Probe, limits};
pub use single::Dispatch;
