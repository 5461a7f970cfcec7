//! The sum of the ranks' vectors.

use mpi::datatype::Equivalence;

use super::ranks::Ranks;
use crate::engine::Precision;
use crate::number::Real;

/// Sums a vector over all ranks, on each of them: Σ over ranks, from 0 on, in f64, rounded once to the precision of the vector.
///
/// Each rank sums one slice, which it has from all others, and gives it to all, so that a rank sends and receives 2 (N − 1) / N times
/// the vector's bytes, and every rank has the same bits whenever the others were ready.
pub(super) fn sum(ranks: &Ranks, precision: Precision, values: &mut [f64]) {
    match precision {
        Precision::F64 => sum_as::<f64>(ranks, values),
        Precision::F32 | Precision::Mixed => sum_as::<f32>(ranks, values),
    }
}

fn sum_as<T: Real + Equivalence>(ranks: &Ranks, values: &mut [f64]) {
    let mut whole: Vec<T> = values.iter().map(|&value| T::of(value)).collect();
    let parts = ranks.scatter(&whole);
    let own = parts.len() / ranks.size;
    let summed = |i: usize| T::of((0..ranks.size).map(|rank| parts[rank * own + i].to_f64()).sum());
    let slice: Vec<T> = (0..own).map(summed).collect();
    ranks.join(&slice, &mut whole);
    values.iter_mut().zip(whole).for_each(|(value, sum)| *value = sum.to_f64());
}
