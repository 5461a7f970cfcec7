//! The three twins whose plain loops are too slow to train with, by vectors (`tiles.rs`, `dots.rs`).
//!
//! Each has its twin's arguments and meaning, but that weights and their gradients lie in panels. A crew divides samples,
//! inputs and outputs among its threads, never a sum, so that it changes no bit.

use std::ops::Range;

use super::crew::Crew;
use super::linear_dx::pass_on;
use super::panels::{PANEL, panels, share};
use super::parts::Parts;
use super::tiles::{self, Columns, Out, PACKED, Right, Rows};
use super::{Dropout, Finish, Real, activate, dots, wide};
use crate::engine::{Layer, stride};

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
    let place = Parts::new(y);
    let sharing = sharing(layer, rows, crew);
    let (across, down) = grid(outputs, PANEL, sharing);
    let part = rows.div_ceil(down).next_multiple_of(ROWS) * inputs;
    let parts = a
        .chunks(part)
        .enumerate()
        .flat_map(|(i, a)| (0..across).map(move |j| (i * part / inputs, a, share(outputs, j, across))));
    sharing.each(parts, |(first, a, columns)| {
        for (i, a) in a.chunks(ROWS * inputs).enumerate() {
            for panel in panels(columns.len()) {
                let (start, width) = (columns.start + panel.start, panel.len());
                for near in blocks(0..inputs, DEPTH) {
                    let w = &w[start * inputs + near.start * width..][..near.len() * width];
                    let a = &a[near.start..];
                    let a = Rows { values: a, rows: a.len().div_ceil(inputs), depth: near.len(), stride: inputs };
                    let w = Right { values: w, columns: width, stride: width };
                    let out = Out { parts: &place, at: (first + i * ROWS) * outputs + start, stride: outputs };
                    // SAFETY: no other thread writes these rows of this panel of y.
                    unsafe { tiles::product(a, w, near.start > 0, out) };
                }
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

/// Rows that stay in the second cache while the weights pass by: a multiple of the heights of tiles.
///
/// 3072x512 at batch 512 on a Zen 4: as fast with 96, 1 % slower with 24.
const ROWS: usize = 48;
/// Inputs of these rows.
///
/// There too, as fast with twice as many, 2 % slower with half; with AVX2 alone, as many as there are take a fifth longer.
const DEPTH: usize = 512;
/// Rows that get their bias and go through the activation while they are in the nearest cache.
const ROWS_AT_ONCE: usize = 32;
/// Multiply-adds that take the time of what follows the product, a value.
const VALUE_COST: usize = 8;

/// A range in parts of so many, the last of what is left.
fn blocks(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(size).map(move |first| first..(first + size).min(range.end))
}

/// Into how many parts the columns of a matrix are divided, and if there are fewer pieces of that width than threads, each of
/// these again.
fn grid(columns: usize, piece: usize, crew: Crew) -> (usize, usize) {
    let across = crew.threads().min(columns.div_ceil(piece));
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
        let part = inputs.div_ceil(sharing.threads()).next_multiple_of(dots::SIDE);
        sharing.each(dx.chunks_mut(part).enumerate(), |(i, dx)| {
            dots::input_gradient(dz, w, inputs, outputs, i * part..i * part + dx.len(), dx);
        });
    } else if rows <= dots::few_rows() {
        let part = rows.div_ceil(sharing.threads()).next_multiple_of(dots::SIDE);
        sharing.each(dz.chunks(part * outputs).zip(dx.chunks_mut(part * inputs)), |(dz, dx)| {
            dots::input_gradient(dz, w, inputs, outputs, 0..inputs, dx);
        });
    } else {
        input_gradient(dz, w, inputs, outputs, dx, sharing);
    }
    if above.is_some() || da.is_some() {
        return pass_on(slope, above, dx, da);
    }
    let crew = crew.worth(dx.len());
    let part = dx.len().div_ceil(crew.threads());
    crew.each(dx.chunks_mut(part).zip(slope.chunks(part)), |(dx, slope)| pass_on(slope, None, dx, None));
}

/// Inputs of which the weights are transposed at once, so that they stay in the nearest cache while the rows pass by.
const STRIP: usize = 32;

/// `dx = dz · Wᵀ`, with the weights transposed first; shapes as in [`dots::input_gradient`].
fn input_gradient<T: Real>(dz: &[T], w: &[T], inputs: usize, outputs: usize, dx: &mut [T], crew: Crew) {
    let rows = dz.len() / outputs;
    let place = Parts::new(dx);
    let (across, down) = grid(inputs, STRIP, crew);
    let part = rows.div_ceil(down);
    let pieces = inputs.div_ceil(STRIP);
    let parts = dz.chunks(part * outputs).enumerate().flat_map(|(i, dz)| {
        (0..across)
            .map(move |j| (i * part, dz, j * pieces / across * STRIP..inputs.min((j + 1) * pieces / across * STRIP)))
    });
    crew.each(parts, |(first, dz, range)| {
        let mut turned = [[T::default(); STRIP]; PANEL];
        for strip in blocks(range, STRIP) {
            for panel in panels(outputs) {
                let width = panel.len();
                let w = &w[panel.start * inputs + strip.start * width..][..strip.len() * width];
                for (i, w) in w.chunks_exact(width).enumerate() {
                    turned.iter_mut().zip(w).for_each(|(turned, &w)| turned[i] = w);
                }
                let values = &dz[panel.start..];
                let a = Rows { values, rows: values.len().div_ceil(outputs), depth: width, stride: outputs };
                let w = Right { values: turned.as_flattened(), columns: strip.len(), stride: STRIP };
                let out = Out { parts: &place, at: first * inputs + strip.start, stride: inputs };
                // SAFETY: no other thread writes these rows of these columns of dx.
                unsafe { tiles::product(a, w, panel.start > 0, out) };
            }
        }
    });
}

/// As [`linear_dw`](super::linear_dw()).
pub(super) fn linear_dw<T: Real>(layer: &Layer, accumulate: bool, a: &[T], dz: &[T], grads: &mut [T], crew: Crew) {
    let (inputs, outputs) = (stride(layer.inputs), stride(layer.outputs));
    let samples = a.len() / inputs;
    let crew = sharing(layer, samples, crew);
    let parts = crew.threads().min(outputs.div_ceil(PANEL));
    let dz = OutputGradient { values: dz, samples, outputs, is_cut: false };
    let mut dw = &mut grads[layer.weights()];
    let all = (0..parts).map(|i| {
        let columns = share(outputs, i, parts);
        let (own, rest) = std::mem::take(&mut dw).split_at_mut(columns.len() * inputs);
        dw = rest;
        (columns, own)
    });
    crew.each(all, |(columns, dw)| gradient(a, inputs, 0..inputs, &dz, columns, accumulate, dw));
    linear_db(layer, accumulate, dz.values, grads);
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
const BLOCK_ROWS: usize = 2 * PACKED;
/// Samples that a tile is summed up over before it is stored, so that their part of dz stays in the nearest caches.
///
/// On two cores of a Zen 4, a step of 784-256-128-10 at batch 2048: 12.0 ms, as with 256.
const SAMPLES: usize = 128;

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
    let (across, down) = grid(outputs, PANEL, crew);
    let part = inputs.div_ceil(down).next_multiple_of(PACKED);
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
        let packs = (BLOCK / width / PACKED).max(1);
        let block = if samples <= SAMPLES { BLOCK_ROWS } else { packs * PACKED };
        for first in range.clone().step_by(block) {
            let rows = first..(first + block).min(range.end);
            let g = &mut scratch[..rows.len() * width];
            gradient(a, inputs, rows.clone(), &dz, columns.clone(), false, g);
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

/// The panels of some rows and columns of the weight gradient, added to what is there if `accumulate`.
fn gradient<T: Real>(
    a: &[T],
    inputs: usize,
    rows: Range<usize>,
    dz: &OutputGradient<T>,
    columns: Range<usize>,
    accumulate: bool,
    g: &mut [T],
) {
    let place = Parts::new(g);
    let mut packed = [[T::default(); PACKED]; SAMPLES];
    for (part, a) in a.chunks(SAMPLES * inputs).enumerate() {
        for first in rows.clone().step_by(PACKED) {
            let count = PACKED.min(rows.end - first);
            pack(a, inputs, first, count, &mut packed);
            let a = Columns { values: &packed[..a.len() / inputs], rows: count };
            for panel in panels(columns.len()) {
                let (start, width) = (columns.start + panel.start, panel.len());
                let (values, stride) = dz.panel(start..start + width, part * SAMPLES);
                let dz = Right { values, columns: width, stride };
                let at = panel.start * rows.len() + (first - rows.start) * width;
                let out = Out { parts: &place, at, stride: width };
                // SAFETY: this thread alone has these rows of these panels.
                unsafe { tiles::product(a, dz, accumulate || part > 0, out) };
            }
        }
    }
}

/// Packs `count` inputs from `first` on of at most [`SAMPLES`] samples; `a` is `(samples, inputs)`.
fn pack<T: Real>(a: &[T], inputs: usize, first: usize, count: usize, packed: &mut [[T; PACKED]; SAMPLES]) {
    for (packed, a) in packed.iter_mut().zip(a.chunks_exact(inputs)) {
        match a[first..].first_chunk::<PACKED>() {
            Some(a) => *packed = *a,
            None => packed[..count].copy_from_slice(&a[first..][..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::cpu::panels;
    use crate::number::{Purpose, Stream};

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
        // Some fit no panel; the last ones are shared among threads.
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
