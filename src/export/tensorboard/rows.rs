//! The rows of a first layer's weight as pictures, where samples are pictures.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::messages::{Content, Image, Value};

/// The most units that are shown, the first ones, and how many of them stand side by side.
const MOST: usize = 64;
const COLUMNS: usize = 8;
/// The grey of what is 0, and the line between two pictures.
const ZERO: u8 = 128;
const LINE: u8 = 255;

/// The first rows of a weight of `[outputs, inputs]`, each as a picture of this shape, channels, height and width, in which 0 is
/// grey and the largest magnitude of the row black or white; of three channels in colour, of others their mean. Nothing where
/// samples are no pictures, or where rows are not finite.
pub(crate) fn picture_of_rows(tag: &str, weight: &[f64], shape: [usize; 3]) -> Option<Value> {
    let [channels, height, width] = shape;
    let inputs = channels * height * width;
    if height < 2 || width < 2 || weight.is_empty() || weight.iter().any(|w| !w.is_finite()) {
        return None;
    }
    let rows: Vec<&[f64]> = weight.chunks_exact(inputs).take(MOST).collect();
    let shown = if channels == 3 { 3 } else { 1 };
    let columns = rows.len().min(COLUMNS);
    let (sheet_height, sheet_width) = (rows.len().div_ceil(columns) * (height + 1) - 1, columns * (width + 1) - 1);
    let mut sheet = vec![LINE; sheet_height * sheet_width * shown];
    for (unit, row) in rows.iter().enumerate() {
        let (top, left) = (unit / columns * (height + 1), unit % columns * (width + 1));
        for (i, &byte) in picture(row, height * width, shown).iter().enumerate() {
            let (pixel, channel) = (i / shown, i % shown);
            let (y, x) = (top + pixel / width, left + pixel % width);
            sheet[(y * sheet_width + x) * shown + channel] = byte;
        }
    }
    let color = if shown == 3 { ExtendedColorType::Rgb8 } else { ExtendedColorType::L8 };
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(&sheet, sheet_width as u32, sheet_height as u32, color).ok()?;
    let (height, width, colorspace) = (sheet_height as i32, sheet_width as i32, shown as i32);
    Some(Value::new(tag, Content::Image(Image { height, width, colorspace, png })))
}

/// The bytes of a row's picture, pixel after pixel, each of so many channels.
fn picture(row: &[f64], pixels: usize, shown: usize) -> Vec<u8> {
    let channels = row.len() / pixels;
    let value = |pixel: usize, channel: usize| match shown {
        3 => row[channel * pixels + pixel],
        _ => (0..channels).map(|c| row[c * pixels + pixel]).sum::<f64>() / channels as f64,
    };
    let values: Vec<f64> = (0..pixels).flat_map(|pixel| (0..shown).map(move |c| value(pixel, c))).collect();
    let largest = values.iter().fold(f64::MIN_POSITIVE, |largest, w| largest.max(w.abs()));
    values.iter().map(|w| (f64::from(ZERO) + 127.0 * w / largest).round() as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nine units of 2×3 pixels in rows of eight, with lines between them; each scaled by its own largest weight.
    #[test]
    fn rows_stand_side_by_side() {
        let weight: Vec<f64> = (0..9).flat_map(|u| (0..6).map(move |i| f64::from(u * (i - 2)) / 7.0)).collect();
        let Some(Content::Image(image)) = picture_of_rows("w", &weight, [1, 2, 3]).unwrap().content else { panic!() };
        assert_eq!((image.height, image.width, image.colorspace), (5, 31, 1));
        let sheet = image::load_from_memory(&image.png).unwrap().to_luma8();
        let unit = |u: u32| {
            let (left, top) = (u % 8 * 4, u / 8 * 3);
            (0..6).map(|i| sheet.get_pixel(left + i % 3, top + i / 3).0[0]).collect::<Vec<_>>()
        };
        assert_eq!((unit(0), unit(1)), (vec![128; 6], vec![43, 86, 128, 170, 213, 255]));
        assert_eq!(unit(8), unit(1));
        assert_eq!((sheet.get_pixel(3, 0).0, sheet.get_pixel(0, 2).0, sheet.get_pixel(30, 4).0), ([255], [255], [255]));
    }

    #[test]
    fn three_channels_are_colours_and_others_their_mean() {
        let of = |weight: &[f64], channels| match picture_of_rows("w", weight, [channels, 2, 2])?.content {
            Some(Content::Image(image)) => Some(image::load_from_memory(&image.png).unwrap()),
            _ => None,
        };
        let colours = of(&[1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0], 3).unwrap().to_rgb8();
        assert_eq!(colours.into_raw(), [255, 128, 128, 128, 255, 128, 128, 128, 1, 128, 128, 128]);
        let grey = of(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, -2.0, 0.0], 2).unwrap();
        assert_eq!(grey.as_luma8().unwrap().as_raw(), &[255, 128, 1, 128]);
        assert!(picture_of_rows("w", &[1.0; 6], [6, 1, 1]).is_none());
        assert!(of(&[f64::NAN, 0.0, 0.0, 0.0], 1).is_none());
    }
}
