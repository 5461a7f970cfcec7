//! How features are scaled before the network sees them, and the statistics that say by how much.

use serde::{Deserialize, Serialize};

use super::{Dataset, Features};
use crate::error::{Error, Result};
use crate::number::{Real, wide};

/// The rule by which features are scaled before the network sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// A mean of 0 and a deviation of 1 over every channel of the training part; a channel whose deviation is no more
    /// than the rounding of its values, 16 ε times their magnitude in f64, is constant, and only centered.
    #[default]
    Channel,
    /// Pixels in `[0, 1]`: a u8 divided by 255, other values as they are.
    Unit,
    /// The values as they lie in the file.
    None,
}

/// The scaling of features: `x = raw · scale + shift`, one pair a channel.
///
/// Numbers are scaled on the host in f64 and rounded once, to the engine's precision, so that a small spread around a
/// large mean survives; pixels are scaled on the device, as `fma(raw, scale, shift)` in its precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// The factor of each channel.
    pub scale: Vec<f64>,
    /// The summand of each channel.
    pub shift: Vec<f64>,
}

impl Normalization {
    /// The scaling that changes nothing.
    pub(super) fn none(channels: usize) -> Self {
        Self { scale: vec![1.0; channels], shift: vec![0.0; channels] }
    }
}

impl Dataset {
    /// Sets the scaling of the features, from statistics of the training part alone. Default: none.
    #[must_use]
    pub fn normalize(mut self, how: Normalize) -> Self {
        let channels = self.shape[0];
        self.normalization = match how {
            Normalize::None => Normalization::none(channels),
            Normalize::Unit => Normalization { scale: vec![self.unit(); channels], shift: vec![0.0; channels] },
            Normalize::Channel => {
                let (scale, shift) = self.channels().map(|channel| channel.scaling()).unzip();
                Normalization { scale, shift }
            }
        };
        self
    }

    /// The factor of a raw value where it is shown: 1/255 for pixels, else 1.
    pub fn unit(&self) -> f64 {
        if matches!(self.train.features, Features::U8(_)) { 1.0 / 255.0 } else { 1.0 }
    }

    /// The mean and (population) deviation of the raw values of every channel of the training part.
    pub fn channel_statistics(&self) -> Vec<(f64, f64)> {
        self.channels().map(|channel| (channel.mean, channel.deviation)).collect()
    }

    /// The statistics of every channel of the training part.
    fn channels(&self) -> impl Iterator<Item = Channel> {
        let [channels, height, width] = self.shape;
        let (pixels, row, samples) = (height * width, self.width(), self.train.len());
        (0..channels).map(move |c| {
            let places =
                || (0..samples).flat_map(move |sample| (0..pixels).map(move |i| sample * row + c * pixels + i));
            Channel::of(|| places().map(|i| self.train.features.get(i)), (samples * pixels) as f64)
        })
    }

    /// Refuses normalised features above `largest`.
    ///
    /// # Errors
    /// [`Error::Data`] with the first feature above it.
    pub(crate) fn check_normalized(&self, largest: f64) -> Result<()> {
        let mut x = vec![0.0f64; self.width()];
        for samples in [Some(&self.train), self.validation.as_ref(), self.test.as_ref()].into_iter().flatten() {
            for row in 0..samples.len() {
                self.read_row(&samples.features, row, &mut x);
                if let Some(found) = x.iter().find(|x| x.abs() > largest) {
                    let text =
                        format!("expected normalised features up to {largest} in half precision, found {found:e}");
                    return Err(Error::data(&self.name, text));
                }
            }
        }
        Ok(())
    }

    /// The normalised features of one sample of a part: pixels as the `gather` kernel makes them, numbers as the host
    /// hands them to it.
    pub(crate) fn read_row<T: Real>(&self, features: &Features, row: usize, x: &mut [T]) {
        let range = row * self.width()..(row + 1) * self.width();
        match features {
            Features::U8(v) => self.scale_row(&v[range], x, scaled_pixel),
            Features::F32(v) => self.scale_row(&v[range], x, scaled_number),
            Features::F64(v) => self.scale_row(&v[range], x, scaled_number),
        }
    }

    /// One sample, scaled by `f` channel after channel.
    fn scale_row<T: Real, R: Copy>(&self, raw: &[R], x: &mut [T], f: impl Fn(R, f64, f64) -> T) {
        let pixels = self.shape[1] * self.shape[2];
        let Normalization { scale, shift } = &self.normalization;
        // Inlined where wide vectors are compiled, since elsewhere `fma` may be a call of a library.
        wide(
            #[inline(always)]
            || {
                let channels = x.chunks_mut(pixels).zip(raw.chunks(pixels)).zip(scale.iter().zip(shift));
                for ((x, raw), (&scale, &shift)) in channels {
                    for (x, &raw) in x.iter_mut().zip(raw) {
                        *x = f(raw, scale, shift);
                    }
                }
            },
        );
    }
}

/// A pixel, scaled in the engine's precision.
#[inline(always)]
fn scaled_pixel<T: Real>(raw: u8, scale: f64, shift: f64) -> T {
    T::of_u8(raw).fma(T::of(scale), T::of(shift))
}

/// A number, scaled in f64 and rounded once.
#[inline(always)]
fn scaled_number<T: Real, R: Real>(raw: R, scale: f64, shift: f64) -> T {
    T::of(raw.to_f64().mul_add(scale, shift))
}

/// The statistics of one channel.
struct Channel {
    mean: f64,
    deviation: f64,
    /// The largest magnitude of a value.
    largest: f64,
}

