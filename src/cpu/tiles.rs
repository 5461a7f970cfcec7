//! The weight gradient of any batch, which is used up tile by tile, and the input gradient of batches too small for a
//! library, which packs what is used but once or twice.

#![allow(clippy::needless_range_loop, reason = "iterators would keep vectors from their registers")]

use pulp::{Arch, Simd, WithSimd};

use super::{Real, wide};

/// Rows of the weight gradient that [`gradient_rows`] makes at a time.
///
/// On two cores of a Zen 4, 3072x512 with SGD at batch 32: 0.70 ms; with 4 rows 0.89, with 12 0.87, with 14 1.5.
pub(super) const ROWS: usize = 8;

/// Samples that a tile is summed up over before it is stored, so that their part of dz stays in the nearest caches.
///
/// On two cores of a Zen 4, a step of 784-256-128-10 at batch 2048: 12.0 ms, as with 256; 13.5 with weight gradients by the
/// library, which copies what it packs.
pub(super) const DEPTH: usize = 128;

/// Batches of fewer samples are summed up row by row, since a tile would hardly be filled before it is stored.
const FEW_TO_SUM: usize = 8;

/// `out[i, j] = Σ_s a[s, first + i] dz[s, j]`, added to what is there if `accumulate`: [`ROWS`] rows of a weight gradient, or
/// those that are left.
///
/// `a` is `(samples, inputs)`, `dz` is `(samples, outputs)`, `out` is `(rows, outputs)`; at most [`DEPTH`] samples.
pub(super) fn gradient_rows<T: Real>(
    a: &[T],
    inputs: usize,
    first: usize,
    dz: &[T],
    outputs: usize,
    accumulate: bool,
    out: &mut [T],
) {
    let samples = a.len() / inputs;
    if samples < FEW_TO_SUM || out.len() < ROWS * outputs {
        for (i, out) in out.chunks_exact_mut(outputs).enumerate() {
            for (s, dz) in dz.chunks_exact(outputs).enumerate() {
                add_multiple(a[s * inputs + first + i], dz, accumulate || s > 0, out);
            }
        }
        return;
    }
    let mut packed = [[T::default(); ROWS]; DEPTH];
    for (packed, a) in packed.iter_mut().zip(a.chunks_exact(inputs)) {
        if let Some(a) = a[first..].first_chunk() {
            *packed = *a;
        }
    }
    Arch::new().dispatch(GradientRows { a: &packed[..samples], dz, outputs, accumulate, out });
}

/// `out = x dz`, or `out += x dz`.
fn add_multiple<T: Real>(x: T, dz: &[T], accumulate: bool, out: &mut [T]) {
    wide(|| {
        if accumulate {
            for (out, &dz) in out.iter_mut().zip(dz) {
                *out += x * dz;
            }
        } else {
            for (out, &dz) in out.iter_mut().zip(dz) {
                *out = x * dz;
            }
        }
    });
}

struct GradientRows<'a, T> {
    a: &'a [[T; ROWS]],
    dz: &'a [T],
    outputs: usize,
    accumulate: bool,
    out: &'a mut [T],
}

impl<T: Real> WithSimd for GradientRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Two vectors to a row keep sixteen sums in registers.
        if S::REGISTER_COUNT >= 32 { self.run::<S, 2>(simd) } else { self.run::<S, 1>(simd) }
    }
}

impl<T: Real> GradientRows<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, simd: S) {
        let Self { a, dz, outputs, accumulate, out } = self;
        let lanes = T::lanes::<S>();
        for first in (0..outputs).step_by(VECTORS * lanes) {
            let width = (outputs - first).min(VECTORS * lanes);
            if width == VECTORS * lanes {
                tile::<T, S, VECTORS>(simd, a, dz, outputs, first, VECTORS * lanes, accumulate, out);
            } else {
                tile::<T, S, VECTORS>(simd, a, dz, outputs, first, width, accumulate, out);
            }
        }
    }
}

