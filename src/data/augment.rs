//! Changing training samples at random, anew in every step.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF};

use super::Dataset;
use crate::error::{Error, Result};

/// The random changes of a training sample before the network sees it, in this order; none by default.
///
/// All is drawn anew for each sample in each step, as a function of (seed, replica, step, position in the order) alone;
/// both engines draw the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// The width in pixels of the black border (raw value 0) out of which an image is cropped to its own size, at
    /// random. At most the longer side of the image, default 0.
    pub pad: usize,
    /// Whether half of the images are mirrored, left for right. Default false.
    pub flip: bool,
    /// The side in pixels of a square that is set to 0 after normalisation, its centre anywhere in the image (DeVries
    /// and Taylor, 2017). At most the longer side of the image, default 0.
    pub cutout: usize,
    /// The parameter of the shares λ, from Beta(mixup, mixup), by which each sample is mixed with another of the step
    /// (of the same [`MAX_PASS`](crate::engine::MAX_PASS), if the step has more): `x = λ xᵢ + (1 − λ) xⱼ`, targets
    /// alike (Zhang et al., 2017). λ comes from the quantile function at 257 points, linear between. In `[0, 1000]`,
    /// default 0: no mixing.
    pub mixup: f64,
    /// The deviation of Gaussian noise that is added to every normalised feature. At least 0, default 0.
    pub noise: f64,
}

/// The largest parameter of mixup; from here on its shares are all but equal.
const MOST_MIXUP: f64 = 1000.0;

/// Below it, every share of the quantile function is 0, 1/2 or 1 to the last bit of f64, and the search for others does not end:
/// the largest below 1/2 is that at `p = 127/256`, about `(2p)^(1/mixup)`, here e⁻⁷⁸⁴.
const LEAST_MIXUP: f64 = 1e-5;

/// The number of points of the quantile function that mixup's shares come from.
pub(crate) const QUANTILES: usize = 257;

impl Augment {
    /// Whether samples stay as they are.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses what does not go with the data.
    ///
    /// # Errors
    /// Crops, flips or cutouts of what is no image, or a constant out of range.
    pub fn check(&self, dataset: &Dataset) -> Result<()> {
        let [_, height, width] = dataset.shape;
        let of_images = [("pad", self.pad > 0), ("flip", self.flip), ("cutout", self.cutout > 0)];
        if let Some((key, _)) = of_images.iter().find(|(_, is_asked)| *is_asked && height * width == 1) {
            let found = format!("expected images, found a table of {} columns in {}", dataset.width(), dataset.name);
            return Err(Error::config(format!("augment.{key}"), found));
        }
        for (key, size) in [("pad", self.pad), ("cutout", self.cutout)] {
            let most = height.max(width);
            if size > most && most > 1 {
                return Err(Error::config(
                    format!("augment.{key}"),
                    format!("expected at most {most}, as the images are {height}x{width}, found {size}"),
                ));
            }
        }
        if !(0.0..=MOST_MIXUP).contains(&self.mixup) {
            let found = format!("expected a number in [0, {MOST_MIXUP}], found {}", self.mixup);
            return Err(Error::config("augment.mixup", found));
        }
        if !(self.noise.is_finite() && self.noise >= 0.0) {
            let found = format!("expected a number of at least 0, found {}", self.noise);
            return Err(Error::config("augment.noise", found));
        }
        Ok(())
    }

    /// The quantile function of Beta(mixup, mixup) at `i / 256`; empty without mixup.
    pub(crate) fn quantiles(&self) -> Vec<f64> {
        let Ok(beta) = Beta::new(self.mixup, self.mixup) else { return Vec::new() };
        let last = (QUANTILES - 1) as f64;
        if self.mixup < LEAST_MIXUP {
            let middle = (QUANTILES - 1) / 2;
            let half = |i: usize| if i == middle { 0.5 } else { f64::from(i > middle) };
            return (0..QUANTILES).map(half).collect();
        }
        (0..QUANTILES)
            .map(|i| match i {
                0 => 0.0,
                i if i + 1 == QUANTILES => 1.0,
                i => beta.inverse_cdf(i as f64 / last),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_distribution() {
        let of = |mixup| Augment { mixup, ..Augment::default() }.quantiles();
        assert!(of(0.0).is_empty());
        // Beta(1, 1) is uniform, Beta(1/2, 1/2) the arcsine distribution.
        for (i, (q, arcsine)) in of(1.0).iter().zip(of(0.5)).enumerate() {
            let p = i as f64 / 256.0;
            assert!((q - p).abs() < 1e-9, "{q} at {p}");
            let want = (std::f64::consts::FRAC_PI_2 * p).sin().powi(2);
            assert!((arcsine - want).abs() < 1e-9, "{arcsine} at {p}, expected {want}");
        }
        // However little, an answer: shares come to 0, 1/2 and 1 on the way.
        for mixup in [5e-324, 1e-320, 1e-300, 1e-100, 1e-16, 1e-6, 9.99e-6, 1e-5, 1e-4, MOST_MIXUP] {
            let all = of(mixup);
            assert_eq!((all.len(), all[0], all[QUANTILES - 1]), (QUANTILES, 0.0, 1.0), "{mixup:e}");
            assert!(all.iter().all(|q| (0.0..=1.0).contains(q)) && (all[128] - 0.5).abs() < 1e-9, "{mixup:e}");
            assert!(mixup > 1e-4 || (all[127] < 1e-16 && all[129] > 1.0 - 1e-16), "{mixup:e}: {:e}", all[127]);
        }
        let steep = of(0.2);
        assert!(steep.is_sorted() && (steep[128] - 0.5).abs() < 1e-9 && steep[64] < 0.05, "{}", steep[64]);
    }
}
