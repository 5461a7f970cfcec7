//! How fast the ranks tell each other what they have.

use std::time::Instant;

use super::exchange::sum;
use super::ranks::Ranks;
use crate::engine::Precision;

/// The time for which one exchange is measured again and again, in seconds.
const SECONDS: f64 = 0.3;

/// The median of the seconds of one sum over all ranks of a vector of so many f32 values, as rank 0 sees it; all ranks call it
/// together.
pub fn seconds_of_sum(ranks: &Ranks, values: usize) -> f64 {
    let mut vector = vec![1.0; values];
    let mut once = || {
        let start = Instant::now();
        sum(ranks, Precision::F32, &mut vector);
        start.elapsed().as_secs_f64()
    };
    once();
    let mut first = [once()];
    ranks.broadcast_values(&mut first);
    let rounds = (SECONDS / first[0]).clamp(5.0, 1000.0) as usize;
    let mut all: Vec<f64> = (0..rounds).map(|_| once()).collect();
    all.sort_by(f64::total_cmp);
    all[rounds / 2]
}
