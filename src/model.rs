//! The multi-layer perceptron, and the rule of its first weights.

use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::error::{Error, Result};

/// The most parameters of a model: kernels count vec4s in 32 bits.
pub(crate) const MOST_PARAMETERS: usize = 1 << 30;
/// The most layers of a model: random numbers are keyed by the layer in ten bits.
const MOST_LAYERS: usize = 1000;

/// A multi-layer perceptron: linear layers, and after each but the last what makes it a hidden one.
///
/// `a₀ = x`, `zₗ = aₗ₋₁ Wₗᵀ + bₗ`, `aₗ = dropout(activation(norm(zₗ)))`, to which a residual connection adds `aₗ₋₁`; the
/// `z` of the last layer are the logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// The width of every layer, from the input to the output: `[784, 512, 256, 10]` has three linear layers.
    pub widths: Vec<usize>,
    /// The activation after every layer but the last. Default ReLU.
    pub activation: Activation,
    /// The normalisation before each activation. Default none.
    pub norm: Norm,
    /// Whether the output of every hidden layer has its input added, where both are of one width (He et al., 2015).
    /// Default false.
    pub residual: bool,
    /// The probability with which training sets an output of a hidden layer to 0; the others are divided by
    /// `1 − dropout` (Srivastava et al., 2014). In `[0, 1)`, default 0.
    pub dropout: f64,
}

/// The normalisation of a hidden layer's `z`: `n = γ x̂ + β`, with γ = 1 and β = 0 at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// No normalisation.
    #[default]
    None,
    /// Batch normalisation (Ioffe and Szegedy, 2015): `x̂ = (z − mean) / √(variance + 1e-5)`, of each output over the
    /// samples of the step; in evaluations, by running statistics of the steps, as `torch.nn.BatchNorm1d`:
    /// `running ← 0.9 running + 0.1 batch`, with the variance divided by `n − 1`.
    Batch,
    /// Layer normalisation (Ba et al., 2016): the same formula over the outputs of each sample, as
    /// `torch.nn.LayerNorm`.
    Layer,
}

/// The number added to a variance before its root is taken.
pub(crate) const NORM_EPS: f64 = 1e-5;

/// The share of the running statistics that one step of batch normalisation replaces.
pub(crate) const NORM_MOMENTUM: f64 = 0.1;

impl Mlp {
    /// A linear model from `inputs` to `outputs`, to which [`hidden`](Self::hidden) adds layers.
    ///
    /// ```
    /// use thalweg::activation::Activation;
    /// use thalweg::model::Mlp;
    /// let model = Mlp::new(784, 10).hidden([512, 256]).activation(Activation::Gelu);
    /// assert_eq!((model.widths.as_slice(), model.parameters()), (&[784, 512, 256, 10][..], 535_818));
    /// ```
    pub fn new(inputs: usize, outputs: usize) -> Self {
        let widths = vec![inputs, outputs];
        Self { widths, activation: Activation::default(), norm: Norm::None, residual: false, dropout: 0.0 }
    }

    /// Sets the widths of the hidden layers, in place of those it had. Default: no hidden layer.
    #[must_use]
    pub fn hidden(mut self, widths: impl Into<Vec<usize>>) -> Self {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        self.widths = [vec![inputs], widths.into(), vec![outputs]].concat();
        self
    }

    /// Sets the activation after every layer but the last. Default ReLU.
    #[must_use]
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Sets the normalisation before each activation. Default none.
    #[must_use]
    pub fn norm(self, norm: Norm) -> Self {
        Self { norm, ..self }
    }

    /// Turns residual connections on. Default: off.
    #[must_use]
    pub fn residual(self) -> Self {
        Self { residual: true, ..self }
    }

    /// Sets the probability of dropping an output of a hidden layer, in `[0, 1)`. Default 0.
    #[must_use]
    pub fn dropout(self, dropout: f64) -> Self {
        Self { dropout, ..self }
    }

    /// Refuses a width of zero, and more than 2³⁰ parameters.
    ///
    /// # Errors
    /// [`Error::Config`] names `model.hidden`.
    pub(crate) fn check_size(&self) -> Result<()> {
        let widths = &self.widths;
        if let Some(i) = widths.iter().position(|&w| w == 0) {
            return Err(Error::config("model.hidden", format!("expected widths of at least 1, found 0 at layer {i}")));
        }
        let weights =
            widths.windows(2).try_fold(0usize, |sum, w| sum.checked_add(w[0].checked_add(1)?.checked_mul(w[1])?));
        if weights.is_none_or(|n| n > MOST_PARAMETERS) {
            let found = weights.map_or("more than can be counted".into(), |n| n.to_string());
            return Err(Error::config(
                "model.hidden",
                format!("expected at most {MOST_PARAMETERS} parameters, found {found}"),
            ));
        }
        Ok(())
    }