/// The sums of `width` columns from `first` on.
#[allow(clippy::too_many_arguments, reason = "those of `gradient_rows`")]
#[inline(always)]
fn tile<T: Real, S: Simd, const VECTORS: usize>(
    simd: S,
    a: &[[T; ROWS]],
    dz: &[T],
    outputs: usize,
    first: usize,
    width: usize,
    accumulate: bool,
    out: &mut [T],
) {
    let lanes = T::lanes::<S>();
    let mut sums = [[T::splat(simd, T::of(0.0)); VECTORS]; ROWS];
    if accumulate {
        for i in 0..ROWS {
            let out = &out[i * outputs + first..][..width];
            for v in 0..VECTORS {
                sums[i][v] = T::load(simd, &out[(v * lanes).min(width)..]);
            }
        }
    }
    // Loops by index, since closures and iterators would keep the vectors from their registers.
    for (s, a) in a.iter().enumerate() {
        let dz = &dz[s * outputs + first..][..width];
        let mut d = [T::splat(simd, T::of(0.0)); VECTORS];
        for v in 0..VECTORS {
            d[v] = T::load(simd, &dz[(v * lanes).min(width)..]);
        }
        for i in 0..ROWS {
            let a = T::splat(simd, a[i]);
            for v in 0..VECTORS {
                sums[i][v] = T::mul_add(simd, a, d[v], sums[i][v]);
            }
        }
    }
    for i in 0..ROWS {
        let out = &mut out[i * outputs + first..][..width];
        for v in 0..VECTORS {
            T::store(simd, &mut out[(v * lanes).min(width)..], sums[i][v]);
        }
    }
}

/// Samples up to which [`input_gradient`] is faster than the library, which packs the transposed weights.
///
/// On two cores of a Zen 4, 512x256: 30 µs instead of 162 at batch 8, 88 instead of 199 at batch 32.
pub(super) const FEW_SAMPLES: usize = 64;

/// `dx[s, i] = Σ_j dz[s, j] w[i, j]`, every sum by itself; `dz` is `(samples, outputs)`, `w` is `(inputs, outputs)`.
pub(super) fn input_gradient<T: Real>(dz: &[T], w: &[T], outputs: usize, dx: &mut [T]) {
    Arch::new().dispatch(InputGradient { dz, w, outputs, dx });
}

struct InputGradient<'a, T> {
    dz: &'a [T],
    w: &'a [T],
    outputs: usize,
    dx: &'a mut [T],
}

/// Samples and inputs of which all sums are in registers.
const SIDE: usize = 4;

impl<T: Real> WithSimd for InputGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { dz, w, outputs, dx } = self;
        let inputs = w.len() / outputs;
        for (dz, dx) in dz.chunks(SIDE * outputs).zip(dx.chunks_mut(SIDE * inputs)) {
            if dz.len() == SIDE * outputs {
                dots::<T, S, SIDE>(simd, dz, w, outputs, dx);
            } else {
                let samples = dz.chunks_exact(outputs).zip(dx.chunks_exact_mut(inputs));
                samples.for_each(|(dz, dx)| dots::<T, S, 1>(simd, dz, w, outputs, dx));
            }
        }
    }
}

/// All sums of `SAMPLES` samples.
#[inline(always)]
fn dots<T: Real, S: Simd, const SAMPLES: usize>(simd: S, dz: &[T], w: &[T], outputs: usize, dx: &mut [T]) {
    let lanes = T::lanes::<S>();
    let inputs = w.len() / outputs;
    for i in (0..inputs).step_by(SIDE) {
        let w = &w[i * outputs..][..SIDE * outputs];
        let mut sums = [[T::splat(simd, T::of(0.0)); SIDE]; SAMPLES];
        for first in (0..outputs).step_by(lanes) {
            let width = lanes.min(outputs - first);
            let mut x = [T::splat(simd, T::of(0.0)); SIDE];
            for r in 0..SIDE {
                x[r] = T::load(simd, &w[r * outputs + first..][..width]);
            }
            for s in 0..SAMPLES {
                let d = T::load(simd, &dz[s * outputs + first..][..width]);
                for r in 0..SIDE {
                    sums[s][r] = T::mul_add(simd, d, x[r], sums[s][r]);
                }
            }
        }
        for s in 0..SAMPLES {
            for r in 0..SIDE {
                dx[s * inputs + i + r] = T::sum(simd, sums[s][r]);
            }
        }
    }
}
