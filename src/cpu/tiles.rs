//! What every matrix product of the CPU engine is made of: tiles, some rows of one factor times some vectors of the other, with
//! all sums in registers.

#![allow(clippy::needless_range_loop, reason = "iterators would keep vectors from their registers")]

use pulp::{Arch, Simd, WithSimd};

use super::Real;
use super::parts::Parts;

/// The factor of which each value meets whole vectors of the other: `(rows, depth)`.
pub(super) trait Left<T>: Copy {
    /// The number of rows.
    fn rows(self) -> usize;
    /// The length of a row, which is that of the sums.
    fn depth(self) -> usize;
    /// The values of `ROWS` rows from `top` on, by row and place in the row.
    fn group<const ROWS: usize>(self, top: usize) -> impl Fn(usize, usize) -> T;
}

/// A factor whose rows are `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub values: &'a [T],
    pub rows: usize,
    pub depth: usize,
    pub stride: usize,
}

impl<T: Real> Left<T> for Rows<'_, T> {
    fn rows(self) -> usize {
        self.rows
    }

    fn depth(self) -> usize {
        self.depth
    }

    #[inline(always)]
    fn group<const ROWS: usize>(self, top: usize) -> impl Fn(usize, usize) -> T {
        let mut rows: [&[T]; ROWS] = [&[]; ROWS];
        for i in 0..ROWS {
            rows[i] = &self.values[(top + i) * self.stride..][..self.depth];
        }
        move |i, k| rows[i][k]
    }
}

/// A factor whose columns lie side by side, a transposed matrix of at most [`PACKED`] rows.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a, T> {
    pub values: &'a [[T; PACKED]],
    pub rows: usize,
}

/// The number of single-precision values that a line of the cache holds.
pub(super) const PACKED: usize = 16;

impl<T: Real> Left<T> for Columns<'_, T> {
    fn rows(self) -> usize {
        self.rows
    }

    fn depth(self) -> usize {
        self.values.len()
    }

    #[inline(always)]
    fn group<const ROWS: usize>(self, top: usize) -> impl Fn(usize, usize) -> T {
        assert!(top <= PACKED - ROWS, "the group lies inside");
        move |i, k| self.values[k][top + i]
    }
}

/// The factor that is read by vectors: `(depth, columns)`, rows `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Right<'a, T> {
    pub values: &'a [T],
    pub columns: usize,
    pub stride: usize,
}

/// The place where the product goes: from `at` on, rows `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Out<'a, T> {
    pub parts: &'a Parts<'a, T>,
    pub at: usize,
    pub stride: usize,
}

/// Makes the product `out = a · b`, added to what is there if `accumulate`. Each sum is made in the order of the depth,
/// whatever is computed beside it.
///
/// # Safety
/// Nobody else has any of the product's part of `out`.
pub(super) unsafe fn product<T: Real>(a: impl Left<T>, b: Right<T>, accumulate: bool, out: Out<T>) {
    Arch::new().dispatch(Product { a, b, accumulate, out });
}

struct Product<'a, T, L> {
    a: L,
    b: Right<'a, T>,
    accumulate: bool,
    out: Out<'a, T>,
}

impl<T: Real, L: Left<T>> WithSimd for Product<'_, T, L> {
    type Output = ();

    /// Makes as many sums at once as registers hold beside what is multiplied: of few rows, those of more columns, so
    /// that the other factor is read in the order of its bytes, and no sum waits for the one before.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match (self.a.rows(), many_registers::<S>()) {
            (..=6, true) => self.run::<S, 6, 4>(simd),
            (_, true) => self.run::<S, 8, 2>(simd),
            (1, false) => self.run::<S, 1, 8>(simd),
            (2, false) => self.run::<S, 2, 4>(simd),
            (_, false) => self.run::<S, 6, 2>(simd),
        }
    }
}

