//! The activation functions and their derivatives.

use serde::{Deserialize, Serialize};

use crate::number::Real;

/// The function applied to every hidden layer's output z.
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
    /// The leaky rectified linear unit, `z` above 0 and `0.01 z` elsewhere, with derivative 0.01 at 0 (Maas et al., 2013).
    LeakyRelu,
    /// The exponential linear unit, `z` above 0 and `eᶻ − 1` elsewhere (Clevert et al., 2015, with α = 1).
    Elu,
    /// The logistic sigmoid `σ(z) = 1/(1 + e⁻ᶻ)`.
    Sigmoid,
}

impl Activation {
    /// Every activation, in the order of the codes by which the shaders know them.
    pub const ALL: [Self; 9] = [
        Self::Identity,
        Self::Relu,
        Self::Gelu,
        Self::GeluTanh,
        Self::Silu,
        Self::Tanh,
        Self::LeakyRelu,
        Self::Elu,
        Self::Sigmoid,
    ];

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
            Self::LeakyRelu | Self::Elu if z > zero => (z, one),
            Self::LeakyRelu => (z * T::of(LEAK), T::of(LEAK)),
            Self::Elu => (z.exp_m1(), z.exp()),
            Self::Sigmoid => {
                let s = one / (one + (-z).exp());
                (s, s * (one - s))
            }
        }
    }

    /// The derivative of the activation at `z` and its second one, `(a'(z), a''(z))`; where the slope jumps, the second one is 0.
    #[inline(always)]
    pub fn slope_and_second<T: Real>(self, z: T) -> (T, T) {
        let (zero, one, two) = (T::of(0.0), T::of(1.0), T::of(2.0));
        let (value, slope) = self.value_and_slope(z);
        let second = match self {
            // Written so that NaN stays NaN.
            Self::Identity | Self::Relu | Self::LeakyRelu => z * zero,
            Self::Gelu => T::of(DENSITY_AT_0) * (T::of(-0.5) * z * z).exp() * (two - z * z),
            Self::GeluTanh => {
                let t = (T::of(GELU_SCALE) * (z + T::of(GELU_CUBE) * z * z * z)).tanh();
                let (inner_slope, inner_second) = (
                    T::of(GELU_SCALE) * (one + T::of(3.0 * GELU_CUBE) * z * z),
                    T::of(6.0 * GELU_SCALE * GELU_CUBE) * z,
                );
                let rest = one - t * t;
                rest * inner_slope + T::of(0.5) * z * rest * (inner_second - two * t * inner_slope * inner_slope)
            }
            Self::Silu => {
                let s = one / (one + (-z).exp());
                s * (one - s) * (two + z * (one - two * s))
            }
            Self::Tanh => -two * value * slope,
            Self::Elu if z > zero => zero,
            Self::Elu => slope,
            Self::Sigmoid => slope * (one - two * value),
        };
        (slope, second)
    }

    /// Whether the slope jumps at 0, where rounding may move `z` to the other side.
    pub(crate) fn has_kink(self) -> bool {
        match self {
            Self::Relu | Self::LeakyRelu => true,
            Self::Identity | Self::Gelu | Self::GeluTanh | Self::Silu | Self::Tanh | Self::Elu | Self::Sigmoid => false,
        }
    }

    /// Whether 0 becomes 0, as the padding of a row has to stay; where it does not, the padding is cleared.
    pub(crate) fn keeps_zero(self) -> bool {
        self != Self::Sigmoid
    }

    /// The factor of the Kaiming initialisation: `torch.nn.init.calculate_gain`, with that of ReLU for its smooth
    /// relatives.
    pub(crate) fn gain(self) -> f64 {
        match self {
            Self::Identity | Self::Sigmoid => 1.0,
            Self::Tanh => 5.0 / 3.0,
            Self::Relu | Self::Gelu | Self::GeluTanh | Self::Silu | Self::Elu => std::f64::consts::SQRT_2,
            Self::LeakyRelu => (2.0 / (1.0 + LEAK * LEAK)).sqrt(),
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
pub(crate) const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
/// The factor of z³ there.
pub(crate) const GELU_CUBE: f64 = 0.044_715;
/// The slope of [`Activation::LeakyRelu`] below 0.
pub(crate) const LEAK: f64 = 0.01;

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
            assert_eq!(activation.value_and_slope(0.0f64).0 == 0.0, activation.keeps_zero());
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
    fn second_derivatives_are_the_central_differences_of_the_slopes() {
        let h = 1e-5;
        for activation in Activation::ALL {
            for i in -40..=40 {
                let z = f64::from(i) * 0.2 + 0.05;
                let slope = |z: f64| activation.value_and_slope(z).1;
                let want = (slope(z + h) - slope(z - h)) / (2.0 * h);
                // As for the slopes; the fourth derivatives are below 4, and slopes near 1.
                let tolerance = h * h + 4.0 * f64::EPSILON * (1.0 + z.abs()) / h;
                let diff = (activation.slope_and_second(z).1 - want).abs();
                assert!(diff <= tolerance, "{activation:?} at {z}: off by {diff:e}");
                assert_eq!(activation.slope_and_second(z).0, slope(z));
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

    /// Those of `torch.nn.functional`, with their defaults, and of `torch.nn.init.calculate_gain`.
    #[test]
    fn values_and_gains_are_those_of_pytorch() {
        for (activation, z, value, slope, gain) in [
            (Activation::LeakyRelu, -2.0f64, -0.02, 0.01, 1.414_142_856_997_835_4),
            (Activation::LeakyRelu, 0.0, 0.0, 0.01, 1.414_142_856_997_835_4),
            (Activation::Elu, -1.0, -0.632_120_558_828_557_7, 0.367_879_441_171_442_3, 2f64.sqrt()),
            (Activation::Elu, -1e-9, -9.999_999_995e-10, 0.999_999_999, 2f64.sqrt()),
            (Activation::Elu, 0.0, 0.0, 1.0, 2f64.sqrt()),
            (Activation::Sigmoid, 0.0, 0.5, 0.25, 1.0),
            (Activation::Sigmoid, -1.0, 0.268_941_421_369_995_1, 0.196_611_933_241_481_85, 1.0),
        ] {
            let got = activation.value_and_slope(z);
            for (got, want) in [(got.0, value), (got.1, slope), (activation.gain(), gain)] {
                assert!(
                    (got - want).abs() <= 4.0 * f64::EPSILON * want.abs(),
                    "{activation:?}({z}): {got}, not {want}"
                );
            }
        }
        assert!(Activation::ALL.iter().all(|activation| activation.value_and_slope(f32::NAN).0.is_nan()));
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
