//! The three twins whose plain loops are too slow to train with, by vectors (`tiles.rs`) and by the `gemm` crate.
//!
//! Each has its twin's arguments and meaning, but that weights and their gradients lie in panels. A crew divides samples,
//! inputs and outputs among its threads, never a sum, so that it changes no bit.

use std::marker::PhantomData;
use std::ops::Range;

use gemm::{Parallelism, gemm};

use super::crew::Crew;
use super::linear_dx::pass_on;
use super::panels::{PANEL, panels, share};
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
    crew: Crew,
) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let rows = a.len() / inputs;
    let (w, bias) = (&params[layer.weights()], &params[layer.bias..][..outputs]);
    let place = Shared::new(y);
    let sharing = sharing(layer, rows, crew);
    let (across, down) = grid(outputs, sharing);
    let part = rows.div_ceil(down).next_multiple_of(LIBRARY_ROWS) * inputs;
    let parts = a
        .chunks(part)
        .enumerate()
        .flat_map(|(i, a)| (0..across).map(move |j| (i * part / inputs, a, share(outputs, j, across))));
    sharing.each(parts, |(first, a, columns)| {
        for panel in panels(columns.len()) {
            let panel = columns.start + panel.start..columns.start + panel.end;
            let w = Matrix::new(&w[panel.start * inputs..panel.end * inputs], inputs, panel.len());
            if rows > tiles::SAMPLES {
                for (i, a) in a.chunks(LIBRARY_ROWS * inputs).enumerate() {
                    let at = (first + i * LIBRARY_ROWS) * outputs + panel.start;
                    let a = Matrix::new(a, a.len() / inputs, inputs);
                    // SAFETY: no other thread writes these rows of this panel of y.
                    unsafe { product(a, w, false, &place, at, outputs) };
                }
                continue;
            }
            let mut sums = [T::default(); tiles::SAMPLES * PANEL];
            let sums = &mut sums[..rows * panel.len()];
            tiles::outputs(a, inputs, w.values, sums);
            for (s, sums) in sums.chunks_exact(panel.len()).enumerate() {
                // SAFETY: no other thread takes this panel of y.
                unsafe { place.part(s * outputs + panel.start..s * outputs + panel.end) }.copy_from_slice(sums);
            }
        }
    });
    let crew = crew.worth(VALUE_COST * y.len());
    let part = rows.div_ceil(crew.threads()).min(ROWS_AT_ONCE);
    let parts = y.chunks_mut(part * outputs).zip(slope.chunks_mut(part * outputs)).zip(a.chunks(part * inputs));
    crew.each(parts.enumerate(), |(i, ((y, slope), a))| {
        let dropout = finish.dropout.map(|dropout| Dropout { first: dropout.first + (i * part) as u32, ..dropout });
        for y in y.chunks_exact_mut(outputs) {
            wide(|| y.iter_mut().zip(bias).for_each(|(y, &bias)| *y += bias));
        }
        activate(&Finish { dropout, ..*finish }, outputs, a, y, slope);
    });
}

/// Rows that the library is given at a time: with more, it would pack the panel first, which is as it would pack it.
const LIBRARY_ROWS: usize = 48;
/// Rows that get their bias and go through the activation while they are in the nearest cache.
const ROWS_AT_ONCE: usize = 32;
/// Multiply-adds that take the time of what follows the product, a value.
const VALUE_COST: usize = 8;

