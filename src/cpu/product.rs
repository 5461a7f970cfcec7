//! Matrix products by the `gemm` crate, for the three twins whose plain loops are too slow to train with.

use gemm::{Parallelism, gemm};

use super::Real;

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a, T> {
    pub values: &'a [T],
    pub rows: usize,
    pub columns: usize,
    /// Distance of neighbours in a column and in a row.
    pub strides: [usize; 2],
}

impl<'a, T> Matrix<'a, T> {
    /// `(rows, columns)`, row-major.
    pub fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        Self { values, rows, columns, strides: [columns, 1] }
    }

    /// The transposed matrix over the same values.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, strides: [self.strides[1], self.strides[0]], ..self }
    }

    fn assert_inside(&self) {
        assert!(self.rows * self.columns <= self.values.len(), "a matrix lies inside its slice");
    }
}

/// `c = a · b`, or `c += a · b` if `accumulate`; `c` is row-major.
///
/// The result does not depend on `parallel`: `gemm` divides the rows and columns of `c` among them, never a sum.
pub(super) fn product<T: Real>(a: Matrix<T>, b: Matrix<T>, accumulate: bool, c: &mut [T], parallel: bool) {
    assert_eq!(a.columns, b.rows, "the inner dimensions agree");
    assert!(a.rows * b.columns <= c.len(), "the product fits its slice");
    a.assert_inside();
    b.assert_inside();
    let parallelism = if parallel { Parallelism::Rayon(0) } else { Parallelism::None };
    let [a_down, a_right] = a.strides.map(|stride| stride as isize);
    let [b_down, b_right] = b.strides.map(|stride| stride as isize);
    let one = T::of(1.0);
    // SAFETY: the three matrices lie inside their slices by the assertions above, `c` is borrowed exclusively, and
    // `gemm` serves the two types that are `Real`.
    unsafe {
        gemm(
            a.rows,
            b.columns,
            a.columns,
            c.as_mut_ptr(),
            1,
            b.columns as isize,
            accumulate,
            a.values.as_ptr(),
            a_right,
            a_down,
            b.values.as_ptr(),
            b_right,
            b_down,
            one,
            one,
            false,
            false,
            false,
            parallelism,
        );
    }
}
