//! The two precisions of the CPU engine.

use std::fmt::{Debug, Display};
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use pulp::Simd;

/// A precision of the CPU engine: `f32` or `f64`.
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
    + bytemuck::Pod
{
    /// The name of the type: `f32` or `f64`.
    const NAME: &'static str;
    /// The largest finite value.
    const LARGEST: f64;
    /// The value `x`, exactly; faster than over `f64`.
    fn of_u8(x: u8) -> Self;
    /// The value nearest to `x`.
    fn of(x: f64) -> Self;
    /// The same value in double precision, exactly.
    fn to_f64(self) -> f64;
    /// The square root of the value.
    fn sqrt(self) -> Self;
    /// The exponential function of the value.
    fn exp(self) -> Self;
    /// The exponential of the value less 1, exact near 0.
    fn exp_m1(self) -> Self;
    /// The natural logarithm of the value.
    fn ln(self) -> Self;
    /// The hyperbolic tangent of the value.
    fn tanh(self) -> Self;
    /// The error function of the value.
    fn erf(self) -> Self;
    /// The larger of two values; the other one if one is NaN.
    fn max(self, other: Self) -> Self;
    /// The value `self · b + c`, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;

    /// A vector of as many values as a register holds.
    type Vector<S: Simd>: Copy;
    /// The number of values of a vector.
    fn lanes<S: Simd>() -> usize;
    /// A vector with the same value in all lanes.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    /// A vector of the first values of `from`, 0 where there are no more.
    fn load<S: Simd>(simd: S, from: &[Self]) -> Self::Vector<S>;
    /// Stores the first lanes of `x`, as many as `to` takes.
    fn store<S: Simd>(simd: S, to: &mut [Self], x: Self::Vector<S>);
    /// The vector `a b + c`, each lane rounded once.
    fn mul_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// The sum of the lanes.
    fn sum<S: Simd>(simd: S, x: Self::Vector<S>) -> Self;
}

macro_rules! real {
    ($t:ident, $erf:path, $vector:ident, $lanes:ident, $splat:ident, $as_simd:ident, $as_mut_simd:ident,
        $partial_load:ident, $partial_store:ident, $mul_add:ident, $sum:ident) => {
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
            fn exp_m1(self) -> Self {
                $t::exp_m1(self)
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
            #[inline(always)]
            fn fma(self, b: Self, c: Self) -> Self {
                $t::mul_add(self, b, c)
            }

            type Vector<S: Simd> = S::$vector;
            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$vector {
                simd.$splat(x)
            }
            #[inline(always)]
            fn load<S: Simd>(simd: S, from: &[Self]) -> S::$vector {
                match S::$as_simd(from).0 {
                    [first, ..] => *first,
                    [] => simd.$partial_load(from),
                }
            }
            #[inline(always)]
            fn store<S: Simd>(simd: S, to: &mut [Self], x: S::$vector) {
                if to.len() < S::$lanes {
                    return simd.$partial_store(to, x);
                }
                if let [first, ..] = S::$as_mut_simd(to).0 {
                    *first = x;
                }
            }
            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }
            #[inline(always)]
            fn sum<S: Simd>(simd: S, x: S::$vector) -> Self {
                simd.$sum(x)
            }
        }
    };
}

/// Runs `work` with the widest vectors that this processor has; what it computes stays the same, since nothing is
/// reordered or fused.
#[inline(always)]
pub(crate) fn wide<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

real!(
    f32,
    libm::erff,
    f32s,
    F32_LANES,
    splat_f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    partial_load_f32s,
    partial_store_f32s,
    mul_add_f32s,
    reduce_sum_f32s
);
real!(
    f64,
    libm::erf,
    f64s,
    F64_LANES,
    splat_f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    partial_load_f64s,
    partial_store_f64s,
    mul_add_f64s,
    reduce_sum_f64s
);
