//! Random numbers that an element finds by itself, the same function here and in the shaders.
//!
//! A number is a hash of what it is for: the replica's seed, the step, the sample's position in the epoch's order, and
//! a tag of purpose and column. Nothing is kept between draws, so that no order of work and no resuming changes them.

/// The purpose of a hash; dropout after layer l has the purpose `DROPOUT + l`.
pub(crate) const NOISE: u32 = 0;
pub(crate) const CROP: u32 = 1;
pub(crate) const CUTOUT: u32 = 2;
pub(crate) const MIXUP: u32 = 3;
pub(crate) const DROPOUT: u32 = 4;

/// The bit of a tag at which purposes begin; below it is the column.
pub(crate) const PURPOSE_BIT: u32 = 22;

/// The part of a hash's key that all random numbers of one replica in one step share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// The seed of the replica.
    pub seed: u32,
    /// The step, counted from 0; it wraps around.
    pub step: u32,
}

impl Key {
    /// Four hashes for the sample at `position` of the order.
    pub(crate) fn draw(self, position: u32, purpose: u32, column: u32) -> [u32; 4] {
        hash([self.seed, self.step, position, purpose << PURPOSE_BIT | column])
    }
}

/// The hash `pcg4d` (Jarzynski and Olano, *Hash Functions for GPU Rendering*, 2020).
fn hash(key: [u32; 4]) -> [u32; 4] {
    let stir = |[x, y, z, w]: [u32; 4]| {
        let x = x.wrapping_add(y.wrapping_mul(w));
        let y = y.wrapping_add(z.wrapping_mul(x));
        let z = z.wrapping_add(x.wrapping_mul(y));
        let w = w.wrapping_add(y.wrapping_mul(z));
        [x, y, z, w]
    };
    let v = stir(key.map(|v| v.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)));
    stir(v.map(|v| v ^ v >> 16))
}

/// A number uniform in `[0, 1)`, a multiple of 2⁻²⁴, which f32 holds exactly.
pub(crate) fn uniform(hash: u32) -> f64 {
    f64::from(hash >> 8) / f64::from(1u32 << 24)
}

/// A number uniform in `0..n`, n being at most 65,535: `⌊hash · n / 2³²⌋`, in 32 bits.
pub(crate) fn below(hash: u32, n: u32) -> u32 {
    ((hash >> 16) * n + (((hash & 0xffff) * n) >> 16)) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_is_the_high_half_of_the_product() {
        for hash in [0, 1, 0xffff, 0x1_0000, 0x1234_5678, u32::MAX] {
            for n in [1, 2, 9, 2048, 65_535] {
                assert_eq!(u64::from(below(hash, n)), (u64::from(hash) * u64::from(n)) >> 32, "{hash} {n}");
            }
        }
    }

    /// Means of a million deviates, each by five standard errors; and neighbours in every part of the key do not agree.
    #[test]
    fn hashes_are_uniform_and_independent_of_their_neighbours() {
        let n = 1 << 18;
        let mut sums = [0.0; 4];
        let mut products = [0.0; 4];
        for i in 0..n {
            let here = Key { seed: 7, step: 3 }.draw(i, DROPOUT, 0);
            let beside = [
                Key { seed: 8, step: 3 }.draw(i, DROPOUT, 0),
                Key { seed: 7, step: 4 }.draw(i, DROPOUT, 0),
                Key { seed: 7, step: 3 }.draw(i + 1, DROPOUT, 0),
                Key { seed: 7, step: 3 }.draw(i, DROPOUT, 1),
            ];
            for (k, sum) in sums.iter_mut().enumerate() {
                *sum += uniform(here[k]);
                products[k] += (uniform(here[k]) - 0.5) * (uniform(beside[k][k]) - 0.5);
            }
        }
        let n = f64::from(n);
        for k in 0..4 {
            assert!((sums[k] / n - 0.5).abs() < 5.0 / (12.0 * n).sqrt(), "mean {}", sums[k] / n);
            // Each product has deviation 1/12.
            assert!((products[k] / n).abs() < 5.0 / 12.0 / n.sqrt(), "covariance {}", products[k] / n);
        }
    }
}
