//! The three twins whose plain loops are too slow to train with, their matrix products by the `gemm` crate.
//!
//! Each has its twin's arguments and meaning; `parallel` spreads the product over all cores and changes no bit.

use std::ops::Range;

use gemm::{Parallelism, gemm};
use rayon::prelude::*;

use super::linear_dx::pass_on;
use super::{Dropout, Finish, Real, activate, tiles, wide};
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
    let rows = a.len() / inputs;
    let bias = &params[layer.bias..][..outputs];
    product(Matrix::new(a, rows, inputs), weight(layer, params), false, y, parallel);
    let finish = |part: usize, y: &mut [T], slope: &mut [T]| {
        let row = part * ROWS_AT_ONCE;
        let dropout = finish.dropout.map(|dropout| Dropout { first: dropout.first + row as u32, ..dropout });
        for y in y.chunks_exact_mut(outputs) {
            wide(|| y.iter_mut().zip(bias).for_each(|(y, &bias)| *y += bias));
        }
        activate(&Finish { dropout, ..*finish }, outputs, &a[row * inputs..], y, slope);
    };
    let part = ROWS_AT_ONCE * outputs;
    if parallel && y.len() > HALVED {
        let parts = y.par_chunks_mut(part).zip(slope.par_chunks_mut(part)).enumerate();
        parts.for_each(|(part, (y, slope))| finish(part, y, slope));
    } else {
        let parts = y.chunks_mut(part).zip(slope.chunks_mut(part)).enumerate();
        parts.for_each(|(part, (y, slope))| finish(part, y, slope));
    }
}

/// Rows that get their bias and go through the activation while they are in the nearest cache.
const ROWS_AT_ONCE: usize = 32;
/// Values of a layer above which threads share what follows the product.
const HALVED: usize = 1 << 15;

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
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let rows = dz.len() / outputs;
    if rows <= tiles::FEW_SAMPLES {
        let w = &params[layer.weights()];
        // Every sum is by itself: halves change no bit.
        if parallel && rows > 1 && worth_a_thread(rows * w.len()) {
            let half = rows / 2;
            let ((dz0, dz1), (dx0, dx1)) = (dz.split_at(half * outputs), dx.split_at_mut(half * inputs));
            rayon::join(|| tiles::input_gradient(dz0, w, outputs, dx0), || tiles::input_gradient(dz1, w, outputs, dx1));
        } else {
            tiles::input_gradient(dz, w, outputs, dx);
        }
    } else {
        product(Matrix::new(dz, rows, outputs), weight(layer, params).transposed(), false, dx, parallel);
    }
    if parallel && above.is_none() && da.is_none() && dx.len() > HALVED {
        let half = dx.len() / 2;
        let ((dx0, dx1), (slope0, slope1)) = (dx.split_at_mut(half), slope.split_at(half));
        rayon::join(|| pass_on(slope0, None, dx0, None), || pass_on(slope1, None, dx1, None));
    } else {
        pass_on(slope, above, dx, da);
    }
}

/// As [`linear_dw`](super::linear_dw()).
pub(super) fn linear_dw<T: Real>(layer: &Layer, accumulate: bool, a: &[T], dz: &[T], grads: &mut [T], parallel: bool) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let a = Matrix::new(a, a.len() / inputs, inputs).transposed();
    let rows = Matrix::new(dz, dz.len() / outputs, outputs);
    product(a, rows, accumulate, &mut grads[layer.weights()], parallel);
    linear_db(layer, accumulate, dz, grads);
}

/// The bias's part of `linear_dw`.
pub(super) fn linear_db<T: Real>(layer: &Layer, accumulate: bool, dz: &[T], grads: &mut [T]) {
    let outputs = stride(layer.outputs);
    let db = &mut grads[layer.bias..][..outputs];
    if !accumulate {
        db.fill(T::of(0.0));
    }
    for dz in dz.chunks_exact(outputs) {
        for (db, &dz) in db.iter_mut().zip(dz) {
            *db += dz;
        }
    }
}

/// Elements of the weight gradient that a core makes before it updates them, where it goes through the samples in several
/// parts: few enough to stay in its cache.
const BLOCK: usize = 1 << 16;

/// Multiply-adds that take the time of one weight's update, which waits for memory.
const UPDATE_COST: usize = 8;

/// Whether so many multiply-adds are worth another thread, which must be woken and then finds nothing in its cache.
///
/// On two cores of a Zen 4, a step of 784-256-128-10 at batch 1 takes 0.07 ms with 2²², 0.11 with 2²⁰; at batch 32, 0.36 with
/// 2²² and 0.54 with 2²³.
fn worth_a_thread(multiply_adds: usize) -> bool {
    multiply_adds > 1 << 22
}

/// State vectors of an optimizer, and the weights.
const MOST_VECTORS: usize = 4;

