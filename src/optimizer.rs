//! The optimizers, each with PyTorch's definition and defaults.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::schedule::Rate;

/// The rule by which a gradient becomes an update of the parameters `w`. The default is AdamW.
///
/// All follow `torch.optim` to the digit, in the order of operations too. `t` is the number of the update, from 1, and
/// `g` the gradient after clipping.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent: `g ← g + weight_decay·w`, `v ← momentum·v + (1−dampening)·g` (`v ← g` at `t = 1` or
    /// without momentum), `w ← w − lr·v`, or `w ← w − lr·(g + momentum·v)` with Nesterov's momentum (Sutskever et al., 2013).
    Sgd {
        /// The learning rate, positive. Default 0.001.
        #[serde(default = "lr_milli")]
        lr: f64,
        /// The momentum: the share of the last `v` that is kept. At least 0, default 0.
        #[serde(default)]
        momentum: f64,
        /// The dampening: the share of the gradient that is withheld from `v`. Default 0.
        #[serde(default)]
        dampening: f64,
        /// The L2 penalty, whose gradient `weight_decay·w` is added to `g`. At least 0, default 0.
        #[serde(default)]
        weight_decay: f64,
        /// Whether the momentum is Nesterov's, which needs a momentum and no dampening. Default false.
        #[serde(default)]
        nesterov: bool,
    },
    /// Adam (Kingma and Ba, 2014): `g ← g + weight_decay·w`, `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`,
    /// `w ← w − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + eps)`.
    Adam {
        /// The learning rate, positive. Default 0.001.
        #[serde(default = "lr_milli")]
        lr: f64,
        /// The shares `[β₁, β₂]` of the old `m` and `v` that are kept, each in `[0, 1)`. Default `[0.9, 0.999]`.
        #[serde(default = "default_betas")]
        betas: [f64; 2],
        /// The number added to the divisor, at least 1.2e-38. Default 1e-8.
        #[serde(default = "eps")]
        eps: f64,
        /// The L2 penalty, whose gradient `weight_decay·w` is added to `g`. At least 0, default 0.
        #[serde(default)]
        weight_decay: f64,
        /// Whether the largest `v` so far takes the place of `v` in the divisor (Reddi et al., 2018). Default false.
        #[serde(default)]
        amsgrad: bool,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2017): first `w ← w − lr·weight_decay·w`, then
    /// [`Adam`](Self::Adam) without a penalty.
    Adamw {
        /// The learning rate, positive. Default 0.001.
        #[serde(default = "lr_milli")]
        lr: f64,
        /// The shares `[β₁, β₂]` of the old `m` and `v` that are kept, each in `[0, 1)`. Default `[0.9, 0.999]`.
        #[serde(default = "default_betas")]
        betas: [f64; 2],
        /// The number added to the divisor, at least 1.2e-38. Default 1e-8.
        #[serde(default = "eps")]
        eps: f64,
        /// The decoupled weight decay, relative to the learning rate. At least 0, default 0.01.
        #[serde(default = "decoupled_decay")]
        weight_decay: f64,
        /// Whether the largest `v` so far takes the place of `v` in the divisor (Reddi et al., 2018). Default false.
        #[serde(default)]
        amsgrad: bool,
    },
    /// RMSprop (Hinton, 2012): `g ← g + weight_decay·w`, `v ← αv + (1−α)g²`, `d = √v + eps`; centered (Graves, 2013):
    /// `m ← αm + (1−α)g`, `d = √(v − m²) + eps`. Then `w ← w − lr·g/d`, or with momentum `b ← momentum·b + g/d`,
    /// `w ← w − lr·b`.
    Rmsprop {
        /// The learning rate, positive. Default 0.01.
        #[serde(default = "lr_centi")]
        lr: f64,
        /// The share α of the old `v` that is kept, at least 0. Default 0.99.
        #[serde(default = "alpha")]
        alpha: f64,
        /// The number added to the divisor, at least 1.2e-38. Default 1e-8.
        #[serde(default = "eps")]
        eps: f64,
        /// The L2 penalty, whose gradient `weight_decay·w` is added to `g`. At least 0, default 0.
        #[serde(default)]
        weight_decay: f64,
        /// The momentum: the share of the last `b` that is kept. At least 0, default 0: no momentum.
        #[serde(default)]
        momentum: f64,
        /// Whether the deviation `√(v − m²)` divides instead of the root mean square `√v`. Default false.
        #[serde(default)]
        centered: bool,
    },
}

