//! Points that fill a cube evenly, however many of them are taken.

use crate::number::{Purpose, Stream};

/// The most dimensions of a [`Sobol`] sequence.
pub const DIMENSIONS: usize = 21;

/// The bits of a coordinate.
const BITS: usize = 32;

/// The primitive polynomial of a dimension, as bits, and its first direction numbers: those of `new-joe-kuo-6.21201` (Joe and
/// Kuo, Constructing Sobol sequences with better two-dimensional projections, 2008). The first dimension has none.
const DIRECTIONS: [(u32, &[u32]); DIMENSIONS - 1] = [
    (0b11, &[1]),
    (0b111, &[1, 3]),
    (0b1011, &[1, 3, 1]),
    (0b1101, &[1, 1, 1]),
    (0b10011, &[1, 1, 3, 3]),
    (0b11001, &[1, 3, 5, 13]),
    (0b100101, &[1, 1, 5, 5, 17]),
    (0b101001, &[1, 1, 5, 5, 5]),
    (0b101111, &[1, 1, 7, 11, 19]),
    (0b110111, &[1, 1, 5, 1, 1]),
    (0b111011, &[1, 1, 1, 3, 11]),
    (0b111101, &[1, 3, 5, 5, 31]),
    (0b1000011, &[1, 3, 3, 9, 7, 49]),
    (0b1011011, &[1, 1, 1, 15, 21, 21]),
    (0b1100001, &[1, 3, 1, 13, 27, 49]),
    (0b1100111, &[1, 1, 1, 15, 7, 5]),
    (0b1101101, &[1, 3, 1, 15, 13, 25]),
    (0b1110011, &[1, 1, 5, 5, 19, 61]),
    (0b10000011, &[1, 3, 7, 11, 23, 15, 103]),
    (0b10001001, &[1, 3, 7, 13, 13, 15, 69]),
];

/// A sequence of Sobol' (1967) in the order of Gray's code (Antonov and Saleev, 1979), under a random digital shift: points of
/// `[0, 1)ᵈ`, of which the first 2ᵏ fall one into each of 2ᵏ equal intervals in every dimension, for every k up to 32.
///
/// The point of an index depends on nothing else, so that more points leave those before them as they are. The shift, an exclusive
/// or with one random number a dimension, makes each point uniform and keeps the evenness; it is keyed by a seed.
///
/// ```
/// use thalweg::sweep::Sobol;
///
/// let sequence = Sobol::new(2, 0);
/// let quarters: Vec<u64> = (0..4).map(|i| (4.0 * sequence.point(i)[1]) as u64).collect();
/// assert!((0..4).all(|quarter| quarters.contains(&quarter)));
/// ```
#[derive(Clone, Debug)]
pub struct Sobol {
    /// The direction numbers of each dimension, from that of the lowest bit of an index up.
    directions: Vec<[u32; BITS]>,
    /// The shift of each dimension.
    shifts: Vec<u32>,
}

impl Sobol {
    /// The sequence in so many dimensions, at most [`DIMENSIONS`] of which are made, shifted as `seed` says.
    pub fn new(dimensions: usize, seed: u64) -> Self {
        let dimensions = dimensions.min(DIMENSIONS);
        let shift = |d: usize| Stream::new(seed, Purpose::Sweep, d as u64).below(1 << BITS) as u32;
        Self { directions: (0..dimensions).map(directions).collect(), shifts: (0..dimensions).map(shift).collect() }
    }

    /// The point of an index below 2³², a number of `[0, 1)` a dimension.
    pub fn point(&self, index: u64) -> Vec<f64> {
        let gray = index ^ (index >> 1);
        let coordinate = |directions: &[u32; BITS], shift: u32| {
            let digits = (0..BITS).filter(|bit| gray >> bit & 1 == 1).fold(shift, |x, bit| x ^ directions[bit]);
            f64::from(digits) / (1u64 << BITS) as f64
        };
        self.directions.iter().zip(&self.shifts).map(|(directions, &shift)| coordinate(directions, shift)).collect()
    }
}