/// Into how many parts the outputs of a layer are divided, and if there are fewer panels than threads, each of these again.
fn grid(outputs: usize, crew: Crew) -> (usize, usize) {
    let across = crew.threads().min(outputs.div_ceil(PANEL));
    (across, crew.threads() / across)
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
    crew: Crew,
) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let rows = dz.len() / outputs;
    let w = &params[layer.weights()];
    let sharing = sharing(layer, rows, crew);
    if rows == 1 {
        let part = inputs.div_ceil(sharing.threads()).next_multiple_of(tiles::SIDE);
        sharing.each(dx.chunks_mut(part).enumerate(), |(i, dx)| {
            tiles::input_gradient(dz, w, inputs, outputs, i * part..i * part + dx.len(), dx);
        });
    } else if rows <= tiles::few_rows() {
        let part = rows.div_ceil(sharing.threads()).next_multiple_of(tiles::SIDE);
        sharing.each(dz.chunks(part * outputs).zip(dx.chunks_mut(part * inputs)), |(dz, dx)| {
            tiles::input_gradient(dz, w, inputs, outputs, 0..inputs, dx);
        });
    } else {
        let parts = sharing.threads().min(rows / least_rows(inputs)).max(1);
        let mut rest = &mut *dx;
        let all = (0..parts).map(|i| {
            let rows = i * rows / parts..(i + 1) * rows / parts;
            let (own, others) = std::mem::take(&mut rest).split_at_mut(rows.len() * inputs);
            rest = others;
            (rows, own)
        });
        sharing.each(all, |(rows, dx)| {
            let (dz, dx) = (&dz[rows.start * outputs..], Shared::new(dx));
            for panel in panels(outputs) {
                let w = Matrix::new(&w[panel.start * inputs..panel.end * inputs], inputs, panel.len());
                let strides = [outputs, 1];
                let dz = Matrix { values: &dz[panel.start..], rows: rows.len(), columns: panel.len(), strides };
                // SAFETY: this thread alone has dx.
                unsafe { product(dz, w.transposed(), panel.start > 0, &dx, 0, inputs) };
            }
        });
    }
    if above.is_some() || da.is_some() {
        return pass_on(slope, above, dx, da);
    }
    let crew = crew.worth(dx.len());
    let part = dx.len().div_ceil(crew.threads());
    crew.each(dx.chunks_mut(part).zip(slope.chunks(part)), |(dx, slope)| pass_on(slope, None, dx, None));
}

/// Rows that a thread has at least, since the library adds up in another order where rows times inputs are at most 256.
fn least_rows(inputs: usize) -> usize {
    (256 / inputs + 1).max(16)
}

/// As [`linear_dw`](super::linear_dw()).
pub(super) fn linear_dw<T: Real>(layer: &Layer, accumulate: bool, a: &[T], dz: &[T], grads: &mut [T], crew: Crew) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let rows = a.len() / inputs;
    let crew = sharing(layer, rows, crew);
    let parts = crew.threads().min(outputs.div_ceil(PANEL));
    let dw = Shared::new(&mut grads[layer.weights()]);
    crew.each((0..parts).map(|i| share(outputs, i, parts)), |columns| {
        for panel in panels(columns.len()) {
            let start = columns.start + panel.start;
            let dz = Matrix { values: &dz[start..], rows, columns: panel.len(), strides: [outputs, 1] };
            // SAFETY: no other thread writes this panel of dW.
            unsafe {
                product(Matrix::new(a, rows, inputs).transposed(), dz, accumulate, &dw, start * inputs, panel.len())
            };
        }
    });
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
/// Rows of the weight gradient that a core makes before it updates them, where it has all samples at once.
const BLOCK_ROWS: usize = 2 * tiles::PACKED;

/// Multiply-adds that take the time of one weight's update, which waits for memory.
pub(super) const UPDATE_COST: usize = 8;

/// Who shares the products of a layer: the same threads all of them, so that a core finds its panels in its cache.
fn sharing<'a>(layer: &Layer, rows: usize, crew: Crew<'a>) -> Crew<'a> {
    crew.worth(work(layer, rows))
}

/// Multiply-adds that the weight gradient with its update is worth, the longest part of a layer's step.
pub(super) fn work(layer: &Layer, rows: usize) -> usize {
    layer.weights().len() * (rows + UPDATE_COST)
}

/// The weights and the state vectors of an optimizer; those that it has not are empty.
pub(super) type Vectors<'a, T> = [&'a mut [T]; 4];

/// Takes the first `length` values of each vector that is there.
pub(super) fn take<'a, T>(vectors: &mut Vectors<'a, T>, length: usize) -> Vectors<'a, T> {
    vectors.each_mut().map(|vector| {
        let (first, rest) = std::mem::take(vector).split_at_mut_checked(length).unwrap_or_default();
        *vector = rest;
        first
    })
}

