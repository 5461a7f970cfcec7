//! The input gradient of few rows, by dot products: the weights are read as they lie, where [`tiles`](super::tiles) would need
//! them transposed first.

#![allow(clippy::needless_range_loop, reason = "iterators would keep vectors from their registers")]

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::Real;
use super::panels::panels;
use super::tiles::many_registers;

/// The number of rows up to which [`input_gradient`] is faster than tiles, for which the weights are transposed first.
pub(super) fn few_rows() -> usize {
    struct FewRows;
    impl WithSimd for FewRows {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            if many_registers::<S>() { 64 } else { 8 }
        }
    }
    Arch::new().dispatch(FewRows)
}

/// The input gradient `dx[s, i] = Σ_j dz[s, j] w[i, j]` for the inputs in `range`, every sum by itself; `dz` is
/// `(samples, outputs)`, `w` are the panels of `(inputs, outputs)`, `dx` is `(samples, range)`.
pub(super) fn input_gradient<T: Real>(
    dz: &[T],
    w: &[T],
    inputs: usize,
    outputs: usize,
    range: Range<usize>,
    dx: &mut [T],
) {
    Arch::new().dispatch(InputGradient { dz, w, inputs, outputs, range, dx });
}

struct InputGradient<'a, T> {
    dz: &'a [T],
    w: &'a [T],
    inputs: usize,
    outputs: usize,
    range: Range<usize>,
    dx: &'a mut [T],
}

/// The number of samples and of inputs of which all sums are in registers.
///
/// On a Zen 3, which has too few of them, two inputs at a time are no faster.
pub(super) const SIDE: usize = 4;

impl<T: Real> WithSimd for InputGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { dz, w, inputs, outputs, range, dx } = self;
        let count = range.len();
        for first in (0..count).step_by(NEAR) {
            let near = range.start + first..range.start + (first + NEAR).min(count);
            for (dz, dx) in dz.chunks(SIDE * outputs).zip(dx.chunks_mut(SIDE * count)) {
                if dz.len() == SIDE * outputs {
                    dots::<T, S, SIDE>(simd, dz, w, inputs, outputs, near.clone(), &mut dx[first..], count);
                    continue;
                }
                for (dz, dx) in dz.chunks_exact(outputs).zip(dx.chunks_exact_mut(count)) {
                    dots::<T, S, 1>(simd, dz, w, inputs, outputs, near.clone(), &mut dx[first..], count);
                }
            }
        }
    }
}

/// The number of inputs whose weights stay in the nearest cache while all samples pass by.
const NEAR: usize = 32;

/// All sums of `SAMPLES` samples and the inputs in `range`; rows of `dx` are `count` apart.
#[allow(clippy::too_many_arguments, reason = "those of `input_gradient`")]
#[inline(always)]
fn dots<T: Real, S: Simd, const SAMPLES: usize>(
    simd: S,
    dz: &[T],
    w: &[T],
    inputs: usize,
    outputs: usize,
    range: Range<usize>,
    dx: &mut [T],
    count: usize,
) {
    let lanes = T::lanes::<S>();
    for i in (0..range.len()).step_by(SIDE) {
        let mut sums = [[T::splat(simd, T::of(0.0)); SIDE]; SAMPLES];
        for panel in panels(outputs) {
            let width = panel.len();
            let w = &w[panel.start * inputs + (range.start + i) * width..][..SIDE * width];
            for first in (0..width).step_by(lanes) {
                let columns = lanes.min(width - first);
                // A whole vector needs no mask.
                let load = |from: &[T]| T::load(simd, if columns == lanes { &from[..lanes] } else { from });
                let mut x = [T::splat(simd, T::of(0.0)); SIDE];
                for r in 0..SIDE {
                    x[r] = load(&w[r * width + first..][..columns]);
                }
                for s in 0..SAMPLES {
                    let d = load(&dz[s * outputs + panel.start + first..][..columns]);
                    for r in 0..SIDE {
                        sums[s][r] = T::mul_add(simd, d, x[r], sums[s][r]);
                    }
                }
            }
        }
        for s in 0..SAMPLES {
            for r in 0..SIDE {
                dx[s * count + i + r] = T::sum(simd, sums[s][r]);
            }
        }
    }
}
