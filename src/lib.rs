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
//! | [`Dataset`] | features, targets, their split and normalisation |
//! | [`Mlp`] | widths, activation, normalisation, dropout; [`engine::Layout`] says where each tensor lies in one flat vector |
//! | [`Optimizer`], [`Schedule`], [`loss::Loss`], [`average::Average`] | values, with PyTorch's definitions |
//! | [`Training`] | all of these, and where to compute: everything that decides a training, as one value |
//! | [`engine::Engine`] | carries out steps and evaluations, and holds vectors: [`gpu::GpuEngine`], [`cpu::CpuEngine`] |
//! | [`Trainer`] | the loop: plans steps, hands them to its engine, evaluates, stops as [`stop::Stop`] says |
//! | [`event::Event`], [`event::Observer`] | what happens in a run, and who watches it |
//! | [`explore`] | programs that show what descent does: its way down surfaces, the rate to take, what a batch size costs |
//! | [`run`] | a run as a function of a configuration, and its folder (with the feature `run`) |
//! | [`sweep`] | many settings and seeds of one configuration, and what came of them (with the feature `run`) |
//! | [`verify`] | the GPU against the CPU in f64, and that against central differences |
//!
//! Every buffer of a model has a leading replica axis: one dispatch trains as many models as the axis is long, and
//! replica r of a run is, bit for bit, the run with seed + r.
//!
//! # A network of your own data
//!
//! ```
//! use thalweg::data::Samples;
//! use thalweg::{Activation, Dataset, Mlp, Optimizer, Training};
//!
//! // Two classes: the points inside a circle, and those outside.
//! let points: Vec<f32> = (0..800).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
//! let labels: Vec<u32> = points.chunks(2).map(|p| u32::from(p[0] * p[0] + p[1] * p[1] < 0.6)).collect();
//!
//! let data = Dataset::new("circle", [2, 1, 1], Samples::labelled(points, labels), None)?;
//! let model = Mlp::new(2, 2).hidden([32]).activation(Activation::Tanh);
//! let mut trainer = Training::new(model, data).optimizer(Optimizer::adam(0.02)).batch(32).epochs(40).trainer()?;
//! let mut accuracy = 0.0;
//! while let Some(epoch) = trainer.epoch()? {
//!     accuracy = epoch.train[0].accuracy;
//! }
//! assert!(accuracy > 0.95, "{accuracy}");
//! # Ok::<(), thalweg::Error>(())
//! ```
//!
//! # Features
//!
//! `run` ([`run`]: configuration, folder, checkpoints), `report` (pictures and pages of runs), `cli` (the program) and `fetch`
//! (downloading data sets) are on by default; an application that embeds the engine turns them off with
//! `default-features = false`. `mpi` (training on several processes and machines) is off.
#![warn(missing_docs)]

pub mod activation;
pub mod average;
pub mod cpu;
pub mod data;
pub mod device;
#[cfg(feature = "run")]
mod disk;
pub mod engine;
mod error;
pub mod event;
pub mod explore;
#[cfg(feature = "run")]
pub mod export;
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
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod number;
pub mod optimizer;
pub mod plan;
pub mod population;
pub mod progress;
#[cfg(feature = "report")]
pub mod report;
#[cfg(feature = "run")]
pub mod run;
pub mod sam;
pub mod schedule;
pub mod score;
mod spectrum;
pub mod stop;
#[cfg(feature = "run")]
pub mod sweep;
pub mod train;
pub mod training;
pub mod verify;

pub use activation::Activation;
pub use data::Dataset;
pub use error::{Error, Result};
pub use model::Mlp;
pub use optimizer::Optimizer;
pub use schedule::Schedule;
pub use train::Trainer;
pub use training::Training;

/// The examples of the page on the library, which are run as tests.
#[cfg(all(doctest, feature = "run"))]
#[doc = include_str!("../docs/library.md")]
struct Library;