/// The weight's part of `linear_dw`, of which nothing is left: each block of the gradient goes to `update`, with the same
/// block of the weights and of the state vectors. `vectors` are the layer's weights and its state; `scratch` is as long.
pub(super) fn linear_dw_update<T: Real>(
    layer: &Layer,
    a: &[T],
    dz: &[T],
    scratch: &mut [T],
    vectors: &mut [&mut [T]],
    update: &(impl Fn(&[T], &mut [&mut [T]]) + Sync),
    parallel: bool,
) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let samples = a.len() / inputs;
    let threads = if parallel && worth_a_thread(inputs * outputs * (samples + UPDATE_COST)) {
        rayon::current_num_threads()
    } else {
        1
    };
    // All samples at once leave nothing to come back for.
    let tiles = if samples <= tiles::DEPTH { 1 } else { (BLOCK / outputs / tiles::ROWS).max(1) };
    let blocks = Blocks { a, dz, inputs, outputs, rows: tiles * tiles::ROWS, update };
    blocks.run(0..inputs, scratch, vectors, threads);
}

/// How a weight gradient is cut into blocks of rows.
struct Blocks<'a, T, F> {
    a: &'a [T],
    dz: &'a [T],
    inputs: usize,
    outputs: usize,
    /// Rows of a block.
    rows: usize,
    update: &'a F,
}

impl<T: Real, F: Fn(&[T], &mut [&mut [T]]) + Sync> Blocks<'_, T, F> {
    /// Shares the rows in `range` among `threads`, and goes through them block by block: the same tiles for any number.
    /// `scratch` and `vectors` are those of the range.
    fn run(&self, range: Range<usize>, scratch: &mut [T], vectors: &mut [&mut [T]], threads: usize) {
        let half = (range.len() / 2).next_multiple_of(tiles::ROWS);
        if threads > 1 && half < range.len() {
            let (middle, at) = (range.start + half, half * self.outputs);
            let (scratch0, scratch1) = scratch.split_at_mut(at);
            let count = vectors.len();
            let (mut v0, mut v1) = <([&mut [T]; MOST_VECTORS], [&mut [T]; MOST_VECTORS])>::default();
            for ((v, v0), v1) in vectors.iter_mut().zip(&mut v0).zip(&mut v1) {
                (*v0, *v1) = v.split_at_mut(at);
            }
            rayon::join(
                || self.run(range.start..middle, scratch0, &mut v0[..count], threads / 2),
                || self.run(middle..range.end, scratch1, &mut v1[..count], threads - threads / 2),
            );
            return;
        }
        for first in range.clone().step_by(self.rows) {
            let count = self.rows.min(range.end - first);
            let g = self.gradient(first, count, scratch);
            let at = (first - range.start) * self.outputs;
            let used = vectors.len();
            let mut parts = <[&mut [T]; MOST_VECTORS]>::default();
            for (v, part) in vectors.iter_mut().zip(&mut parts) {
                *part = &mut v[at..at + count * self.outputs];
            }
            (self.update)(g, &mut parts[..used]);
        }
    }

    /// Rows `first..first + count` of the gradient.
    fn gradient<'s>(&self, first: usize, count: usize, scratch: &'s mut [T]) -> &'s [T] {
        let Self { a, dz, inputs, outputs, .. } = *self;
        let g = &mut scratch[..count * outputs];
        let parts = a.chunks(tiles::DEPTH * inputs).zip(dz.chunks(tiles::DEPTH * outputs));
        for (part, (a, dz)) in parts.enumerate() {
            for (i, g) in g.chunks_mut(tiles::ROWS * outputs).enumerate() {
                tiles::gradient_rows(a, inputs, first + i * tiles::ROWS, dz, outputs, part > 0, g);
            }
        }
        g
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
        let last = |n: usize, stride: usize| n.saturating_sub(1) * stride;
        let end = last(self.rows, self.strides[0]) + last(self.columns, self.strides[1]);
        assert!(self.rows * self.columns == 0 || end < self.values.len(), "a matrix lies inside its slice");
    }
}

/// Products of 2 to so many rows the library does not share among threads, so their columns are halved here: at batch 8
/// 3072x512 takes 0.26 ms with one of its threads as with two. Of one row, halves were slower than the whole.
const FEW_ROWS: usize = 16;
/// Products of up to so many rows and multiply-adds are halved here likewise, which costs less than the library's sharing: a
/// step of 784-256-128-10 at batch 32 takes 0.355 ms instead of 0.38; at batch 128, and with 3072x512 at batch 32, it would
/// take longer.
const SMALL_ROWS: usize = 64;
const SMALL: usize = 1 << 24;
/// Multiply-adds above which the library shares a product: a step of 784-256-128-10 at batch 32 takes 0.33 ms instead of the
/// 0.355 of its own threshold, 2¹⁹.
const SHARED: usize = 1 << 21;
/// A half has a multiple of so many columns, at least.
const COLUMNS: usize = 64;

