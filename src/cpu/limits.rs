//! What the processor can do at most.

use std::time::Instant;

use gemm::{Parallelism, gemm};
use rayon::prelude::*;

use super::real::Real;
use crate::engine::Limits;

/// Sides of the matrices whose product stands for the multiply-add peak.
const SIDE: usize = 768;
/// Values that are copied: far more than caches hold.
const VALUES: usize = 1 << 25;
/// Each is measured so often; the best counts.
const ROUNDS: usize = 5;

/// How engines of this precision describe themselves.
pub fn describe<T: Real>() -> String {
    format!("CPU engine ({}, {} threads)", T::NAME, rayon::current_num_threads())
}

/// Measures a product of square matrices, and a copy, on all cores. There are no dispatches.
pub fn limits<T: Real>() -> Limits {
    let (a, b) = (vec![T::of(0.5); SIDE * SIDE], vec![T::of(0.25); SIDE * SIDE]);
    let mut c = vec![T::of(0.0); SIDE * SIDE];
    let n = SIDE as isize;
    let product = best(|| {
        // SAFETY: three square matrices of that side, of which `c` is borrowed exclusively.
        unsafe {
            gemm(
                SIDE,
                SIDE,
                SIDE,
                c.as_mut_ptr(),
                1,
                n,
                false,
                a.as_ptr(),
                1,
                n,
                b.as_ptr(),
                1,
                n,
                T::of(1.0),
                T::of(1.0),
                false,
                false,
                false,
                Parallelism::Rayon(0),
            );
        }
    });
    let (from, mut to) = (vec![1f32; VALUES], vec![0f32; VALUES]);
    let chunk = VALUES / (4 * rayon::current_num_threads());
    let copy =
        best(|| to.par_chunks_mut(chunk).zip(from.par_chunks(chunk)).for_each(|(to, from)| to.copy_from_slice(from)));
    Limits {
        flops: 2.0 * (SIDE * SIDE * SIDE) as f64 / product,
        flops_f16: None,
        flops_cooperative: None,
        bandwidth: 8.0 * VALUES as f64 / copy,
        dispatch: 0.0,
        submission: 0.0,
    }
}

/// The least seconds of several runs.
fn best(mut work: impl FnMut()) -> f64 {
    work();
    let seconds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}
