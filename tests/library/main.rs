//! What the library promises. One crate for all, since each would link the whole library anew; `allocation.rs` has an allocator
//! of its own.

#[path = "../common/mod.rs"]
mod common;

mod adapter;
mod averages;
mod curvature;
mod curve;
mod data;
mod engines;
mod fetch;
mod files;
mod forms;
mod golden;
mod gradients;
mod kernels;
mod landscape;
mod memory;
mod mixed;
mod networks;
mod normalization;
mod onnx;
mod operations;
mod pages;
mod pictures;
mod population;
mod predictions;
mod quality;
mod regularization;
mod sam;
mod schedules;
mod scores;
mod scratch;
mod shaders;
mod sources;
mod targets;
mod tiny;
mod traces;
mod weights;
mod wide;
