//! The CPU engine: the reference that everything is compared with, and the fallback where there is no GPU.
//!
//! Each file named like a shader is that shader's twin: its meaning in plain loops over slices, in either precision.
//! The engine runs the twins, except that the three matrix products (`product/`) go by vectors (`tiles.rs`, `dots.rs`), with their
//! weights in panels (`panels.rs`); tests hold them together. A step is read in `replica.rs`, a pass in `passes.rs`.

mod activate;
mod activate_r;
mod adam;
mod affine_dx_r;
mod affine_r;
mod ascend;
mod ascent;
mod average;
mod axpy;
mod batch_norm;
mod batch_norm_dx;
mod combine;
mod crew;
mod curve;
mod dot;
mod dots;
mod engine;
mod ensemble;
mod evaluate;
mod gather;
mod grad_norm;
mod layer_norm;
mod layer_norm_dx;
mod limits;
mod linear;
mod linear_dw;
mod linear_dx;
mod linear_dx_r;
mod lookahead;
mod loss_scale;
mod metrics;
mod mse;
mod mse_r;
mod norm_dw;
mod norm_dx_r;
mod norm_r;
mod panels;
mod parts;
mod passes;
mod product;
mod projected;
mod replica;
mod rmsprop;
mod scale;
mod sgd;
mod shared;
mod softmax_cross_entropy;
mod softmax_cross_entropy_r;
mod tiles;
mod to_half;
pub(crate) mod twins;
mod weights;

pub use engine::CpuEngine;
pub use limits::{describe, measure_limits};
pub(crate) use twins::*;

use crate::number::{Real, wide};

/// The index of the first largest value.
fn argmax<T: Real>(values: &[T]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}