/// `c = a · b`, or `c += a · b` if `accumulate`; `c` is row-major.
///
/// The result does not depend on `parallel`: the rows and columns of `c` are divided among threads, never a sum.
fn product<T: Real>(a: Matrix<T>, b: Matrix<T>, accumulate: bool, c: &mut [T], parallel: bool) {
    assert_eq!(a.columns, b.rows, "the inner dimensions agree");
    assert!(a.rows * b.columns <= c.len(), "the product fits its slice");
    a.assert_inside();
    b.assert_inside();
    let c = Columns(c.as_mut_ptr());
    let multiply_adds = a.rows * a.columns * b.columns;
    let is_small = a.rows <= SMALL_ROWS && worth_a_thread(multiply_adds) && multiply_adds <= SMALL;
    if a.rows > 1 && (a.rows <= FEW_ROWS || is_small) && b.columns >= 2 * COLUMNS {
        // Halves for one thread too, so that it computes the same.
        let half = (b.columns / 2).next_multiple_of(COLUMNS);
        let run = |range| part(a, b, accumulate, c, range, Parallelism::None);
        let (first, second) = (|| run(0..half), || run(half..b.columns));
        if parallel && worth_a_thread(multiply_adds) {
            rayon::join(first, second);
        } else {
            first();
            second();
        }
    } else {
        let is_shared = parallel && multiply_adds > SHARED;
        let parallelism = if is_shared { Parallelism::Rayon(0) } else { Parallelism::None };
        part(a, b, accumulate, c, 0..b.columns, parallelism);
    }
}

/// The result of a product, of which several threads write different columns.
#[derive(Clone, Copy)]
struct Columns<T>(*mut T);

// SAFETY: `product` alone makes it, from a slice that it borrows, and each thread writes columns of its own.
unsafe impl<T: Send> Send for Columns<T> {}
// SAFETY: likewise.
unsafe impl<T: Send> Sync for Columns<T> {}

/// Some columns of [`product`].
fn part<T: Real>(
    a: Matrix<T>,
    b: Matrix<T>,
    accumulate: bool,
    c: Columns<T>,
    columns: Range<usize>,
    parallelism: Parallelism,
) {
    let [a_down, a_right] = a.strides.map(|stride| stride as isize);
    let [b_down, b_right] = b.strides.map(|stride| stride as isize);
    let one = T::of(1.0);
    // SAFETY: `product` has checked that the three matrices lie inside their slices; `columns` are inside `b` and `c`, and
    // no other thread writes them; `gemm` serves the two types that are `Real`.
    unsafe {
        gemm(
            a.rows,
            columns.len(),
            a.columns,
            c.0.add(columns.start),
            1,
            b.columns as isize,
            accumulate,
            a.values.as_ptr(),
            a_right,
            a_down,
            b.values.as_ptr().add(columns.start * b.strides[1]),
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
        // The last has enough outputs that threads share what follows the product.
        for (rows, inputs, outputs) in [(1, 1, 1), (1, 130, 9), (7, 33, 5), (32, 64, 64), (65, 17, 130), (1100, 20, 33)]
        {
            let (k, n) = (stride(inputs), stride(outputs));
            let layer = Layer { inputs, outputs, weight: 8, bias: 8 + k * n, ..Layer::default() };
            let params: Vec<T> = random(1, 8 + k * n + n);
            let (a, dz, slope): (Vec<T>, Vec<T>, Vec<T>) =
                (random(2, rows * k), random(3, rows * n), random(4, rows * k));
            for parallel in [false, true] {
                let mut y = [vec![T::of(9.0); rows * n], vec![T::of(8.0); rows * n]];
                let mut slopes = y.clone();
                let dropout = Some(Dropout { rate: 0.25, ..Dropout::default() });
                let tanh = Finish { activation: Activation::Tanh, dropout, residual: k == n };
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

    /// The blocks are those of the gradient, whichever thread takes them.
    #[test]
    fn blocks_are_those_of_the_gradient() {
        for (rows, inputs, outputs) in
            [(1, 3, 5), (7, 700, 130), (8, 64, 64), (32, 513, 300), (500, 784, 10), (600, 70, 50)]
        {
            let (k, n) = (stride(inputs), stride(outputs));
            let layer = Layer { inputs, outputs, bias: k * n, ..Layer::default() };
            let (a, dz): (Vec<f32>, Vec<f32>) = (random(2, rows * k), random(3, rows * n));
            let mut want = vec![0.0; k * n + n];
            linear_dw(&layer, false, &a, &dz, &mut want, false);
            let many = rayon::ThreadPoolBuilder::new().num_threads(16).build().unwrap();
            let updated = [None, Some(&many)].map(|pool| {
                let parallel = pool.is_some();
                let (mut w, mut scratch) = (vec![0.0; k * n], vec![9.0; k * n]);
                let put = |g: &[f32], parts: &mut [&mut [f32]]| parts[0].copy_from_slice(g);
                let mut update = || linear_dw_update(&layer, &a, &dz, &mut scratch, &mut [&mut w], &put, parallel);
                match pool {
                    Some(pool) => pool.install(update),
                    None => update(),
                }
                w
            });
            assert!(updated[0] == updated[1], "{rows}x{inputs}x{outputs}: threads change bits");
            close("blocks", &updated[0], &want[..k * n], rows, f64::from(f32::EPSILON));
        }
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
