//! The activation functions and their derivatives.

use serde::{Deserialize, Serialize};

use crate::number::Real;

/// The function applied to every hidden layer's output z; each maps 0 to 0, so that padding stays 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// The identity `z`, which makes a network of linear layers.
    Identity,
    /// The rectified linear unit `max(z, 0)`, with derivative 0 at 0.
    #[default]
    Relu,
    /// The Gaussian error linear unit `z Φ(z)`, Φ being the normal distribution function, by `erf` (Hendrycks and
    /// Gimpel, 2016).
    Gelu,
    /// The approximation of GELU by tanh, `z/2 (1 + tanh(√(2/π) (z + 0.044715 z³)))`, from the same paper.
    GeluTanh,
    /// The sigmoid linear unit `z σ(z)`, also called swish (Elfwing et al., 2017).
    Silu,
    /// The hyperbolic tangent `tanh(z)`.
    Tanh,
}

impl Activation {
    /// Every activation, in the order of the codes by which the shaders know them.
    pub const ALL: [Self; 6] = [Self::Identity, Self::Relu, Self::Gelu, Self::GeluTanh, Self::Silu, Self::Tanh];

    /// The value of the activation at `z` and its derivative there, `(a(z), a'(z))`.
    #[inline(always)]
    pub fn value_and_slope<T: Real>(self, z: T) -> (T, T) {
        let (zero, one, half) = (T::of(0.0), T::of(1.0), T::of(0.5));
        match self {
            Self::Identity => (z, one),
            Self::Relu if z > zero => (z, one),
            // Written so that NaN stays NaN.
            Self::Relu => (z * zero, zero),
            Self::Gelu => {
                let below = half * (one + (z * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf());
                let density = T::of(DENSITY_AT_0) * (-half * z * z).exp();
                (z * below, below + z * density)
            }
            Self::GeluTanh => {
                let t = (T::of(GELU_SCALE) * (z + T::of(GELU_CUBE) * z * z * z)).tanh();
                let inner_slope = T::of(GELU_SCALE) * (one + T::of(3.0 * GELU_CUBE) * z * z);
                (half * z * (one + t), half * (one + t) + half * z * (one - t * t) * inner_slope)
            }
            Self::Silu => {
                let s = one / (one + (-z).exp());
                (z * s, s * (one + z * (one - s)))
            }
            Self::Tanh => {
                let t = z.tanh();
                (t, one - t * t)
            }
        }
    }

    /// Whether the slope jumps at 0, where rounding may move `z` to the other side.
    pub(crate) fn has_kink(self) -> bool {
        match self {
            Self::Relu => true,
            Self::Identity | Self::Gelu | Self::GeluTanh | Self::Silu | Self::Tanh => false,
        }
    }

    /// The factor of the Kaiming initialisation: `torch.nn.init.calculate_gain`, with that of ReLU for its smooth
    /// relatives.
    pub(crate) fn gain(self) -> f64 {
        match self {
            Self::Identity => 1.0,
            Self::Tanh => 5.0 / 3.0,
            Self::Relu | Self::Gelu | Self::GeluTanh | Self::Silu => std::f64::consts::SQRT_2,
        }
    }

    /// The number by which the shaders know this activation.
    pub(crate) fn code(self) -> u32 {
        self as u32
    }
}

/// The density of the normal distribution at 0, 1/√(2π).
const DENSITY_AT_0: f64 = 0.398_942_280_401_432_7;
/// The factor within the tanh of [`Activation::GeluTanh`], √(2/π).
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
/// The factor of z³ there.
const GELU_CUBE: f64 = 0.044_715;

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    /// The checks of kernels and of networks go by the list, and the shaders by the places in it.
    #[test]
    fn all_are_in_the_order_of_their_codes() {
        let nameless: StrDeserializer<Error> = "".into_deserializer();
        let refused = Activation::deserialize(nameless).unwrap_err().to_string();
        let names = refused.split_once("expected").unwrap().1;
        assert_eq!(names.split('`').skip(1).step_by(2).count(), Activation::ALL.len(), "ALL is not{names}");
        assert!(Activation::ALL.iter().enumerate().all(|(i, activation)| activation.code() == i as u32));
    }

    #[test]
    fn slopes_are_the_central_differences_of_the_values() {
        let h = 1e-5;
        for activation in Activation::ALL {
            assert_eq!(activation.value_and_slope(0.0f64).0, 0.0);
            for i in -40..=40 {
                let z = f64::from(i) * 0.2 + 0.05;
                let value = |z: f64| activation.value_and_slope(z).0;
                let want = (value(z + h) - value(z - h)) / (2.0 * h);
                // The difference's own error: h²/6 times a third derivative below 2, and rounding, ε |a| / h.
                let tolerance = h * h + 4.0 * f64::EPSILON * (1.0 + z.abs()) / h;
                let diff = (activation.value_and_slope(z).1 - want).abs();
                assert!(diff <= tolerance, "{activation:?} at {z}: off by {diff:e}");
            }
        }
    }

    #[test]
    fn a_kink_is_a_jump_of_the_slope() {
        for activation in Activation::ALL {
            let slope = |z: f64| activation.value_and_slope(z).1;
            // A slope without a jump changes by less than 0.8 times the distance: GELU's by √(2/π), the most.
            let h = 1e-6;
            assert_eq!((slope(h) - slope(-h)).abs() > 2.0 * h, activation.has_kink(), "{activation:?}");
        }
    }

    #[test]
    fn large_arguments_stay_finite() {
        for activation in Activation::ALL {
            for z in [-1e4f32, -200.0, 200.0, 1e4] {
                let (value, slope) = activation.value_and_slope(z);
                assert!(value.is_finite() && slope.is_finite(), "{activation:?}({z}) = {value}, slope {slope}");
            }
        }
    }
}
