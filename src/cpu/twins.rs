//! The kernels' twins, and what they take.

pub use super::activate::activate;
pub use super::activate_r::activate_r;
pub use super::adam::adam;
pub use super::affine_dx_r::affine_dx_r;
pub use super::affine_r::affine_r;
pub use super::ascend::ascend;
pub use super::ascent::ascent;
pub use super::average::average;
pub use super::axpy::axpy;
pub use super::batch_norm::batch_norm;
pub use super::batch_norm_dx::batch_norm_dx;
pub use super::combine::combine;
pub use super::dot::dot;
pub use super::ensemble::ensemble;
pub use super::gather::gather;
pub use super::grad_norm::grad_norm;
pub use super::layer_norm::layer_norm;
pub use super::layer_norm_dx::layer_norm_dx;
pub use super::linear::linear;
pub use super::linear_dw::linear_dw;
pub use super::linear_dx::linear_dx;
pub use super::linear_dx_r::linear_dx_r;
pub use super::lookahead::lookahead;
pub use super::loss_scale::{LossScaling, STEPS, loss_scale};
pub use super::metrics::metrics;
pub use super::mse::mse;
pub use super::mse_r::mse_r;
pub use super::norm_dw::norm_dw;
pub use super::norm_dx_r::norm_dx_r;
pub use super::norm_r::norm_r;
pub use super::rmsprop::rmsprop;
pub use super::scale::scale;
pub use super::sgd::sgd;
pub use super::softmax_cross_entropy::softmax_cross_entropy;
pub use super::softmax_cross_entropy_r::softmax_cross_entropy_r;
pub use super::to_half::to_half;

use super::Real;
use crate::activation::Activation;
use crate::number::hash::{self, Key};
use crate::optimizer::{Coefficients, Rule};

/// A forward pass of a training step: what it has and an evaluation's has not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Training {
    /// The key of all its random numbers.
    pub key: Key,
    /// The position of the pass's first sample in the order.
    pub first: u32,
    /// The share of batch normalisation's running statistics that the step replaces.
    pub statistics: f64,
    /// Whether samples are changed and outputs dropped at random.
    pub is_drawn: bool,
}

/// The finish of a layer: what becomes of its `z`, or of the normalised `n`, on the way to its output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish {
    /// The activation, which is applied first.
    pub activation: Activation,
    /// The dropout, which there is only in training.
    pub dropout: Option<Dropout>,
    /// Whether the layer's input is added.
    pub residual: bool,
}

/// The dropout of a layer: which outputs a training step drops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dropout {
    /// The probability with which an output is dropped, in `[0, 1)`.
    pub rate: f64,
    /// The key of the step's random numbers.
    pub key: Key,
    /// The position of the pass's first sample in the order.
    pub first: u32,
    /// The index of the layer, from 0.
    pub layer: u32,
}

impl Dropout {
    /// The threshold of the hashes: an output whose hash is below it is dropped.
    pub(crate) fn threshold(rate: f64) -> u32 {
        (rate * 2f64.powi(32)) as u32
    }

    /// The factor of an output that is kept.
    pub(crate) fn kept(rate: f64) -> f64 {
        1.0 / (1.0 - rate)
    }

    /// Whether the outputs of vec4 `column` are kept in `row` of the pass.
    pub fn keeps(&self, row: usize, column: usize) -> [bool; 4] {
        let hashes = self.key.draw(self.first + row as u32, hash::DROPOUT + self.layer, column as u32);
        hashes.map(|hash| hash >= Self::threshold(self.rate))
    }
}

/// The weighting of a loss: how much each sample of the training part and each class counts.
#[derive(Clone, Copy, Debug)]
pub struct Weighting<'a, T> {
    /// The weight of each sample.
    pub samples: &'a [T],
    /// The weight of each class; the squared error has it in the samples' weights.
    pub classes: &'a [T],
}

impl<T: Real> Weighting<'_, T> {
    /// How much a row's own target counts, how much that of the sample it is mixed with, and both together, which is 1
    /// without a `weighting`; `share` is its own.
    pub fn shares(weighting: Option<Self>, sample: u32, partner: u32, share: T) -> [T; 3] {
        let rest = T::of(1.0) - share;
        let Some(weighting) = weighting else { return [share, rest, T::of(1.0)] };
        let [own, rest] = [(sample, share), (partner, rest)].map(|(i, share)| share * weighting.samples[i as usize]);
        [own, rest, own + rest]
    }
}

/// The [`Coefficients`] of an update, in the engine's precision.
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

impl<T: Real> Constants<T> {
    /// The constants for the weights that do not decay.
    pub fn without_decay(self) -> Self {
        Self { weight_decay: T::of(0.0), shrink: T::of(1.0), ..self }
    }
}

/// One update of `w` by the twin of `rule`, which has so many vectors of `state`; the gradient is first multiplied with
/// `scale`.
pub fn update<T: Real>(rule: Rule, c: &Constants<T>, scale: T, g: &[T], w: &mut [T], state: &mut [&mut [T]]) {
    let mut state = state.iter_mut().map(|vector| &mut **vector);
    let mut next = || state.next().expect("a rule has its number of state vectors");
    match rule {
        Rule::Sgd { nesterov } => sgd(c, nesterov, scale, g, w, next()),
        Rule::Adam { amsgrad } => adam(c, scale, g, w, next(), next(), amsgrad.then(&mut next)),
        Rule::Rmsprop { centered } => rmsprop(c, scale, g, w, next(), next(), centered.then(&mut next)),
    }
}