/// The parameters that an optimizer's weight decay acts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// All parameters, as in PyTorch.
    #[default]
    All,
    /// The weights of linear layers: not biases, nor the parameters of normalisations.
    Weights,
}

fn lr_milli() -> f64 {
    1e-3
}
fn lr_centi() -> f64 {
    1e-2
}
fn default_betas() -> [f64; 2] {
    [0.9, 0.999]
}
fn eps() -> f64 {
    1e-8
}
fn decoupled_decay() -> f64 {
    1e-2
}
fn alpha() -> f64 {
    0.99
}

impl Default for Optimizer {
    /// The default optimizer: AdamW with PyTorch's constants.
    fn default() -> Self {
        Self::adamw(lr_milli())
    }
}

/// The kernel that carries an optimizer out, and the flag that is fixed in it.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The kernel of [`Optimizer::Sgd`].
    Sgd {
        /// Whether the momentum is Nesterov's.
        nesterov: bool,
    },
    /// The kernel of [`Optimizer::Adam`] and [`Optimizer::Adamw`], whose decay arrives as a coefficient.
    Adam {
        /// Whether the largest second moment divides.
        amsgrad: bool,
    },
    /// The kernel of [`Optimizer::Rmsprop`].
    Rmsprop {
        /// Whether the deviation divides instead of the root mean square.
        centered: bool,
    },
}

/// The numbers an optimizer's kernel reads for one step and replica; each kernel's header names those it uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coefficients {
    /// The factor of the direction: `lr`, or Adam's `lr / (1 − β₁ᵗ)`.
    pub step_size: f64,
    /// The momentum of SGD and RMSprop, or β₁ of Adam.
    pub momentum: f64,
    /// The factor of the gradient on its way into the first state vector: SGD's `1 − dampening`, Adam's `1 − β₁`.
    pub gain: f64,
    /// The share of the old mean square that is kept: β₂ of Adam, α of RMSprop.
    pub decay: f64,
    /// The share of the new square, `1 − decay`, which would lose digits if it were computed in f32.
    pub fresh: f64,
    /// The divisor of `√v`: Adam's `√(1 − β₂ᵗ)`, else 1.
    pub correction: f64,
    /// The number added to the divisor of the direction.
    pub eps: f64,
    /// The L2 penalty: the factor of the weight that is added to the gradient; 0 for AdamW.
    pub weight_decay: f64,
    /// The factor of the weight before the update: AdamW's `1 − lr·weight_decay`, else 1.
    pub shrink: f64,
}

/// Each constant that is not given has PyTorch's default. A method that sets a constant panics where the optimizer has no
/// such constant, which is a mistake in the program.
///
/// ```
/// use thalweg::optimizer::Optimizer;
/// let sgd = Optimizer::sgd(0.1).momentum(0.9).nesterov();
/// assert_eq!((sgd.rate().lr, sgd.rate().momentum), (0.1, 0.9));
/// assert_eq!(Optimizer::adamw(1e-3), Optimizer::default());
/// ```
impl Optimizer {
    /// Stochastic gradient descent, [`Sgd`](Self::Sgd), at this learning rate, without momentum.
    pub fn sgd(lr: f64) -> Self {
        Self::Sgd { lr, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false }
    }

    /// Adam, [`Adam`](Self::Adam), at this learning rate.
    pub fn adam(lr: f64) -> Self {
        Self::Adam { lr, betas: default_betas(), eps: eps(), weight_decay: 0.0, amsgrad: false }
    }

    /// AdamW, [`Adamw`](Self::Adamw), at this learning rate.
    pub fn adamw(lr: f64) -> Self {
        Self::Adamw { lr, betas: default_betas(), eps: eps(), weight_decay: decoupled_decay(), amsgrad: false }
    }

    /// RMSprop, [`Rmsprop`](Self::Rmsprop), at this learning rate.
    pub fn rmsprop(lr: f64) -> Self {
        Self::Rmsprop { lr, alpha: alpha(), eps: eps(), weight_decay: 0.0, momentum: 0.0, centered: false }
    }

    /// Sets the momentum of SGD and RMSprop, default 0; of Adam and AdamW it sets β₁, default 0.9.
    #[must_use]
    pub fn momentum(mut self, value: f64) -> Self {
        match &mut self {
            Self::Sgd { momentum, .. } | Self::Rmsprop { momentum, .. } => *momentum = value,
            Self::Adam { betas, .. } | Self::Adamw { betas, .. } => betas[0] = value,
        }
        self
    }