/// The direction numbers of a dimension: vⱼ = mⱼ 2³²⁻ʲ, and behind the first ones, of a polynomial of degree s with coefficients a,
/// vⱼ = a₁ vⱼ₋₁ ⊕ ... ⊕ aₛ₋₁ vⱼ₋ₛ₊₁ ⊕ vⱼ₋ₛ ⊕ vⱼ₋ₛ 2⁻ˢ.
fn directions(dimension: usize) -> [u32; BITS] {
    let mut v = [0; BITS];
    let Some((polynomial, first)) = dimension.checked_sub(1).map(|d| DIRECTIONS[d]) else {
        return std::array::from_fn(|j| 1 << (BITS - 1 - j));
    };
    let degree = first.len();
    for j in 0..BITS {
        v[j] = match first.get(j) {
            Some(m) => m << (BITS - 1 - j),
            None => (1..degree)
                .filter(|k| polynomial >> (degree - k) & 1 == 1)
                .fold(v[j - degree] ^ v[j - degree] >> degree, |sum, k| sum ^ v[j - k]),
        };
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the first 2ᵏ points fall into each box of sides 2⁻ᵃ and 2⁻ᵇ along two dimensions.
    fn boxes(sequence: &Sobol, k: u32, [(d, a), (e, b)]: [(usize, u32); 2]) -> Vec<u32> {
        let mut counts = vec![0; 1 << (a + b)];
        for point in (0..1 << k).map(|i| sequence.point(i)) {
            let cell = |d: usize, bits: u32| (point[d] * f64::from(1u32 << bits)) as usize;
            counts[(cell(d, a) << b) + cell(e, b)] += 1;
        }
        counts
    }

    #[test]
    fn every_dimension_is_stratified() {
        for seed in [0, 1, 77] {
            let sequence = Sobol::new(DIMENSIONS, seed);
            for (d, k) in (0..DIMENSIONS).flat_map(|d| (0..=10).map(move |k| (d, k))) {
                assert!(boxes(&sequence, k, [(d, k), (d, 0)]).iter().all(|&n| n == 1), "dimension {d}, 2^{k} points");
            }
        }
    }

    /// The first two dimensions are a (0, m, 2)-net in base 2: every box of area 2⁻ᵐ, however long and thin, holds one of 2ᵐ points.
    /// In the first three dimensions t is at most 1 of any two of them, so that a box of area 2¹⁻ᵐ holds two.
    #[test]
    fn pairs_of_the_first_dimensions_are_nets() {
        let sequence = Sobol::new(3, 5);
        for m in 1..=10 {
            for a in 0..=m {
                assert!(boxes(&sequence, m, [(0, a), (1, m - a)]).iter().all(|&n| n == 1), "m {m}, a {a}");
            }
            for (pair, a) in [(0, 2), (1, 2)].into_iter().flat_map(|pair| (0..m).map(move |a| (pair, a))) {
                let counts = boxes(&sequence, m, [(pair.0, a), (pair.1, m - 1 - a)]);
                assert!(counts.iter().all(|&n| n == 2), "{pair:?}, m {m}, a {a}");
            }
        }
    }

    /// The numbers of SciPy 1.17 (`scipy.stats.qmc.Sobol(21, scramble=False, bits=32)`), in all dimensions.
    #[test]
    fn the_points_are_those_of_joe_and_kuo() {
        let mut sequence = Sobol::new(DIMENSIONS, 0);
        sequence.shifts.fill(0);
        let digits = |i| sequence.point(i).iter().map(|x| (x * 2f64.powi(32)) as u32).collect::<Vec<_>>();
        assert_eq!((digits(0), digits(1)), (vec![0; DIMENSIONS], vec![1 << 31; DIMENSIONS]));
        assert_eq!(
            digits(777),
            [
                2973761536, 4022337536, 700448768, 1178599424, 2730491904, 1530920960, 817889280, 3275751424,
                1497366528, 1388314624, 3200253952, 2990538752, 1648361472, 2034237440, 2445279232, 2210398208,
                1732247552, 3711959040, 1589641216, 3233808384, 1019215872
            ]
        );
    }

    #[test]
    fn a_seed_shifts_every_dimension_by_itself() {
        let [one, other] = [1, 2].map(|seed| Sobol::new(4, seed));
        assert_eq!(one.point(9), Sobol::new(4, 1).point(9));
        assert_ne!(one.point(9), other.point(9));
        let first = one.point(0);
        assert!((1..4).all(|d| first[d] != first[0]), "{first:?}");
    }
}