    /// Refuses widths of zero or of too many parameters, a dropout outside `[0, 1)`, settings that ask for hidden
    /// layers where there are none, residual connections without neighbours of one width, and more than 1000 layers.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting that is refused.
    pub fn check(&self) -> Result<()> {
        self.check_size()?;
        if !(0.0..1.0).contains(&self.dropout) {
            let found = self.dropout;
            return Err(Error::config("model.dropout", format!("expected a number in [0, 1), found {found}")));
        }
        let asks = [("norm", self.norm != Norm::None), ("residual", self.residual), ("dropout", self.dropout > 0.0)];
        if let Some((key, _)) = asks.iter().find(|(_, is_asked)| *is_asked && self.layers() == 1) {
            return Err(Error::config(format!("model.{key}"), "expected hidden layers (model.hidden), found none"));
        }
        if self.residual && !(0..self.layers()).any(|l| self.is_residual(l)) {
            let found = format!("expected neighbours of one width (model.hidden), found {:?}", self.widths);
            return Err(Error::config("model.residual", found));
        }
        if self.layers() > MOST_LAYERS {
            let found = self.layers();
            return Err(Error::config("model.hidden", format!("expected at most {MOST_LAYERS} layers, found {found}")));
        }
        Ok(())
    }

    /// The number of features of a sample.
    pub fn inputs(&self) -> usize {
        self.widths[0]
    }

    /// The number of logits, or of regression targets.
    pub fn outputs(&self) -> usize {
        self.widths[self.widths.len() - 1]
    }

    /// The number of linear layers.
    pub fn layers(&self) -> usize {
        self.widths.len() - 1
    }

    /// Whether layer `l`, counted from 0, is not the last.
    pub(crate) fn is_hidden(&self, l: usize) -> bool {
        l + 1 < self.layers()
    }

    /// The activation after layer `l`, counted from 0.
    pub(crate) fn activation_after(&self, l: usize) -> Activation {
        if self.is_hidden(l) { self.activation } else { Activation::Identity }
    }

    /// The normalisation after layer `l`, counted from 0.
    pub(crate) fn norm_after(&self, l: usize) -> Norm {
        if self.is_hidden(l) { self.norm } else { Norm::None }
    }

    /// Whether layer `l`, counted from 0, has its input added to its output.
    pub(crate) fn is_residual(&self, l: usize) -> bool {
        self.residual && self.is_hidden(l) && self.widths[l] == self.widths[l + 1]
    }

    /// Whether the gradient of layer `l`'s input is kept, since the layer below hands it down.
    pub(crate) fn keeps_da(&self, l: usize) -> bool {
        l > 1 && self.is_residual(l - 1)
    }

    /// The number of trained values, as PyTorch counts them: weights, biases, and γ and β of the normalisations.
    pub fn parameters(&self) -> usize {
        let norms = if self.norm == Norm::None { 0 } else { 2 * self.widths[1..self.layers()].iter().sum::<usize>() };
        norms + self.widths.windows(2).map(|w| w[1] * (w[0] + 1)).sum::<usize>()
    }

    /// The floating-point operations of one step over `batch` samples: two a weight and sample for the forward product,
    /// two for the weight gradient, and two for the input gradient of every layer but the first.
    pub fn step_flops(&self, batch: usize) -> f64 {
        let weights = |l: usize| (self.widths[l] * self.widths[l + 1]) as f64;
        let all: f64 = (0..self.layers()).map(weights).sum();
        2.0 * batch as f64 * (3.0 * all - weights(0))
    }
}

/// The rule by which the first weights are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// The default of `torch.nn.Linear`: weights and biases uniform in `±1/√inputs`.
    #[default]
    Pytorch,
    /// Normal weights with deviation `gain/√inputs`, biases 0 (He et al., 2015). The gain is 1 for identity and after
    /// the last layer, 5/3 for tanh, √2 otherwise.
    Kaiming,
    /// Uniform weights in `±gain √(6 / (inputs + outputs))`, biases 0 (Glorot and Bengio, 2010). The gain is 1.
    Xavier,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_of_zero_is_refused() {
        assert!(Mlp::new(5, 2).hidden([usize::MAX]).check().is_err());
        assert!(Mlp::new(5, 2).hidden([1 << 20, 1 << 20]).check().is_err());
        let error = Mlp::new(5, 2).hidden([3, 0]).check().unwrap_err().to_string();
        assert_eq!(error, "model.hidden: expected widths of at least 1, found 0 at layer 2");
    }
}