/// The weight's part of `linear_dw`, of which nothing is left: each block of the gradient goes to `update`, with the same
/// block of the layer's weights and of their state. `scratch` is as long as the weights, `near` as long as dz.
#[allow(clippy::too_many_arguments, reason = "the kernel's bindings, and what is used up")]
pub(super) fn linear_dw_update<T: Real>(
    layer: &Layer,
    a: &[T],
    dz: &[T],
    near: &mut [T],
    mut scratch: &mut [T],
    mut vectors: Vectors<T>,
    update: &(impl Fn(&[T], Vectors<T>) + Sync),
    crew: Crew,
) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let samples = a.len() / inputs;
    let crew = sharing(layer, samples, crew);
    let dz = OutputGradient::new(dz, samples, outputs, near, crew);
    let (across, down) = grid(outputs, crew);
    let part = inputs.div_ceil(down).next_multiple_of(tiles::PACKED);
    let each = |i| (0..inputs).step_by(part).map(move |first| (share(outputs, i, across), first));
    let all = (0..across).flat_map(each).map(|(columns, first)| {
        let inputs = first..(first + part).min(inputs);
        let length = inputs.len() * columns.len();
        let (own, rest) = std::mem::take(&mut scratch).split_at_mut(length);
        scratch = rest;
        (columns, inputs, own, take(&mut vectors, length))
    });
    crew.each(all, |(columns, range, scratch, mut vectors)| {
        let width = columns.len();
        let packs = (BLOCK / width / tiles::PACKED).max(1);
        let block = if samples <= tiles::DEPTH { BLOCK_ROWS } else { packs * tiles::PACKED };
        let mut packed = [[T::default(); tiles::PACKED]; tiles::DEPTH];
        for first in range.clone().step_by(block) {
            let rows = first..(first + block).min(range.end);
            let g = &mut scratch[..rows.len() * width];
            gradient(a, inputs, rows.clone(), &dz, columns.clone(), &mut packed, g);
            for panel in panels(width) {
                let g = &g[panel.start * rows.len()..panel.end * rows.len()];
                let at = panel.start * range.len() + (first - range.start) * panel.len();
                update(g, vectors.each_mut().map(|v| v.get_mut(at..at + g.len()).unwrap_or_default()));
            }
        }
    });
}

/// The gradient of a layer's outputs, `(samples, outputs)` or in panels.
struct OutputGradient<'a, T> {
    values: &'a [T],
    samples: usize,
    outputs: usize,
    is_cut: bool,
}

/// Values of dz from which on it is cut into panels first: rows a power of two apart take one another's places in the nearest
/// cache.
///
/// On two cores of a Zen 3, 3072x512 with SGD at batch 2048: 0.9 of the speed of the product forward instead of 0.7.
const WORTH_CUTTING: usize = 1 << 16;

impl<'a, T: Real> OutputGradient<'a, T> {
    /// With `near`, as long as `dz`, as the place of the panels.
    fn new(dz: &'a [T], samples: usize, outputs: usize, near: &'a mut [T], crew: Crew) -> Self {
        if dz.len() < WORTH_CUTTING {
            return Self { values: dz, samples, outputs, is_cut: false };
        }
        let parts = near.chunks_mut(samples * PANEL).zip(panels(outputs));
        crew.each(parts, |(near, columns)| {
            for (near, dz) in near.chunks_exact_mut(columns.len()).zip(dz.chunks_exact(outputs)) {
                near.copy_from_slice(&dz[columns.clone()]);
            }
        });
        Self { values: near, samples, outputs, is_cut: true }
    }

    /// A panel from sample `first` on, and how far apart its rows are.
    fn panel(&self, columns: Range<usize>, first: usize) -> (&[T], usize) {
        if self.is_cut {
            (&self.values[columns.start * self.samples + first * columns.len()..], columns.len())
        } else {
            (&self.values[first * self.outputs + columns.start..], self.outputs)
        }
    }
}

