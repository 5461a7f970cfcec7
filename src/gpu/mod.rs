//! The GPU engine: WGSL compute shaders through wgpu.
//!
//! [`adapter`] finds and opens an adapter, [`kernels`] is the table of shaders, `buffers` says what lies on the device,
//! `builder` and `products` make the dispatches of a step from top to bottom, `program` holds them, [`forms`] and `tune`
//! choose how the products are cut into workgroups, and the engine hands steps to the device, many to a submission, and
//! gets their metrics by `readback`.

pub mod adapter;
mod buffers;
mod builder;
mod engine;
pub mod forms;
pub mod kernels;
mod limits;
mod products;
mod profile;
mod program;
mod readback;
mod single;
mod submission;
mod tune;

pub use engine::{GpuEngine, Options};
pub use limits::{PROBES, Probe, limits};
pub use single::Dispatch;
pub use tune::Measuring;