    /// Sets the weight decay. Default 0, of AdamW 0.01.
    #[must_use]
    pub fn weight_decay(mut self, value: f64) -> Self {
        match &mut self {
            Self::Sgd { weight_decay, .. }
            | Self::Adam { weight_decay, .. }
            | Self::Adamw { weight_decay, .. }
            | Self::Rmsprop { weight_decay, .. } => *weight_decay = value,
        }
        self
    }

    /// Turns Nesterov's momentum on, of SGD alone. Default: off.
    #[must_use]
    pub fn nesterov(mut self) -> Self {
        if let Self::Sgd { nesterov, .. } = &mut self {
            *nesterov = true;
        } else {
            self.lacks("nesterov");
        }
        self
    }

    /// Sets the dampening, of SGD alone. Default 0.
    #[must_use]
    pub fn dampening(mut self, value: f64) -> Self {
        if let Self::Sgd { dampening, .. } = &mut self {
            *dampening = value;
        } else {
            self.lacks("dampening");
        }
        self
    }

    /// Sets `[β₁, β₂]`, of Adam and AdamW alone. Default `[0.9, 0.999]`.
    #[must_use]
    pub fn betas(mut self, value: [f64; 2]) -> Self {
        if let Self::Adam { betas, .. } | Self::Adamw { betas, .. } = &mut self {
            *betas = value;
        } else {
            self.lacks("betas");
        }
        self
    }

    /// Sets the number added to the divisor, of all but SGD. Default 1e-8.
    #[must_use]
    pub fn eps(mut self, value: f64) -> Self {
        if let Self::Adam { eps, .. } | Self::Adamw { eps, .. } | Self::Rmsprop { eps, .. } = &mut self {
            *eps = value;
        } else {
            self.lacks("eps");
        }
        self
    }

    /// Turns division by the largest second moment on, of Adam and AdamW alone. Default: off.
    #[must_use]
    pub fn amsgrad(mut self) -> Self {
        if let Self::Adam { amsgrad, .. } | Self::Adamw { amsgrad, .. } = &mut self {
            *amsgrad = true;
        } else {
            self.lacks("amsgrad");
        }
        self
    }

    /// Sets α, the share of the old mean square that is kept, of RMSprop alone. Default 0.99.
    #[must_use]
    pub fn alpha(mut self, value: f64) -> Self {
        if let Self::Rmsprop { alpha, .. } = &mut self {
            *alpha = value;
        } else {
            self.lacks("alpha");
        }
        self
    }

    /// Turns division by the deviation on, of RMSprop alone. Default: off.
    #[must_use]
    pub fn centered(mut self) -> Self {
        if let Self::Rmsprop { centered, .. } = &mut self {
            *centered = true;
        } else {
            self.lacks("centered");
        }
        self
    }

    fn lacks(&self, constant: &str) -> ! {
        panic!("expected an optimizer with {constant}, found {self:?}")
    }

    /// The learning rate and the momentum that the schedule starts from; the momentum of Adam and AdamW is β₁.
    pub fn rate(&self) -> Rate {
        let momentum = match *self {
            Self::Sgd { momentum, .. } | Self::Rmsprop { momentum, .. } => momentum,
            Self::Adam { betas, .. } | Self::Adamw { betas, .. } => betas[0],
        };
        Rate { lr: self.lr(), momentum }
    }

