//! How features are scaled before the network sees them, and the statistics that say by how much.

use serde::{Deserialize, Serialize};

use super::{Dataset, Features};
use crate::error::{Error, Result};
use crate::number::{Real, wide};

/// The rule by which features are scaled before the network sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// A mean of 0 and a deviation of 1 over every channel of the training part; a constant channel is only centered.
    #[default]
    Channel,
    /// Pixels in `[0, 1]`: a u8 divided by 255, other values as they are.
    Unit,
    /// The values as they lie in the file.
    None,
}

/// The scaling of features: `x = raw · scale + shift`, one pair a channel.
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
                let (scale, shift) = self
                    .channel_statistics()
                    .into_iter()
                    .map(|(mean, deviation)| {
                        let scale = if deviation > 0.0 { 1.0 / deviation } else { 1.0 };
                        (scale, -mean * scale)
                    })
                    .unzip();
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
        let [channels, height, width] = self.shape;
        let (pixels, row) = (height * width, self.width());
        let each = |c: usize, f: &dyn Fn(f64) -> f64| {
            let mut sum = 0.0;
            for sample in 0..self.train.len() {
                for i in 0..pixels {
                    sum += f(self.train.features.get(sample * row + c * pixels + i));
                }
            }
            sum / (self.train.len() * pixels) as f64
        };
        (0..channels)
            .map(|c| {
                let mean = each(c, &|x| x);
                (mean, each(c, &|x| (x - mean) * (x - mean)).sqrt())
            })
            .collect()
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

    /// The normalised features of one sample of a part, the meaning of the `gather` kernel.
    pub(crate) fn read_row<T: Real>(&self, features: &Features, row: usize, x: &mut [T]) {
        let width = self.width();
        let pixels = self.shape[1] * self.shape[2];
        for (c, x) in x[..width].chunks_mut(pixels).enumerate() {
            let (scale, shift) = (T::of(self.normalization.scale[c]), T::of(self.normalization.shift[c]));
            let first = row * width + c * pixels;
            match features {
                Features::U8(v) => {
                    let raw = &v[first..];
                    wide(|| {
                        for (x, &raw) in x.iter_mut().zip(raw) {
                            *x = T::of_u8(raw) * scale + shift;
                        }
                    });
                }
                Features::F32(v) => {
                    for (x, &raw) in x.iter_mut().zip(&v[first..]) {
                        *x = T::of(f64::from(raw)) * scale + shift;
                    }
                }
                Features::F64(v) => {
                    for (x, &raw) in x.iter_mut().zip(&v[first..]) {
                        *x = T::of(raw) * scale + shift;
                    }
                }
            }
        }
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
}
