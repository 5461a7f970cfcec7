//! The three twins whose plain loops are too slow to train with, by vectors (`tiles.rs`, `dots.rs`).
//!
//! Each has its twin's arguments and meaning, but that weights and their gradients lie in panels. A crew divides samples,
//! inputs and outputs among its threads, never a sum, so that it changes no bit.

mod linear;
mod linear_dw;
mod linear_dx;

pub(super) use linear::linear;
pub(super) use linear_dw::{Vectors, linear_db, linear_dw, linear_dw_update, take};
pub(super) use linear_dx::linear_dx;

use std::ops::Range;

use super::crew::Crew;
use crate::engine::Layer;

/// The number of multiply-adds that take the time of one weight's update, which waits for memory.
pub(super) const UPDATE_COST: usize = 8;

/// The crew that shares the products of a layer: the same threads all of them, so that a core finds its panels in its
/// cache.
fn sharing<'a>(layer: &Layer, rows: usize, crew: Crew<'a>) -> Crew<'a> {
    crew.worth(work(layer, rows))
}

/// The number of multiply-adds that the weight gradient with its update is worth, the longest part of a layer's step.
pub(super) fn work(layer: &Layer, rows: usize) -> usize {
    layer.weights().len() * (rows + UPDATE_COST)
}

/// The number of parts into which the columns of a matrix are divided, and if there are fewer pieces of that width than
/// threads, each of these again.
fn grid(columns: usize, piece: usize, crew: Crew) -> (usize, usize) {
    let across = crew.threads().min(columns.div_ceil(piece));
    (across, crew.threads() / across)
}

/// A range in parts of so many, the last of what is left.
fn blocks(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(size).map(move |first| first..(first + size).min(range.end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::cpu::{Dropout, Finish, Real, panels};
    use crate::engine::stride;
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
                crate::cpu::linear(&layer, &tanh, &params, &a, &mut y[1], &mut slopes[1]);
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
                    crate::cpu::linear_dx(&layer, &params, &dz, &slope, above, dx1, da1);
                    close("linear_dx", &dx[0], &dx[1], n, eps);
                    if above.is_some() {
                        close("linear_dx's da", &da[0], &da[1], n, eps);
                    }
                }

                for accumulate in [false, true] {
                    let mut grads = [cut.clone(), params.clone()];
                    with_threads(threads, |crew| linear_dw(&layer, accumulate, &a, &dz, &mut grads[0], crew));
                    crate::cpu::linear_dw(&layer, accumulate, &a, &dz, &mut grads[1]);
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
