//! The sum of the ranks' vectors.

use mpi::datatype::Equivalence;

use super::ranks::Ranks;
use crate::engine::{Across, Precision};
use crate::number::Real;

/// Sums a vector over all ranks, on each of them: Σ over ranks, from 0 on, in f64, rounded once to the precision of the vector.
///
/// Each rank sums one slice, which it has from all others, and gives it to all, so that a rank sends and receives 2 (N − 1) / N times
/// the vector's bytes, and every rank has the same bits whenever the others were ready.
pub(super) fn sum(ranks: &Ranks, precision: Precision, values: &mut [f64]) {
    divided(ranks, precision, 1.0, values);
}

/// What batch normalisation sums over the ranks.
pub(super) struct SumOfRanks(pub Ranks);

impl Across for SumOfRanks {
    fn sum(&self, values: &mut [f64]) {
        sum(&self.0, Precision::F64, values);
    }
}

/// The mean of a vector over all ranks, on each of them, as [`sum`].
pub(super) fn mean(ranks: &Ranks, precision: Precision, values: &mut [f64]) {
    divided(ranks, precision, ranks.size as f64, values);
}

fn divided(ranks: &Ranks, precision: Precision, by: f64, values: &mut [f64]) {
    match precision {
        Precision::F64 => divided_as::<f64>(ranks, by, values),
        Precision::F32 | Precision::Mixed => divided_as::<f32>(ranks, by, values),
    }
}

fn divided_as<T: Real + Equivalence>(ranks: &Ranks, by: f64, values: &mut [f64]) {
    let mut whole: Vec<T> = values.iter().map(|&value| T::of(value)).collect();
    let parts = ranks.scatter(&whole);
    let own = parts.len() / ranks.size;
    let summed = |i: usize| (0..ranks.size).map(|rank| parts[rank * own + i].to_f64()).sum::<f64>();
    let slice: Vec<T> = (0..own).map(|i| T::of(summed(i) / by)).collect();
    ranks.join(&slice, &mut whole);
    values.iter_mut().zip(whole).for_each(|(value, sum)| *value = sum.to_f64());
}