    /// The learning rate that the schedule starts from.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::Adamw { lr, .. } | Self::Rmsprop { lr, .. } => lr,
        }
    }

    /// The same optimizer at another learning rate.
    #[must_use]
    pub fn with_lr(mut self, rate: f64) -> Self {
        match &mut self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::Adamw { lr, .. } | Self::Rmsprop { lr, .. } => {
                *lr = rate
            }
        }
        self
    }

    /// The kernel that carries this optimizer out.
    #[doc(hidden)]
    pub fn rule(&self) -> Rule {
        match *self {
            Self::Sgd { nesterov, .. } => Rule::Sgd { nesterov },
            Self::Adam { amsgrad, .. } | Self::Adamw { amsgrad, .. } => Rule::Adam { amsgrad },
            Self::Rmsprop { centered, .. } => Rule::Rmsprop { centered },
        }
    }

    /// The number of state vectors, each as long as the parameter vector: SGD `v`; Adam `m`, `v` and with amsgrad its
    /// maximum; RMSprop `v`, `b` and when centered `m`.
    pub fn state_vectors(&self) -> usize {
        match self.rule() {
            Rule::Sgd { .. } => 1,
            Rule::Adam { amsgrad: flag } | Rule::Rmsprop { centered: flag } => 2 + usize::from(flag),
        }
    }

    /// The coefficients of update `t` (counted from 1) at the learning rate and momentum `rate`.
    pub fn coefficients(&self, t: u64, rate: Rate) -> Coefficients {
        let Rate { lr, momentum } = rate;
        let plain = Coefficients { step_size: lr, momentum, correction: 1.0, shrink: 1.0, ..Coefficients::default() };
        let adam = |betas: [f64; 2], eps| Coefficients {
            step_size: lr / (1.0 - momentum.powf(t as f64)),
            gain: 1.0 - momentum,
            decay: betas[1],
            fresh: 1.0 - betas[1],
            correction: (1.0 - betas[1].powf(t as f64)).sqrt(),
            eps,
            ..plain
        };
        match *self {
            Self::Sgd { dampening, weight_decay, .. } => {
                // As PyTorch: without momentum there is nothing to dampen.
                let gain = if t == 1 || momentum == 0.0 { 1.0 } else { 1.0 - dampening };
                Coefficients { gain, weight_decay, ..plain }
            }
            Self::Adam { betas, eps, weight_decay, .. } => Coefficients { weight_decay, ..adam(betas, eps) },
            Self::Adamw { betas, eps, weight_decay, .. } => {
                Coefficients { shrink: 1.0 - lr * weight_decay, ..adam(betas, eps) }
            }
            Self::Rmsprop { alpha, eps, weight_decay, .. } => {
                Coefficients { decay: alpha, fresh: 1.0 - alpha, eps, weight_decay, ..plain }
            }
        }
    }

    /// Refuses constants outside the range in which the formulas make sense.
    ///
    /// # Errors
    /// [`Error::Config`] names the first constant out of range.
    pub fn check(&self) -> Result<()> {
        let refuse = |key: &str, found: String| Err(Error::config(format!("optimizer.{key}"), found));
        let at_least_zero = |key: &str, value: f64| match value {
            v if v.is_finite() && v >= 0.0 => Ok(()),
            v => refuse(key, format!("expected a number of at least 0, found {v}")),
        };
        let below_one = |key: &str, value: f64| match value {
            v if (0.0..1.0).contains(&v) => Ok(()),
            v => refuse(key, format!("expected a number in [0, 1), found {v}")),
        };
        // In f32 a smaller one would be 0, and 0/0 where a gradient is.
        let check_eps = |eps: f64| match eps {
            v if v.is_finite() && v >= f64::from(f32::MIN_POSITIVE) => Ok(()),
            v => refuse("eps", format!("expected at least 1.2e-38, found {v:e}")),
        };
        if !(self.lr().is_finite() && self.lr() > 0.0) {
            return refuse("lr", format!("expected a positive number, found {:?}", self.lr()));
        }
        match *self {
            Self::Sgd { momentum, dampening, weight_decay, nesterov, .. } => {
                at_least_zero("momentum", momentum)?;
                at_least_zero("weight_decay", weight_decay)?;
                if !dampening.is_finite() {
                    return refuse("dampening", format!("expected a number, found {dampening}"));
                }
                if nesterov && (momentum == 0.0 || dampening != 0.0) {
                    let found = format!("found momentum {momentum}, dampening {dampening}");
                    return refuse("nesterov", format!("expected a momentum and no dampening, {found}"));
                }
                Ok(())
            }
            Self::Adam { betas, eps, weight_decay, .. } | Self::Adamw { betas, eps, weight_decay, .. } => {
                below_one("betas", betas[0])?;
                below_one("betas", betas[1])?;
                check_eps(eps)?;
                at_least_zero("weight_decay", weight_decay)
            }
            Self::Rmsprop { alpha, eps, weight_decay, momentum, .. } => {
                at_least_zero("alpha", alpha)?;
                check_eps(eps)?;
                at_least_zero("weight_decay", weight_decay)?;
                at_least_zero("momentum", momentum)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.optim.SGD` looks at dampening only where there is momentum.
    #[test]
    fn dampening_needs_momentum() {
        let gain = |momentum, t| {
            let sgd = Optimizer::sgd(0.1).momentum(momentum).dampening(0.4);
            sgd.coefficients(t, Rate { lr: 0.1, momentum }).gain
        };
        assert_eq!((gain(0.0, 1), gain(0.0, 2), gain(0.9, 1), gain(0.9, 2)), (1.0, 1.0, 1.0, 0.6));
    }
}
