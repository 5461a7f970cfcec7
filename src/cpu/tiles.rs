//! Products with weights in panels: the weight gradient of any batch, which is used up tile by tile, and the outputs and the
//! input gradient of batches too small for a library, which packs what is used but once or twice.

#![allow(clippy::needless_range_loop, reason = "iterators would keep vectors from their registers")]

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::Real;
use super::panels::panels;

/// Samples that a tile is summed up over before it is stored, so that their part of dz stays in the nearest caches.
///
/// On two cores of a Zen 4, a step of 784-256-128-10 at batch 2048: 12.0 ms, as with 256; 13.5 with weight gradients by the
/// library, which copies what it packs.
pub(super) const DEPTH: usize = 128;

/// Inputs that are packed at once: those of a line of the cache, in single precision.
pub(super) const PACKED: usize = 16;

/// Some inputs of some samples.
pub(super) type Packed<T> = [[T; PACKED]; DEPTH];

/// Packs `count` inputs from `first` on of at most [`DEPTH`] samples; `a` is `(samples, inputs)`.
pub(super) fn pack<T: Real>(a: &[T], inputs: usize, first: usize, count: usize, packed: &mut Packed<T>) {
    for (packed, a) in packed.iter_mut().zip(a.chunks_exact(inputs)) {
        match a[first..].first_chunk::<PACKED>() {
            Some(a) => *packed = *a,
            None => packed[..count].copy_from_slice(&a[first..][..count]),
        }
    }
}

/// `out[i, j] = Σ_s a[s][i] dz[s, j]`, added to what is there if `accumulate`: at most [`PACKED`] rows of a panel of the
/// weight gradient, a multiple of 4.
///
/// `dz` starts at the panel's first column of rows that are `stride` apart, `out` is `(rows, width)`.
pub(super) fn gradient_rows<T: Real>(
    a: &[[T; PACKED]],
    dz: &[T],
    stride: usize,
    width: usize,
    accumulate: bool,
    out: &mut [T],
) {
    Arch::new().dispatch(GradientRows { a, dz, stride, width, accumulate, out });
}

struct GradientRows<'a, T> {
    a: &'a [[T; PACKED]],
    dz: &'a [T],
    stride: usize,
    width: usize,
    accumulate: bool,
    out: &'a mut [T],
}

impl<T: Real> WithSimd for GradientRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many sums as registers hold beside what is multiplied.
        //
        // 3072x512 with SGD at batch 32 on two cores of a Zen 4: 0.70 ms with 8 rows; 0.89 with 4, 0.87 with 12. On two of a
        // Zen 3, which has half the registers, 4 rows are 5 % slower than 6, and 8 of one vector 10 %.
        if many_registers::<S>() { self.run::<S, 8, 2>(simd) } else { self.run::<S, 6, 2>(simd) }
    }
}

/// Rows of the smallest tile: the rows of a weight gradient are a multiple of it, as is what higher tiles leave of
/// [`PACKED`].
const LEAST_ROWS: usize = 4;

impl<T: Real> GradientRows<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(mut self, simd: S) {
        let (rows, columns) = (self.out.len() / self.width, VECTORS * T::lanes::<S>());
        for first in (0..self.width).step_by(columns) {
            let mut top = 0;
            while top < rows {
                let is_high = rows == PACKED && rows - top >= ROWS;
                match (is_high, self.width - first >= columns) {
                    (true, true) => self.tile::<S, ROWS, VECTORS, true>(simd, top, first),
                    (true, false) => self.tile::<S, ROWS, VECTORS, false>(simd, top, first),
                    (false, true) => self.tile::<S, LEAST_ROWS, VECTORS, true>(simd, top, first),
                    (false, false) => self.tile::<S, LEAST_ROWS, VECTORS, false>(simd, top, first),
                }
                top += if is_high { ROWS } else { LEAST_ROWS };
            }
        }
    }

    /// The sums of `ROWS` rows from `top` on and of `VECTORS` from column `first` on, or of those that are left.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const VECTORS: usize, const FULL: bool>(
        &mut self,
        simd: S,
        top: usize,
        first: usize,
    ) {
        let Self { a, dz, stride, width, accumulate, ref mut out } = *self;
        let (dz, out) = (&dz[first..], &mut out[top * width + first..]);
        let lanes = T::lanes::<S>();
        let columns = if FULL { VECTORS * lanes } else { (width - first).min(VECTORS * lanes) };
        // Without a minimum where all is there, so that the compiler knows whole vectors as such.
        let start = |v: usize| if FULL { v * lanes } else { (v * lanes).min(columns) };
        let vector = |v: usize| start(v)..start(v + 1);
        let mut sums = [[T::splat(simd, T::of(0.0)); VECTORS]; ROWS];
        if accumulate {
            for i in 0..ROWS {
                let out = &out[i * width..][..columns];
                for v in 0..VECTORS {
                    sums[i][v] = T::load(simd, &out[vector(v)]);
                }
            }
        }
        // Loops by index, since closures and iterators would keep the vectors from their registers.
        for (s, a) in a.iter().enumerate() {
            let dz = &dz[s * stride..][..columns];
            let a = &a[top..][..ROWS];
            let mut d = [T::splat(simd, T::of(0.0)); VECTORS];
            for v in 0..VECTORS {
                d[v] = T::load(simd, &dz[vector(v)]);
            }
            for i in 0..ROWS {
                let a = T::splat(simd, a[i]);
                for v in 0..VECTORS {
                    sums[i][v] = T::mul_add(simd, a, d[v], sums[i][v]);
                }
            }
        }
        for i in 0..ROWS {
            let out = &mut out[i * width..][..columns];
            for v in 0..VECTORS {
                T::store(simd, &mut out[vector(v)], sums[i][v]);
            }
        }
    }
}