/// The panels of some rows and columns of the weight gradient.
fn gradient<T: Real>(
    a: &[T],
    inputs: usize,
    rows: Range<usize>,
    dz: &OutputGradient<T>,
    columns: Range<usize>,
    packed: &mut tiles::Packed<T>,
    g: &mut [T],
) {
    for (part, a) in a.chunks(tiles::DEPTH * inputs).enumerate() {
        for first in rows.clone().step_by(tiles::PACKED) {
            let count = tiles::PACKED.min(rows.end - first);
            tiles::pack(a, inputs, first, count, packed);
            for panel in panels(columns.len()) {
                let width = panel.len();
                let at = panel.start * rows.len() + (first - rows.start) * width;
                let place = columns.start + panel.start..columns.start + panel.end;
                let (dz, stride) = dz.panel(place, part * tiles::DEPTH);
                let packed = &packed[..a.len() / inputs];
                tiles::gradient_rows(packed, dz, stride, width, part > 0, &mut g[at..at + count * width]);
            }
        }
    }
}

/// A slice of which several threads write different parts.
struct Shared<'a, T> {
    values: *mut T,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: whoever takes a part promises that no other thread has any of it.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    fn new(values: &'a mut [T]) -> Self {
        Self { values: values.as_mut_ptr(), len: values.len(), borrowed: PhantomData }
    }

    /// # Safety
    /// Nobody else has any of the part.
    #[allow(clippy::mut_from_ref, reason = "the promise")]
    unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "a part lies inside its slice");
        // SAFETY: inside, and by the promise nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(range.start), range.len()) }
    }
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

