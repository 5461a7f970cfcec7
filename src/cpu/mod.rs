//! The CPU engine: the reference that everything is compared with, and the fallback where there is no GPU.
//!
//! Each file named like a shader is that shader's twin: its meaning in plain loops over slices, in either precision.
//! The engine runs the twins, except that the three matrix products go through a library (`product.rs`), whose tests
//! hold both together.

mod adam;
mod average;
mod engine;
mod gather;
mod grad_norm;
mod linear;
mod linear_dw;
mod linear_dx;
mod metrics;
mod mse;
mod product;
mod real;
mod replica;
mod rmsprop;
mod sgd;
mod softmax_cross_entropy;

pub use adam::adam;
pub use average::average;
pub use engine::CpuEngine;
pub(crate) use engine::no_part;
pub use gather::gather;
pub use grad_norm::grad_norm;
pub use linear::linear;
pub use linear_dw::linear_dw;
pub use linear_dx::linear_dx;
pub use metrics::metrics;
pub use mse::mse;
pub use real::Real;
pub use rmsprop::rmsprop;
pub use sgd::sgd;
pub use softmax_cross_entropy::softmax_cross_entropy;

use crate::optimizer::Coefficients;

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