/// The most samples that [`outputs`] takes: as many as keep all sums in registers. Of more samples the library is faster.
pub(super) const SAMPLES: usize = 6;

/// `out[s, j] = Σ_i a[s, i] w[i, j]` for at most [`SAMPLES`] samples and one panel.
///
/// `a` is `(samples, inputs)`, `w` is `(inputs, width)`, `out` is `(samples, width)`.
pub(super) fn outputs<T: Real>(a: &[T], inputs: usize, w: &[T], out: &mut [T]) {
    Arch::new().dispatch(Outputs { a, inputs, w, out });
}

struct Outputs<'a, T> {
    a: &'a [T],
    inputs: usize,
    w: &'a [T],
    out: &'a mut [T],
}

impl<T: Real> WithSimd for Outputs<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // A whole row of the panel where registers hold its sums, so that weights come in the order of their bytes, and
        // enough sums that none waits for the one before.
        match (self.a.len() / self.inputs, many_registers::<S>()) {
            (1, true) => self.of_samples::<S, 4, 1>(simd),
            (2, _) => self.of_samples::<S, 4, 2>(simd),
            (3, true) => self.of_samples::<S, 4, 3>(simd),
            (4, true) => self.of_samples::<S, 4, 4>(simd),
            (5, true) => self.of_samples::<S, 4, 5>(simd),
            (_, true) => self.of_samples::<S, 4, SAMPLES>(simd),
            (1, false) => self.of_samples::<S, 8, 1>(simd),
            (3, false) => self.of_samples::<S, 2, 3>(simd),
            (4, false) => self.of_samples::<S, 2, 4>(simd),
            (5, false) => self.of_samples::<S, 2, 5>(simd),
            (_, false) => self.of_samples::<S, 2, SAMPLES>(simd),
        }
    }
}

impl<T: Real> Outputs<'_, T> {
    #[inline(always)]
    fn of_samples<S: Simd, const VECTORS: usize, const COUNT: usize>(self, simd: S) {
        let Self { a, inputs, w, out } = self;
        let (width, lanes) = (w.len() / inputs, T::lanes::<S>());
        let mut rows: [&[T]; COUNT] = [&[]; COUNT];
        for s in 0..COUNT {
            rows[s] = &a[s * inputs..][..inputs];
        }
        for first in (0..width).step_by(VECTORS * lanes) {
            let columns = (width - first).min(VECTORS * lanes);
            let mut sums = [[T::splat(simd, T::of(0.0)); VECTORS]; COUNT];
            for i in 0..inputs {
                let w = &w[i * width + first..][..columns];
                let mut x = [T::splat(simd, T::of(0.0)); VECTORS];
                for v in 0..VECTORS {
                    x[v] = T::load(simd, &w[(v * lanes).min(columns)..]);
                }
                for s in 0..COUNT {
                    let a = T::splat(simd, rows[s][i]);
                    for v in 0..VECTORS {
                        sums[s][v] = T::mul_add(simd, a, x[v], sums[s][v]);
                    }
                }
            }
            for s in 0..COUNT {
                let out = &mut out[s * width + first..][..columns];
                for v in 0..VECTORS {
                    T::store(simd, &mut out[(v * lanes).min(columns)..], sums[s][v]);
                }
            }
        }
    }
}

/// Whether there are as many registers as AVX-512 and ARM have; AVX2 has half of them.
fn many_registers<S: Simd>() -> bool {
    S::REGISTER_COUNT >= 32
}

/// Rows up to which [`input_gradient`] is faster than the library, which packs the transposed weights.
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

/// `dx[s, i] = Σ_j dz[s, j] w[i, j]` for the inputs in `range`, every sum by itself; `dz` is `(samples, outputs)`, `w` are the
/// panels of `(inputs, outputs)`, `dx` is `(samples, range)`.
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

/// Samples and inputs of which all sums are in registers.
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

/// Inputs whose weights stay in the nearest cache while all samples pass by.
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
