//! The GPU engine: WGSL compute shaders through wgpu.
//!
//! | what | file |
//! | --- | --- |
//! | **a step, dispatch by dispatch** | `step.rs` |
//! | how its dispatches are made | `samples.rs`, `products.rs`, `layers.rs`, `updates.rs`, by `builder.rs` |
//! | the kernels: texts, bindings, costs | `kernels/table.rs`; printed by [`shaders()`] |
//! | what lies on the device, and what of it fits | `buffers.rs`, `dataset.rs`, `room.rs` |
//! | how steps become submissions, and numbers come back | `submission.rs`, `recorder.rs`, `work.rs`, `readback.rs` |
//! | the engine, and what it can do beside steps | `engine.rs`, `contract.rs`, `predict.rs`, `projected.rs`, `derivatives.rs` by way of `curve.rs`, `vectors.rs` |
//! | what no step may read of the one before, filled in tests | `scratch.rs` |
//! | which form a product has | `forms.rs`, `grid.rs`, measured by `tune.rs`, compared by `trial.rs` |
//! | the device itself, what it must have, and how far kernels reach on it | [`adapter`], `needs.rs`, `reach.rs` |
//! | what it can do at most, and a step by its clock | `limits.rs`, `profile.rs` |

pub mod adapter;
mod buffers;
mod builder;
mod contract;
mod curve;
mod dataset;
mod derivatives;
mod engine;
pub(crate) mod forms;
mod grid;
pub(crate) mod kernels;
mod layers;
pub(crate) mod limits;
mod needs;
mod predict;
mod products;
mod profile;
mod program;
mod projected;
mod reach;
mod readback;
mod recorder;
mod room;
mod samples;
mod scratch;
mod shaders;
pub(crate) mod single;
mod step;
mod submission;
mod trial;
mod tune;
mod updates;
mod vectors;
mod work;

pub use engine::{GpuEngine, Options};
pub use kernels::Stored;
pub use limits::measure_limits;
#[cfg(feature = "run")]
pub(crate) use shaders::digest;
pub use shaders::{Shader, shader_text, shaders};
pub use tune::{Measuring, Tuning};
