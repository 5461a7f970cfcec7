#![doc = "placeholder"]
pub mod activation;
pub mod cpu;
pub mod data;
pub mod device;
pub mod engine;
mod error;
pub mod gpu;
pub mod loss;
pub mod model;
pub mod optimizer;
mod rng;
#[cfg(feature = "cli")]
pub mod run;
pub mod schedule;
pub mod train;
pub mod verify;
pub mod weights;
pub use error::{Error, Result};
