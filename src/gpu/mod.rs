//! The GPU engine: WGSL compute shaders through wgpu.
//!
//! [`adapter`] finds and opens an adapter, `kernels` is the table of shaders, `buffers` says what lies on the device,
//! `builder` and `products` make the dispatches of a step from top to bottom, `program` holds them, `forms` and `tune`
//! choose how the products are cut into workgroups, and the engine hands steps to the device, many to a submission, and
//! gets their metrics by `readback`; [`shaders`] are what the device is given.

pub mod adapter;
mod buffers;
mod builder;
mod engine;
pub(crate) mod forms;
pub(crate) mod kernels;
pub(crate) mod limits;
mod products;
mod profile;
mod program;
mod readback;
mod shaders;
pub(crate) mod single;
mod submission;
mod tune;

pub use engine::{GpuEngine, Options};
pub use kernels::Stored;
pub use limits::limits;
pub use shaders::{Shader, shader_text, shaders};
pub use tune::Measuring;
