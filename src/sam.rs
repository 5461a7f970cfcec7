//! Sharpness-aware minimisation: an ascent before the update of any optimizer.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Sharpness-aware minimisation (Foret et al., 2021): a step takes its gradient where the loss rises most around the weights `w`,
/// and the optimizer moves `w` by it. `g` is the gradient at `w`, over all that is trained, biases and the parameters of
/// normalisations too, and the ascent is
///
/// `ŵ = w + rho · g / ‖g‖`, or adaptive (ASAM, Kwon et al., 2021) `ŵ = w + rho · T² g / ‖T g‖` with `T = |w| + 0.01`, value by value.
///
/// Both gradients are of the same samples, with the same dropout and augmentation; weight decay has no part in the ascent, and
/// clipping acts on the gradient at `ŵ`. Running statistics take up the batch at `w` alone, where the loss is measured too. A
/// gradient of 0, or one whose norm is not finite, goes nowhere: `ŵ = w`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sam {
    /// The length ρ of the ascent, in the units of the weights, or adaptive of their multiples; positive. Default 0.05; an
    /// adaptive one goes as far with about ten times as much.
    pub rho: f64,
    /// Whether the ascent is adaptive: each value by its own size, so that scaling the weights of a layer up and those of the
    /// next down changes nothing. Default false.
    pub adaptive: bool,
}

impl Default for Sam {
    /// The default ascent: plain, of length 0.05.
    fn default() -> Self {
        Self { rho: 0.05, adaptive: false }
    }
}

impl Sam {
    /// The number η that is added to the size of each weight in an adaptive ascent, so that weights of 0 take part.
    pub(crate) const ETA: f64 = 0.01;

    /// Refuses a length that is none, or that f32 does not hold.
    ///
    /// # Errors
    /// [`Error::Config`] names it.
    pub fn check(&self) -> Result<()> {
        let held = f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX);
        if held.contains(&self.rho) {
            return Ok(());
        }
        let found = format!("expected a positive number, from 1.2e-38 to 3.4e38, found {:?}", self.rho);
        Err(Error::config("optimizer.sam.rho", found))
    }
}
