//! Mini-batch gradient descent for small neural networks, on any GPU and on the CPU.
//!
//! thalweg trains multi-layer perceptrons with WGSL compute shaders through [`wgpu`] (Vulkan, Metal, DX12), and with a
//! CPU engine that is the GPU's reference and stands in for it where there is none.
//!
//! ```text
//!  Dataset ── order ──> batch ──> forward ──> loss ──> backward ──> update ──> average ──> evaluate ──> Run
//!  u8 on the  (seed,    x, y,     y, slope    value    dW, db       fused      SWA, EMA,   last, SWA,   metrics,
//!  device     epoch)    augmented a layer     and dz   and dx       optimizer  snapshots   EMA, ...     weights
//!                                                                   ▲
//!                                             Schedule: lr(step) ── computed by the host, pure
//! ```
//!
//! | noun | it is |
//! | --- | --- |
//! | [`data::Dataset`] | features, targets, their split and normalisation |
//! | [`model::Mlp`] | widths, activation, normalisation, dropout; [`model::Layout`] says where each tensor lies in one flat vector |
//! | [`optimizer::Optimizer`], [`schedule::Schedule`], [`loss::Loss`], [`average::Average`] | values, with PyTorch's definitions |
//! | [`engine::Engine`] | carries out steps and evaluations: [`gpu::GpuEngine`], [`cpu::CpuEngine`] |
//! | [`train::Trainer`] | the loop: plans steps, hands them to the engine, evaluates, stops as [`stop::Stop`] says |
//! | [`explore`] | programs that show what descent does: its way down surfaces of two parameters |
//! | [`run`] | a run as a folder: configuration, metrics, weights (with the feature `cli`) |
//! | [`verify`] | the GPU against the CPU in f64, and that against central differences |
//!
//! Every buffer of a model has a leading replica axis: one dispatch trains as many models as the axis is long, and
//! replica r of a run is, bit for bit, the run with seed + r.
//!
//! # A network of your own data
//!
//! ```
//! use std::sync::Arc;
//! use thalweg::activation::Activation;
//! use thalweg::data::{Dataset, Features, Samples, Targets};
//! use thalweg::device::{Device, Precision};
//! use thalweg::engine::Setup;
//! use thalweg::gpu::Options;
//! use thalweg::model::{Init, Mlp};
//! use thalweg::optimizer::Optimizer;
//! use thalweg::train::{Plan, Trainer};
//!
//! # fn main() -> thalweg::Result<()> {
//! // Two classes: the points inside a circle, and those outside.
//! let points: Vec<f32> = (0..800).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
//! let inside = |p: &[f32]| u32::from(p[0] * p[0] + p[1] * p[1] < 0.6);
//! let labels = points.chunks(2).map(inside).collect();
//! let train = Samples { features: Features::F32(points), targets: Targets::Labels(labels) };
//!
//! let model = Mlp::new(2, &[32], 2, Activation::Tanh)?;
//! let dataset = Dataset::new("circle", [2, 1, 1], train, None)?;
//! let setup = Setup {
//!     optimizer: Optimizer::Adam { lr: 0.02, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.0, amsgrad: false },
//!     batch: 32,
//!     ..Setup::new(model, Arc::new(dataset))
//! };
//! let (mut engine, _why) = Device::Cpu.open(Precision::F32, setup, Options::default())?;
//! let mut trainer = Trainer::new(engine.as_mut(), Plan { epochs: 40, ..Plan::default() })?;
//! trainer.init(Init::Pytorch)?;
//! let mut accuracy = 0.0;
//! while let Some(epoch) = trainer.epoch(&mut |_step| {})? {
//!     accuracy = epoch.train[0].accuracy;
//! }
//! assert!(accuracy > 0.95, "{accuracy}");
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! `cli` (the program, and [`run`]) and `fetch` (downloading data sets) are on by default; an application that embeds
//! the engine turns them off with `default-features = false`.
#![warn(missing_docs)]

pub mod activation;
pub mod average;
pub mod cpu;
pub mod data;
pub mod device;
pub mod engine;
mod error;
pub mod explore;
pub mod gpu;
#[doc(hidden)]
pub mod internals {
    //! What this crate's own tests and benches look into; no part of its interface, and free to change.

    pub mod cpu {
        //! The kernels' twins.
        pub use crate::cpu::twins::*;
    }
    pub mod forms {
        //! The forms of products.
        pub use crate::gpu::forms::*;
    }
    pub mod kernels {
        //! The table of kernels.
        pub use crate::gpu::kernels::*;
    }
    pub mod verify {
        //! Each kernel against its twin.
        pub use crate::verify::kernels::*;
    }
    pub use crate::gpu::limits::{PROBES, Probe};
    pub use crate::gpu::single::Dispatch;
}
pub mod loss;
pub mod model;
mod noise;
pub mod optimizer;
#[cfg(feature = "cli")]
pub mod report;
mod rng;
#[cfg(feature = "cli")]
pub mod run;
pub mod schedule;
pub mod stop;
pub mod train;
pub mod verify;
pub mod weights;

pub use error::{Error, Result};
