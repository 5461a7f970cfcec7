//! The CPU engine: the reference that everything is compared with, and the fallback where there is no GPU.
//!
//! Each file named like a shader is that shader's twin: its meaning in plain loops over slices, in either precision.
//! The engine runs the twins, except that the three matrix products (`product.rs`) go by vectors (`tiles.rs`, `dots.rs`), with their
//! weights in panels (`panels.rs`); tests hold them together.

mod activate;
mod adam;
mod average;
mod axpy;
mod batch_norm;
mod batch_norm_dx;
mod crew;
mod dot;
mod dots;
mod engine;
mod ensemble;
mod gather;
mod grad_norm;
mod halve;
mod layer_norm;
mod layer_norm_dx;
mod limits;
mod linear;
mod linear_dw;
mod linear_dx;
mod lookahead;
mod loss_scale;
mod metrics;
mod mse;
mod norm_dw;
mod panels;
mod parts;
mod product;
mod replica;
mod rmsprop;
mod scale;
mod sgd;
mod softmax_cross_entropy;
mod tiles;

pub use activate::activate;
pub use adam::adam;
pub use average::average;
pub use axpy::axpy;
pub use batch_norm::batch_norm;
pub use batch_norm_dx::batch_norm_dx;
pub use engine::CpuEngine;
pub use dot::dot;
pub use ensemble::ensemble;
pub use gather::gather;
pub use grad_norm::grad_norm;
pub use halve::halve;
pub use layer_norm::layer_norm;
pub use layer_norm_dx::layer_norm_dx;
pub use limits::{describe, limits};
pub use linear::linear;
pub use linear_dw::linear_dw;
pub use linear_dx::linear_dx;
pub use lookahead::lookahead;
pub use loss_scale::{STEPS, Scaling, loss_scale};
pub use metrics::metrics;
pub use mse::mse;
pub use norm_dw::norm_dw;
pub use rmsprop::rmsprop;
pub use scale::scale;
pub use sgd::sgd;
pub use softmax_cross_entropy::softmax_cross_entropy;

use crate::activation::Activation;
use crate::number::hash::{self, Key};
use crate::number::{Real, wide};
use crate::optimizer::{Coefficients, Rule};

/// What a training step's forward pass has and an evaluation's has not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Training {
    /// Of all its random numbers.
    pub key: Key,
    /// Position of the pass's first sample in the order.
    pub first: u32,
    /// How much of batch normalisation's running statistics the step replaces.
    pub statistics: f64,
    /// Whether samples are changed and outputs dropped at random.
    pub is_drawn: bool,
}

/// What becomes of a layer's `z`, or of the normalised `n`, on the way to its output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish {
    /// Applied first.
    pub activation: Activation,
    /// Only in training.
    pub dropout: Option<Dropout>,
    /// Adds the layer's input.
    pub residual: bool,
}

/// Which outputs a training step drops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dropout {
    /// The probability to be dropped.
    pub rate: f64,
    /// Of the step's random numbers.
    pub key: Key,
    /// Position of the pass's first sample in the order.
    pub first: u32,
    /// The layer, from 0.
    pub layer: u32,
}

impl Dropout {
    /// An output is dropped whose hash is below this.
    pub(crate) fn threshold(rate: f64) -> u32 {
        (rate * 2f64.powi(32)) as u32
    }

    /// What multiplies an output that is kept.
    pub(crate) fn kept(rate: f64) -> f64 {
        1.0 / (1.0 - rate)
    }

    /// Whether the outputs of vec4 `column` are kept in `row` of the pass.
    pub fn keeps(&self, row: usize, column: usize) -> [bool; 4] {
        let hashes = self.key.draw(self.first + row as u32, hash::DROPOUT + self.layer, column as u32);
        hashes.map(|hash| hash >= Self::threshold(self.rate))
    }
}

/// [`Coefficients`] in the engine's precision.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the fields are those of Coefficients")]
pub struct Constants<T> {
    pub step_size: T,
    pub momentum: T,
    pub gain: T,
    pub decay: T,
    pub fresh: T,
    pub correction: T,
    pub eps: T,
    pub weight_decay: T,
    pub shrink: T,
}

impl<T: Real> From<Coefficients> for Constants<T> {
    fn from(c: Coefficients) -> Self {
        Self {
            step_size: T::of(c.step_size),
            momentum: T::of(c.momentum),
            gain: T::of(c.gain),
            decay: T::of(c.decay),
            fresh: T::of(c.fresh),
            correction: T::of(c.correction),
            eps: T::of(c.eps),
            weight_decay: T::of(c.weight_decay),
            shrink: T::of(c.shrink),
        }
    }
}

/// One update of `w` by the twin of `rule`, which has so many vectors of `state`; the gradient is first multiplied with
/// `scale`.
pub fn update<T: Real>(rule: Rule, c: &Constants<T>, scale: T, g: &[T], w: &mut [T], state: &mut [&mut [T]]) {
    match (rule, state) {
        (Rule::Sgd { nesterov }, [v]) => sgd(c, nesterov, scale, g, w, v),
        (Rule::Adam { .. }, [m, v]) => adam(c, scale, g, w, m, v, None),
        (Rule::Adam { .. }, [m, v, largest]) => adam(c, scale, g, w, m, v, Some(largest)),
        (Rule::Rmsprop { .. }, [v, b]) => rmsprop(c, scale, g, w, v, b, None),
        (Rule::Rmsprop { .. }, [v, b, mean]) => rmsprop(c, scale, g, w, v, b, Some(mean)),
        _ => unreachable!("a rule has its number of state vectors"),
    }
}

/// Index of the first largest value.
fn argmax<T: Real>(values: &[T]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}