/// `c = a · b`, or `c += a · b` if `accumulate`, on this thread; `c` starts at `at` of `into`, and its rows are `stride` apart.
///
/// # Safety
/// Nobody else has any of `c`.
unsafe fn product<T: Real>(a: Matrix<T>, b: Matrix<T>, accumulate: bool, into: &Shared<T>, at: usize, stride: usize) {
    assert_eq!(a.columns, b.rows, "the inner dimensions agree");
    assert!(at + a.rows.saturating_sub(1) * stride + b.columns <= into.len, "the product fits its slice");
    a.assert_inside();
    b.assert_inside();
    let [a_down, a_right] = a.strides.map(|stride| stride as isize);
    let [b_down, b_right] = b.strides.map(|stride| stride as isize);
    let one = T::of(1.0);
    // SAFETY: the three matrices lie inside their slices, and nobody else has any of `c`; `gemm` serves the two types that
    // are `Real`.
    unsafe {
        gemm(
            a.rows,
            b.columns,
            a.columns,
            into.values.add(at),
            1,
            stride as isize,
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
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::cpu::panels;
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

    /// Runs `work` with a crew of so many threads.
    fn with_threads<R: Send>(threads: usize, work: impl FnOnce(Crew) -> R + Send) -> R {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Crew::gather(usize::MAX, work))
    }

    /// A layer by itself, and its weights in panels.
    fn layer_of<T: Real>(inputs: usize, outputs: usize, params: &[T]) -> (Layer, Vec<T>) {
        let weights = stride(inputs) * stride(outputs);
        let layer = Layer { inputs, outputs, weight: 8, bias: 8 + weights, ..Layer::default() };
        let mut cut = params.to_vec();
        panels::cut(&layer, &mut cut);
        (layer, cut)
    }

    fn products_and_twins_agree<T: Real>(eps: f64) {
        // Some fit no panel, some are for the library; the last ones are shared among threads.
        for (rows, inputs, outputs) in [
            (1, 1, 1),
            (1, 130, 9),
            (5, 33, 5),
            (7, 33, 70),
            (32, 64, 64),
            (65, 17, 130),
            (1, 500, 300),
            (70, 300, 130),
            (1100, 20, 33),
        ] {
            let (k, n) = (stride(inputs), stride(outputs));
            let params: Vec<T> = random(1, 8 + k * n + n);
            let (layer, cut) = layer_of(inputs, outputs, &params);
            let (a, dz, slope): (Vec<T>, Vec<T>, Vec<T>) =
                (random(2, rows * k), random(3, rows * n), random(4, rows * k));
            for threads in [1, 3] {
                let mut y = [vec![T::of(9.0); rows * n], vec![T::of(8.0); rows * n]];
                let mut slopes = y.clone();
                let dropout = Some(Dropout { rate: 0.25, ..Dropout::default() });
                let tanh = Finish { activation: Activation::Tanh, dropout, residual: k == n };
                with_threads(threads, |crew| linear(&layer, &tanh, &cut, &a, &mut y[0], &mut slopes[0], crew));
                super::super::linear(&layer, &tanh, &params, &a, &mut y[1], &mut slopes[1]);
                close("linear", &y[0], &y[1], k, eps);
                close("linear's slope", &slopes[0], &slopes[1], 2 * k, eps);

                for above in [None, Some(&a[..])] {
                    let mut dx = [vec![T::of(9.0); rows * k], vec![T::of(8.0); rows * k]];
                    let mut da = dx.clone();
                    let [(dx0, da0), (dx1, da1)] = {
                        let [dx0, dx1] = &mut dx;
                        let [da0, da1] = &mut da;
                        [(dx0, above.map(|_| &mut da0[..])), (dx1, above.map(|_| &mut da1[..]))]
                    };
                    with_threads(threads, |crew| linear_dx(&layer, &cut, &dz, &slope, above, dx0, da0, crew));
                    super::super::linear_dx(&layer, &params, &dz, &slope, above, dx1, da1);
                    close("linear_dx", &dx[0], &dx[1], n, eps);
                    if above.is_some() {
                        close("linear_dx's da", &da[0], &da[1], n, eps);
                    }
                }

                for accumulate in [false, true] {
                    let mut grads = [cut.clone(), params.clone()];
                    with_threads(threads, |crew| linear_dw(&layer, accumulate, &a, &dz, &mut grads[0], crew));
                    super::super::linear_dw(&layer, accumulate, &a, &dz, &mut grads[1]);
                    panels::join(&layer, &mut grads[0]);
                    close("linear_dw", &grads[0], &grads[1], rows, eps);
                }
            }
        }
    }

    #[test]
    fn products_and_twins_agree_in_both_precisions() {
        products_and_twins_agree::<f64>(f64::EPSILON);
        products_and_twins_agree::<f32>(f64::from(f32::EPSILON));
    }

    /// What the replicas rest on: one that has all cores to itself computes what one among several does.
    #[test]
    fn threads_change_no_bit() {
        for (rows, inputs, outputs) in [
            (1, 784, 256),
            (7, 700, 130),
            (8, 64, 64),
            (32, 513, 300),
            (500, 784, 10),
            (600, 70, 300),
            (128, 784, 256),
            (65, 4, 1024),
            (65, 300, 70),
            (2049, 12, 20),
            (50, 12, 1500),
        ] {
            let (k, n) = (stride(inputs), stride(outputs));
            let (layer, cut) = layer_of(inputs, outputs, &random::<f32>(1, 8 + k * n + n));
            let (a, dz): (Vec<f32>, Vec<f32>) = (random(2, rows * k), random(3, rows * n));
            let all = [1, 2, 3, 16].map(|threads| {
                with_threads(threads, |crew| {
                    let (mut y, mut slope) = (vec![9.0; rows * n], vec![9.0; rows * n]);
                    linear(&layer, &Finish::default(), &cut, &a, &mut y, &mut slope, crew);
                    let mut dx = vec![9.0; rows * k];
                    linear_dx(&layer, &cut, &dz, &a, None, &mut dx, None, crew);
                    let mut grads = cut.clone();
                    linear_dw(&layer, false, &a, &dz, &mut grads, crew);
                    let (mut w, mut scratch, mut near) = (vec![0.0; k * n], vec![9.0; k * n], vec![9.0; rows * n]);
                    let put = |g: &[f32], parts: Vectors<f32>| parts[0].copy_from_slice(g);
                    let vectors = [&mut w[..], &mut [], &mut [], &mut []];
                    linear_dw_update(&layer, &a, &dz, &mut near, &mut scratch, vectors, &put, crew);
                    close("what is used up", &w, &grads[layer.weights()], rows, f64::from(f32::EPSILON));
                    (y, dx, grads, w)
                })
            });
            assert!(all.iter().all(|one| *one == all[0]), "{rows}x{inputs}x{outputs}");
        }
    }
}