impl Channel {
    /// The statistics of `n` values, taken about the first one, so that a constant is exactly that, and in a unit in which
    /// squares neither overflow nor vanish.
    fn of<I: Iterator<Item = f64>>(values: impl Fn() -> I, n: f64) -> Self {
        let largest = values().fold(0.0, |max: f64, x| max.max(x.abs()));
        let first = values().next().unwrap_or(0.0);
        let unit = if largest == 0.0 || (1e-100..1e100).contains(&largest) { 1.0 } else { largest };
        let about = |x: f64| x / unit - first / unit;
        let mean = values().map(about).sum::<f64>() / n;
        let variance = values().map(|x| (about(x) - mean) * (about(x) - mean)).sum::<f64>() / n;
        Self { mean: first + mean * unit, deviation: variance.sqrt() * unit, largest }
    }

    /// The factor and summand that give the channel a mean of 0 and, unless it is constant, a deviation of 1.
    fn scaling(&self) -> (f64, f64) {
        let is_constant = self.deviation <= 16.0 * f64::EPSILON * self.largest;
        let scale = if is_constant { 1.0 } else { 1.0 / self.deviation };
        (scale, -self.mean * scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Samples;

    #[test]
    fn channels_are_centered_and_scaled() {
        let pixels: Vec<u8> = (0..48).map(|i| (i * 5) as u8).collect();
        let train = Samples::labelled(pixels, [0, 1, 2]);
        let data = Dataset::new("ramp", [2, 2, 4], train, None).unwrap().normalize(Normalize::Channel);
        for c in 0..2 {
            let mut all = Vec::new();
            for row in 0..3 {
                let mut x = [0f64; 16];
                data.read_row(&data.train.features, row, &mut x);
                all.extend_from_slice(&x[c * 8..][..8]);
            }
            let mean = all.iter().sum::<f64>() / 24.0;
            let variance = all.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 24.0;
            assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-12, "channel {c}: {mean} {variance}");
        }
    }

    #[test]
    fn a_constant_channel_becomes_zero() {
        let data =
            Dataset::new("table", [2, 1, 1], Samples::labelled(vec![3.0f32, 1.0, 3.0, 2.0], [0, 1]), None).unwrap();
        let data = data.normalize(Normalize::Channel);
        let mut x = [9f64; 2];
        data.read_row(&data.train.features, 1, &mut x);
        assert_eq!(x, [0.0, 1.0]);
    }

    /// The largest normalised value of a column of 1,000 rows, as a single-precision engine sees it.
    fn largest(column: impl Into<Features>) -> f32 {
        let data = Dataset::new("column", [1, 1, 1], Samples::labelled(column, vec![0; 1000]), None).unwrap();
        let data = data.normalize(Normalize::Channel);
        let mut x = [0f32; 1];
        (0..1000).fold(0.0, |max: f32, row| {
            data.read_row(&data.train.features, row, &mut x);
            max.max(x[0].abs())
        })
    }

    /// Means of decimal fractions round, and what is left of them is no deviation.
    #[test]
    fn a_column_is_constant_up_to_rounding() {
        for value in [0.3f64, 99.99, -1e-7, 1.7e12 + 0.1, 1e-200, 1e250] {
            assert_eq!(largest(vec![value; 1000]), 0.0, "{value}");
        }
        for value in [0.3f64, 99.99, -1e-7, 1.7e12 + 0.1] {
            let next = |i: u32| f64::from_bits(value.to_bits() + u64::from(i % 3));
            let off = largest((0..1000).map(next).collect::<Vec<f64>>());
            assert!(f64::from(off) <= 4.0 * f64::EPSILON * value.abs(), "{value} and its neighbours: {off}");
        }
        for value in [0.3f32, 99.99, 1e-30, 1e30] {
            assert_eq!(largest(vec![value; 1000]), 0.0, "{value}");
        }
    }

    /// A column of two values has them at -1 and 1, whatever their magnitude.
    #[test]
    fn a_small_spread_around_a_large_mean_survives() {
        for (low, high) in [(1.7e12, 1.7e12 + 6e4), (1e9, 1e9 + 0.5), (1e-250, 3e-250), (1e200, -1e200), (0.0, 1e-9)] {
            let off = largest((0..1000).map(|i| if i % 2 == 0 { low } else { high }).collect::<Vec<f64>>()) - 1.0;
            // The mean is off by half a place of the values at most, of which there are 1e9 in the spread or more.
            assert!(off.abs() <= 2.0 * f32::EPSILON, "{low} and {high}: {off}");
        }
        let (low, high) = (16_777_215f32, 16_777_216f32);
        assert_eq!(largest((0..1000).map(|i| if i % 2 == 0 { low } else { high }).collect::<Vec<f32>>()), 1.0);
    }

    /// One rounding, as the device's `fma` has it: a product that was rounded by itself has other bits.
    #[test]
    fn pixels_are_scaled_with_one_rounding() {
        let pixels: Vec<u8> = (0..=255).collect();
        let data = Dataset::new("pixels", [1, 1, 256], Samples::labelled(pixels, [0]), None).unwrap();
        let data = data.normalize(Normalize::Channel);
        let (scale, shift) = (data.normalization.scale[0] as f32, data.normalization.shift[0] as f32);
        let mut x = [0f32; 256];
        data.read_row(&data.train.features, 0, &mut x);
        assert!(x.iter().enumerate().all(|(i, &x)| x == (i as f32).mul_add(scale, shift)));
        assert!(x.iter().enumerate().any(|(i, &x)| x != i as f32 * scale + shift));
    }
}
