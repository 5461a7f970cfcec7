//! The two precisions of the CPU engine.

use std::fmt::{Debug, Display};
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

/// `f32` or `f64`.
pub trait Real:
    Copy
    + Debug
    + Display
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
    + 'static
{
    /// `f32` or `f64`.
    const NAME: &'static str;
    /// The largest finite value.
    const LARGEST: f64;
    /// The value `x`, exactly; faster than over `f64`.
    fn of_u8(x: u8) -> Self;
    /// The nearest value to `x`.
    fn of(x: f64) -> Self;
    /// The value, exactly.
    fn to_f64(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Exponential function.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Error function.
    fn erf(self) -> Self;
    /// The larger of two; the other one if one is NaN.
    fn max(self, other: Self) -> Self;
}

macro_rules! real {
    ($t:ident, $erf:path) => {
        impl Real for $t {
            const NAME: &'static str = stringify!($t);
            const LARGEST: f64 = $t::MAX as f64;
            #[inline(always)]
            fn of_u8(x: u8) -> Self {
                $t::from(x)
            }
            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $t::exp(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $t::ln(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $t::tanh(self)
            }
            #[inline(always)]
            fn erf(self) -> Self {
                $erf(self)
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                $t::max(self, other)
            }
        }
    };
}

/// Runs `work` with the widest vectors that this processor has; what it computes stays the same, since nothing is
/// reordered or fused.
#[inline(always)]
pub(super) fn wide<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

real!(f32, libm::erff);
real!(f64, libm::erf);