impl<T: Real, L: Left<T>> Product<'_, T, L> {
    /// Makes the product in groups of at most `MOST` rows, all of nearly the same height.
    #[inline(always)]
    fn run<S: Simd, const MOST: usize, const VECTORS: usize>(&self, simd: S) {
        let (rows, columns, lanes) = (self.a.rows(), self.b.columns, T::lanes::<S>());
        let groups = rows.div_ceil(MOST);
        let (height, higher) = (rows / groups.max(1), rows % groups.max(1));
        let mut first = 0;
        while first < columns {
            let is_whole = columns - first >= VECTORS * lanes;
            let mut top = 0;
            for group in 0..groups {
                let height = height + usize::from(group < higher);
                if is_whole {
                    self.group::<S, MOST, VECTORS, true>(simd, top, height, first);
                } else {
                    self.group::<S, MOST, 1, false>(simd, top, height, first);
                }
                top += height;
            }
            first += if is_whole { VECTORS * lanes } else { lanes };
        }
    }

    #[inline(always)]
    fn group<S: Simd, const MOST: usize, const VECTORS: usize, const WHOLE: bool>(
        &self,
        simd: S,
        top: usize,
        rows: usize,
        first: usize,
    ) {
        match rows {
            1 => self.tile::<S, 1, VECTORS, WHOLE>(simd, top, first),
            2 if MOST >= 2 => self.tile::<S, 2, VECTORS, WHOLE>(simd, top, first),
            3 if MOST >= 3 => self.tile::<S, 3, VECTORS, WHOLE>(simd, top, first),
            4 if MOST >= 4 => self.tile::<S, 4, VECTORS, WHOLE>(simd, top, first),
            5 if MOST >= 5 => self.tile::<S, 5, VECTORS, WHOLE>(simd, top, first),
            6 if MOST >= 6 => self.tile::<S, 6, VECTORS, WHOLE>(simd, top, first),
            7 if MOST >= 7 => self.tile::<S, 7, VECTORS, WHOLE>(simd, top, first),
            8 if MOST >= 8 => self.tile::<S, 8, VECTORS, WHOLE>(simd, top, first),
            _ => unreachable!("a group of {rows} rows"),
        }
    }

    /// Makes the sums of `ROWS` rows from `top` on and of `VECTORS` vectors from column `first` on, of which the last
    /// has all its columns only if it is `WHOLE`.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const VECTORS: usize, const WHOLE: bool>(
        &self,
        simd: S,
        top: usize,
        first: usize,
    ) {
        let Self { a, b, accumulate, out } = *self;
        let lanes = T::lanes::<S>();
        let columns = if WHOLE { VECTORS * lanes } else { (b.columns - first).min(VECTORS * lanes) };
        // Without a minimum where all is there, so that the compiler knows whole vectors as such.
        let start = |v: usize| if WHOLE { v * lanes } else { (v * lanes).min(columns) };
        let vector = |v: usize| start(v)..start(v + 1);
        // SAFETY: by `product`'s promise.
        let out = unsafe { out.parts.rows::<ROWS>(out.at + top * out.stride + first, out.stride, columns) };
        let mut sums = [[T::splat(simd, T::of(0.0)); VECTORS]; ROWS];
        if accumulate {
            for i in 0..ROWS {
                for v in 0..VECTORS {
                    sums[i][v] = T::load(simd, &out[i][vector(v)]);
                }
            }
        }
        let at = a.group::<ROWS>(top);
        let right = &b.values[first..];
        for k in 0..a.depth() {
            let b = &right[k * b.stride..][..columns];
            let mut x = [T::splat(simd, T::of(0.0)); VECTORS];
            for v in 0..VECTORS {
                x[v] = T::load(simd, &b[vector(v)]);
            }
            for i in 0..ROWS {
                let a = T::splat(simd, at(i, k));
                for v in 0..VECTORS {
                    sums[i][v] = T::mul_add(simd, a, x[v], sums[i][v]);
                }
            }
        }
        for i in 0..ROWS {
            for v in 0..VECTORS {
                T::store(simd, &mut out[i][vector(v)], sums[i][v]);
            }
        }
    }
}

/// Whether there are as many registers as AVX-512 and ARM have; AVX2 has half of them.
pub(super) fn many_registers<S: Simd>() -> bool {
    S::REGISTER_COUNT >= 32
}
