//! The three twins whose plain loops are too slow to train with, their matrix products by the `gemm` crate.
//!
//! Each has its twin's arguments and meaning; `parallel` spreads the product over all cores and changes no bit.

use gemm::{Parallelism, gemm};

use super::linear_dx::pass_on;
use super::{Finish, Real, activate};
use crate::model::{Layer, stride};

/// As [`linear`](super::linear()).
pub(super) fn linear<T: Real>(
    layer: &Layer,
    finish: &Finish,
    params: &[T],
    a: &[T],
    y: &mut [T],
    slope: &mut [T],
    parallel: bool,
) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let bias = &params[layer.bias..][..outputs];
    for y in y.chunks_exact_mut(outputs) {
        y.copy_from_slice(bias);
    }
    product(Matrix::new(a, a.len() / inputs, inputs), weight(layer, params), true, y, parallel);
    activate(finish, outputs, a, y, slope);
}

/// As [`linear_dx`](super::linear_dx()).
#[allow(clippy::too_many_arguments, reason = "each is one binding of the kernel")]
pub(super) fn linear_dx<T: Real>(
    layer: &Layer,
    params: &[T],
    dz: &[T],
    slope: &[T],
    above: Option<&[T]>,
    dx: &mut [T],
    da: Option<&mut [T]>,
    parallel: bool,
) {
    let outputs = stride(layer.outputs);
    let dz = Matrix::new(dz, dz.len() / outputs, outputs);
    product(dz, weight(layer, params).transposed(), false, dx, parallel);
    pass_on(slope, above, dx, da);
}

/// As [`linear_dw`](super::linear_dw()).
pub(super) fn linear_dw<T: Real>(layer: &Layer, accumulate: bool, a: &[T], dz: &[T], grads: &mut [T], parallel: bool) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let a = Matrix::new(a, a.len() / inputs, inputs).transposed();
    let dz = Matrix::new(dz, dz.len() / outputs, outputs);
    product(a, dz, accumulate, &mut grads[layer.weights()], parallel);
    let db = &mut grads[layer.bias..][..outputs];
    if !accumulate {
        db.fill(T::of(0.0));
    }
    for dz in dz.values.chunks_exact(outputs) {
        for (db, &dz) in db.iter_mut().zip(dz) {
            *db += dz;
        }
    }
}

fn weight<'a, T: Real>(layer: &Layer, params: &'a [T]) -> Matrix<'a, T> {
    Matrix::new(&params[layer.weights()], stride(layer.inputs), stride(layer.outputs))
}

/// A matrix inside a slice.
#[derive(Clone, Copy)]
struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    columns: usize,
    /// Distance of neighbours in a column and in a row.
    strides: [usize; 2],
}

impl<'a, T> Matrix<'a, T> {
    /// `(rows, columns)`, row-major.
    fn new(values: &'a [T], rows: usize, columns: usize) -> Self {
        Self { values, rows, columns, strides: [columns, 1] }
    }

    /// The transposed matrix over the same values.
    fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, strides: [self.strides[1], self.strides[0]], ..self }
    }

    fn assert_inside(&self) {
        assert!(self.rows * self.columns <= self.values.len(), "a matrix lies inside its slice");
    }
}

/// `c = a · b`, or `c += a · b` if `accumulate`; `c` is row-major.
///
/// The result does not depend on `parallel`: `gemm` divides the rows and columns of `c` among them, never a sum.
fn product<T: Real>(a: Matrix<T>, b: Matrix<T>, accumulate: bool, c: &mut [T], parallel: bool) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::rng::{Purpose, Stream};

    fn random<T: Real>(seed: u64, n: usize) -> Vec<T> {
        let mut stream = Stream::new(seed, Purpose::Verify, 0);
        (0..n).map(|_| T::of(2.0 * stream.uniform() - 1.0)).collect()
    }

    /// Both are sums of the same n products of size 1, in another order: 4 √n √n ε.
    fn close<T: Real>(name: &str, got: &[T], want: &[T], n: usize, eps: f64) {
        let worst = got.iter().zip(want).map(|(a, b)| (a.to_f64() - b.to_f64()).abs()).fold(0.0, f64::max);
        let tolerance = 4.0 * n as f64 * eps;
        assert!(got.len() == want.len() && worst <= tolerance, "{name}: off by {worst:e}, allowed {tolerance:e}");
    }

    fn library_and_twin_agree<T: Real>(eps: f64) {
        for (rows, inputs, outputs) in [(1, 1, 1), (1, 130, 9), (7, 33, 5), (32, 64, 64), (65, 17, 130)] {
            let (k, n) = (stride(inputs), stride(outputs));
            let layer = Layer { inputs, outputs, weight: 8, bias: 8 + k * n, ..Layer::default() };
            let params: Vec<T> = random(1, 8 + k * n + n);
            let (a, dz, slope): (Vec<T>, Vec<T>, Vec<T>) =
                (random(2, rows * k), random(3, rows * n), random(4, rows * k));
            for parallel in [false, true] {
                let mut y = [vec![T::of(9.0); rows * n], vec![T::of(8.0); rows * n]];
                let mut slopes = y.clone();
                let tanh = Finish { activation: Activation::Tanh, ..Finish::default() };
                linear(&layer, &tanh, &params, &a, &mut y[0], &mut slopes[0], parallel);
                super::super::linear(&layer, &tanh, &params, &a, &mut y[1], &mut slopes[1]);
                close("linear", &y[0], &y[1], k, eps);
                close("linear's slope", &slopes[0], &slopes[1], 2 * k, eps);

                let mut dx = [vec![T::of(9.0); rows * k], vec![T::of(8.0); rows * k]];
                let mut da = dx.clone();
                linear_dx(&layer, &params, &dz, &slope, Some(&a), &mut dx[0], Some(&mut da[0]), parallel);
                super::super::linear_dx(&layer, &params, &dz, &slope, Some(&a), &mut dx[1], Some(&mut da[1]));
                close("linear_dx's da", &da[0], &da[1], n, eps);
                close("linear_dx", &dx[0], &dx[1], n, eps);

                for accumulate in [false, true] {
                    let mut grads = [params.clone(), params.clone()];
                    linear_dw(&layer, accumulate, &a, &dz, &mut grads[0], parallel);
                    super::super::linear_dw(&layer, accumulate, &a, &dz, &mut grads[1]);
                    close("linear_dw", &grads[0], &grads[1], rows, eps);
                }
            }
        }
    }

    #[test]
    fn library_and_twin_agree_in_both_precisions() {
        library_and_twin_agree::<f64>(f64::EPSILON);
        library_and_twin_agree::<f32>(f64::from(f32::EPSILON));
    }

    /// What the replicas rest on: one that has all cores to itself computes what one among several does.
    #[test]
    fn threads_change_no_bit() {
        for (rows, inputs, outputs) in [(3, 40, 50), (128, 784, 256), (32, 3072, 512), (2048, 60, 300)] {
            let (a, b): (Vec<f32>, Vec<f32>) = (random(5, rows * inputs), random(6, inputs * outputs));
            let mut c = [vec![0.0; rows * outputs], vec![0.0; rows * outputs]];
            for (c, parallel) in c.iter_mut().zip([false, true]) {
                product(Matrix::new(&a, rows, inputs), Matrix::new(&b, inputs, outputs), false, c, parallel);
            }
            assert!(c[0] == c[1], "{rows}x{inputs}x{outputs}");
        }
    }
}
