//! Random numbers whose values never change: ChaCha8, keyed by a seed, a purpose and an index.
//!
//! The stream of a key is fixed by the cipher's definition, and what is drawn from it is written out here rather than
//! taken from a distribution whose algorithm may change with its library's version.

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

/// The purpose of a stream of random numbers. Streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Purpose {
    Weights = 1,
    Order = 2,
    Validation = 3,
    Template = 4,
    Sample = 5,
    Verify = 6,
    Noise = 7,
    Exploration = 8,
    #[cfg(feature = "run")]
    Sweep = 9,
    Descent = 16,
}

/// One stream of random numbers.
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of (`seed`, `purpose`, `index`); the index is the layer, the epoch or the sample.
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
        key[16..24].copy_from_slice(&index.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number uniform in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A number uniform in `0..n`; the bias of the multiplication is below `n` / 2⁶⁴.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// A standard normal deviate (Box and Muller, 1958; the cosine one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.uniform())).sqrt();
        radius * libm::cos(2.0 * std::f64::consts::PI * self.uniform())
    }

    /// Puts `items` into a uniformly drawn order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_function_of_its_key() {
        let draw = |seed, purpose, index| {
            let mut stream = Stream::new(seed, purpose, index);
            [stream.uniform(), stream.normal(), stream.below(1000) as f64]
        };
        assert_eq!(draw(1, Purpose::Order, 2), draw(1, Purpose::Order, 2));
        assert_ne!(draw(1, Purpose::Order, 2), draw(2, Purpose::Order, 2));
        assert_ne!(draw(1, Purpose::Order, 2), draw(1, Purpose::Weights, 2));
        assert_ne!(draw(1, Purpose::Order, 2), draw(1, Purpose::Order, 3));
    }

    #[test]
    fn deviates_have_the_moments_of_their_distribution() {
        let mut stream = Stream::new(0, Purpose::Weights, 0);
        let n = 100_000;
        let (mut sum, mut squares, mut uniform) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let x = stream.normal();
            sum += x;
            squares += x * x;
            uniform += stream.uniform();
        }
        // Five standard errors: 5/sqrt(n), 5 sqrt(2/n), 5/sqrt(12 n).
        let n = f64::from(n);
        assert!((sum / n).abs() < 5.0 / n.sqrt());
        assert!((squares / n - 1.0).abs() < 5.0 * (2.0 / n).sqrt());
        assert!((uniform / n - 0.5).abs() < 5.0 / (12.0 * n).sqrt());
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        let mut items: Vec<u32> = (0..1000).collect();
        Stream::new(3, Purpose::Order, 0).shuffle(&mut items);
        assert_ne!(items, (0..1000).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..1000).collect::<Vec<_>>());
    }
}
