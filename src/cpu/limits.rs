//! What the processor can do at most.

use std::hint::black_box;
use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::engine::{Limits, cached};
use crate::number::Real;

/// The number of multiply-adds that do not wait for one another: at least as many as any core has under way, and as
/// registers hold.
const CHAINS: usize = 12;
/// The length of each chain, which takes some milliseconds.
const LENGTH: usize = 1 << 21;
/// The number of values that are copied: far more than caches hold.
const VALUES: usize = 1 << 25;
/// The bytes of the smallest working set in which caches are looked for.
const LEAST_BYTES: usize = 1 << 20;
/// The number of times that each is measured; the best counts.
const ROUNDS: usize = 5;

/// The description that engines of this precision give of themselves.
pub fn describe<T: Real>() -> String {
    format!("CPU engine ({}, {} threads)", T::NAME, rayon::current_num_threads())
}

/// Measures the limits of the processor: multiply-adds in registers, a copy, and values changed in place, on all cores.
/// There are no dispatches.
pub fn measure_limits<T: Real>() -> Limits {
    let mut multiply_adds = 0;
    let peak =
        best(|| multiply_adds = rayon::broadcast(|_| Arch::new().dispatch(MultiplyAdds(T::of(0.5)))).iter().sum());
    let (from, mut to) = (vec![1f32; VALUES], vec![0f32; VALUES]);
    let chunk = VALUES / (4 * rayon::current_num_threads());
    let copy =
        best(|| to.par_chunks_mut(chunk).zip(from.par_chunks(chunk)).for_each(|(to, from)| to.copy_from_slice(from)));
    let copied = 8.0 * VALUES as f64 / copy;
    drop((from, to));
    // In place nothing is read only to be overwritten, as a copy may have to.
    let sizes = (0..).map(|i| LEAST_BYTES << i).take_while(|&bytes| bytes <= 4 * VALUES);
    let rates: Vec<(f64, f64)> = sizes.map(|bytes| (bytes as f64, in_place(bytes))).collect();
    let bandwidth = rates.last().map_or(copied, |&(_, rate)| rate.max(copied));
    Limits {
        flops: 2.0 * multiply_adds as f64 / peak,
        flops_f16: None,
        flops_cooperative: None,
        bandwidth,
        cache: cached(&rates, bandwidth),
        dispatch: 0.0,
        submission: 0.0,
    }
}

/// The bytes a second, read and written, of values that are changed in place, so many bytes on all cores together.
fn in_place(bytes: usize) -> f64 {
    let passes = (8 * VALUES / bytes).clamp(2, 64);
    let rates = rayon::broadcast(|core| {
        let mut values = vec![1f32; bytes / size_of::<f32>() / core.num_threads()];
        let seconds = best(|| (0..passes).for_each(|_| Arch::new().dispatch(Increment(&mut values))));
        let rate = 8.0 * (passes * values.len()) as f64 / seconds;
        black_box(&values);
        rate
    });
    rates.iter().sum()
}

/// Adds 1 to every value but what is left behind whole vectors, as the compiler may not do by vectors.
struct Increment<'a>(&'a mut [f32]);

impl WithSimd for Increment<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let one = f32::splat(simd, 1.0);
        for values in self.0.chunks_exact_mut(f32::lanes::<S>()) {
            let sum = <f32 as Real>::mul_add(simd, Real::load(simd, values), one, one);
            f32::store(simd, values, sum);
        }
    }
}

/// Chains of `s = s x + 1`, which come to rest near 2; their number of multiply-adds is returned.
struct MultiplyAdds<T>(T);

impl<T: Real> WithSimd for MultiplyAdds<T> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> usize {
        let (x, one) = (T::splat(simd, black_box(self.0)), T::splat(simd, T::of(1.0)));
        // All different, or one would do for all.
        let mut sums: [_; CHAINS] = std::array::from_fn(|i| T::splat(simd, T::of(i as f64)));
        for _ in 0..LENGTH {
            for sum in &mut sums {
                *sum = T::mul_add(simd, *sum, x, one);
            }
        }
        sums.into_iter().for_each(|sum| _ = black_box(T::sum(simd, sum)));
        CHAINS * LENGTH * T::lanes::<S>()
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
