//! Small pictures, many of them as one PNG.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use serde_json::{Value, json};

use crate::data::{Dataset, Features};
use crate::error::{Error, Result};

/// The largest height and width of a picture that is shown as it is; of a larger one, means of whole pixels are.
const MOST_SIDE: usize = 64;
/// The most bytes of all pictures of samples.
const MOST_BYTES: usize = 96 << 10;

/// Whether samples of this shape, channels, height and width, are pictures.
pub fn are_pictures([_, height, width]: [usize; 3]) -> bool {
    height > 1 && width > 1
}

/// The form in which values of a shape are shown.
#[derive(Clone, Copy)]
pub struct Form {
    shape: [usize; 3],
    /// 3, red, green and blue, or 1, the mean of all channels.
    channels: usize,
    /// The number of rows and of columns that are shown as one.
    block: usize,
    height: usize,
    width: usize,
}

impl Form {
    /// The form of pictures of this shape.
    pub fn of(shape: [usize; 3]) -> Self {
        let [channels, height, width] = shape;
        let block = height.max(width).div_ceil(MOST_SIDE);
        let channels = if channels == 3 { 3 } else { 1 };
        Self { shape, channels, block, height: height.div_ceil(block), width: width.div_ceil(block) }
    }

    /// The bytes of a picture.
    pub fn bytes(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The pixels of a picture, row after row, out of the value at each place of the shape; each is the mean of what it stands for.
    pub fn pixels(&self, value: impl Fn(usize) -> f64, byte: impl Fn(f64) -> u8) -> Vec<u8> {
        let [channels, height, width] = self.shape;
        let range = |i: usize, most: usize| i * self.block..((i + 1) * self.block).min(most);
        let mut pixels = Vec::with_capacity(self.bytes());
        for (y, x) in (0..self.height).flat_map(|y| (0..self.width).map(move |x| (y, x))) {
            for shown in 0..self.channels {
                let seen = if self.channels == 3 { shown..shown + 1 } else { 0..channels };
                let (mut sum, mut count) = (0.0, 0.0);
                for c in seen {
                    for row in range(y, height) {
                        for column in range(x, width) {
                            sum += value((c * height + row) * width + column);
                            count += 1.0;
                        }
                    }
                }
                pixels.push(byte(sum / count));
            }
        }
        pixels
    }

    /// Pictures of this form, side by side in rows, as a PNG with its measures, packed by this filter.
    ///
    /// # Errors
    /// Too little memory.
    pub fn sheet(&self, pictures: &[Vec<u8>], filter: FilterType) -> Result<Value> {
        let columns = (pictures.len() as f64).sqrt().ceil() as usize;
        let line = self.channels * self.width;
        let rows = pictures.len().div_ceil(columns.max(1));
        let mut pixels = vec![0; rows * columns * self.bytes()];
        for (i, picture) in pictures.iter().enumerate() {
            let first = (i / columns) * self.height * columns * line + i % columns * line;
            for (y, row) in picture.chunks_exact(line).enumerate() {
                pixels[first + y * columns * line..][..line].copy_from_slice(row);
            }
        }
        let color = if self.channels == 3 { ExtendedColorType::Rgb8 } else { ExtendedColorType::L8 };
        let mut png = Vec::new();
        let encoder = PngEncoder::new_with_quality(&mut png, CompressionType::Best, filter);
        encoder.write_image(&pixels, (columns * self.width) as u32, (rows * self.height) as u32, color).map_err(
            |error| Error::data("pictures", format!("expected pictures that can be written, found: {error}")),
        )?;
        let png = format!("data:image/png;base64,{}", STANDARD.encode(png));
        Ok(json!({ "png": png, "width": self.width, "height": self.height, "columns": columns }))
    }
}

/// The most samples of a data set whose pictures are shown; all, where they are none.
pub fn most(dataset: &Dataset) -> usize {
    if !are_pictures(dataset.shape) {
        return usize::MAX;
    }
    (MOST_BYTES / Form::of(dataset.shape).bytes()).max(1)
}

/// The pictures of some samples as a sheet. What are no bytes is shown from black for the least value to white for the largest of all
/// these samples, or for 0 and 1 where all lie within.
///
/// # Errors
/// Too little memory.
pub fn of_samples(dataset: &Dataset, features: &Features, samples: &[usize]) -> Result<Value> {
    let (form, width) = (Form::of(dataset.shape), dataset.width());
    let values = || samples.iter().flat_map(|&sample| (0..width).map(move |i| features.get(sample * width + i)));
    let (low, high) = match features {
        Features::U8(_) => (0.0, 255.0),
        _ => values().fold((0.0f64, 1.0f64), |(low, high), x| (low.min(x), high.max(x))),
    };
    let byte = |x: f64| (255.0 * (x - low) / (high - low)).round() as u8;
    let picture = |&sample: &usize| form.pixels(|i| features.get(sample * width + i), byte);
    form.sheet(&samples.iter().map(picture).collect::<Vec<_>>(), FilterType::Adaptive)
}
