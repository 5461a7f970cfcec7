//! Picture files, brought to the shape of a data set's images.

use std::fs::File;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::imageops::{FilterType, resize};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, Luma, RgbImage};

use super::files;
use crate::error::{Error, Result};

/// The most bytes of a file that is taken for a picture.
const MOST_PACKED: u64 = 256 << 20;
/// The most bytes of pixels that a picture is unpacked to.
const MOST_UNPACKED: u64 = 1 << 30;
/// What a picture may unpack to: so many bytes for each packed one, and [`MOST_ANYWAY`] more. Deflate reaches 1,032; JPEG stays
/// below, with a bit for a block of one colour.
const MOST_RATIO: u64 = 1032;
/// See [`MOST_RATIO`].
const MOST_ANYWAY: u64 = 64 << 10;

/// A picture out of a file, brought to the shape of a data set's images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The file.
    pub path: PathBuf,
    /// The values of the pixels, 0 to 255, as those of a data set's image: `(channels, height, width)`.
    pub pixels: Vec<u8>,
    /// The picture that the file holds and what was done to it, in words, as `640 x 480 RGB: made grey, cropped to 480 x 480,
    /// resized to 28 x 28`.
    pub story: String,
}

impl Picture {
    /// Reads a PNG or JPEG file, and brings it to a shape of channels (1: grey, 3: RGB), height and width: turned as its EXIF
    /// says, rounded to 8 bits, without its alpha, grey as `0.299 R + 0.587 G + 0.114 B`; the largest part in the centre that has
    /// the proportions of the shape, resized by an antialiased bilinear filter. With torchvision, of a square shape, it is
    /// `Compose([CenterCrop(min(size)), Resize(side)])` of `ImageFolder`'s images. A picture of that very shape keeps its values.
    ///
    /// # Errors
    /// A file that cannot be read, that is no PNG or JPEG or not a whole one, that unpacks to more than 1,032 bytes for each of its
    /// own and 64 KiB, to more than 1 GiB, or has more than 256 MiB itself; a shape of other channels, or without a pixel.
    pub fn read(path: &Path, shape: [usize; 3]) -> Result<Self> {
        let [channels, height, width] = shape.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        if !matches!(channels, 1 | 3) || height == 0 || width == 0 {
            let found = format!("expected a shape of 1 or 3 channels to bring it to, found {shape:?}");
            return Err(Error::data(path, found));
        }
        let (mut picture, orientation) = decode(path)?;
        let mut story = format!("{} {}", size(picture.width(), picture.height()), kind(picture.color()));
        let mut steps = Vec::new();
        if orientation != Orientation::NoTransforms {
            picture.apply_orientation(orientation);
            steps.push("turned as its EXIF says".into());
        }
        let (x, y, part_width, part_height) = centre([picture.width(), picture.height()], [width, height]);
        let is_part = (part_width, part_height) != (picture.width(), picture.height());
        if is_part {
            picture = picture.crop_imm(x, y, part_width, part_height);
        }
        steps.extend(converted(picture.color(), channels));
        if is_part {
            steps.push(format!("cropped to {}", size(part_width, part_height)));
        }
        if (part_width, part_height) != (width, height) {
            steps.push(format!("resized to {}", size(width, height)));
        }
        let rgb = picture.into_rgb8();
        let values = match channels {
            1 => resize(&grey(&rgb), width, height, FilterType::Triangle).into_raw(),
            _ => resize(&rgb, width, height, FilterType::Triangle).into_raw(),
        };
        story += &if steps.is_empty() { ", as it is".into() } else { format!(": {}", steps.join(", ")) };
        Ok(Self { path: path.into(), pixels: planes(&values, shape[0]), story })
    }
}

/// The picture in a file, and how it is to be turned.
fn decode(path: &Path) -> Result<(DynamicImage, Orientation)> {
    let file = File::open(path).map_err(Error::io(path))?;
    let length = |head: &[u8]| format(path, head).map(|_| MOST_PACKED);
    let bytes = files::read_from(file, None, path, Error::io(path), length)?;
    if bytes.len() as u64 > MOST_PACKED {
        return Err(Error::data(path, format!("expected a picture of at most {MOST_PACKED} bytes, found more")));
    }
    let format = format(path, &bytes)?;
    let name = if format == ImageFormat::Png { "PNG" } else { "JPEG" };
    if format == ImageFormat::Jpeg && !has_end(&bytes) {
        return Err(Error::data(path, "expected a whole JPEG, found one that is cut off"));
    }
    let bad = |error: image::ImageError| Error::data(path, format!("expected a whole {name}, found: {error}"));
    let most = (MOST_RATIO * bytes.len() as u64 + MOST_ANYWAY).min(MOST_UNPACKED);
    let mut reader = ImageReader::with_format(Cursor::new(&bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(most);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(bad)?;
    let promised = decoder.total_bytes();
    if promised > most {
        let (width, height) = decoder.dimensions();
        let found = format!("found a header that promises {} pixels, {promised} bytes", size(width, height));
        let text = format!("expected at most {most} bytes out of {} packed ones, {found}", bytes.len());
        return Err(Error::data(path, text));
    }
    let orientation = decoder.orientation().map_err(bad)?;
    Ok((DynamicImage::from_decoder(decoder).map_err(bad)?, orientation))
}

/// The format of a file that begins with these bytes, whatever its name.
fn format(path: &Path, head: &[u8]) -> Result<ImageFormat> {
    let found = match image::guess_format(head) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => return Ok(format),
        Ok(format) => format!("{format:?}"),
        Err(_) if head.is_empty() => "an empty file".into(),
        Err(_) => "neither".into(),
    };
    Err(Error::data(path, format!("expected a PNG or a JPEG, found {found}")))
}

/// Whether a JPEG's last scan has an end: its decoder takes what is missing for grey. Within a scan no other byte than 0, or a
/// marker that belongs there, follows on 0xff.
fn has_end(bytes: &[u8]) -> bool {
    let marker = |code: u8| move |pair: &[u8]| pair == [0xff, code];
    let scan = bytes.windows(2).rposition(marker(0xda));
    scan.is_some_and(|scan| bytes[scan..].windows(2).any(marker(0xd9)))
}

/// The largest part in the centre of a picture of `[width, height]` that has the proportions of `wanted`: its left and upper edge,
/// its width and its height. A half is rounded to even, as in torchvision's `CenterCrop`.
fn centre([width, height]: [u32; 2], wanted: [u32; 2]) -> (u32, u32, u32, u32) {
    let [w, h] = wanted.map(f64::from);
    let along = |side: u32, ratio: f64| ((f64::from(side) * ratio).round() as u32).max(1);
    let (part_width, part_height) = (along(height, w / h).min(width), along(width, h / w).min(height));
    let edge = |all: u32, part: u32| (f64::from(all - part) / 2.0).round_ties_even() as u32;
    (edge(width, part_width), edge(height, part_height), part_width, part_height)
}

/// What becomes of the values of pixels, in words.
fn converted(color: ColorType, channels: u32) -> Vec<String> {
    let is_deep = color.bytes_per_pixel() > color.channel_count();
    let steps = [
        (is_deep, "rounded to 8 bits"),
        (color.has_alpha(), "alpha left out"),
        (color.has_color() && channels == 1, "made grey"),
        (!color.has_color() && channels == 3, "grey taken for each of RGB"),
    ];
    steps.into_iter().filter(|step| step.0).map(|step| step.1.into()).collect()
}

/// `RGB`, `grey with alpha`, `RGB of 16 bits`.
fn kind(color: ColorType) -> String {
    let colors = if color.has_color() { "RGB" } else { "grey" };
    let alpha = if color.has_alpha() { " with alpha" } else { "" };
    let bits = 8 * u16::from(color.bytes_per_pixel()) / u16::from(color.channel_count());
    let bits = if bits > 8 { format!(" of {bits} bits") } else { String::new() };
    format!("{colors}{alpha}{bits}")
}

/// `640 x 480`: width and height.
fn size(width: u32, height: u32) -> String {
    format!("{width} x {height}")
}

/// The luma of ITU-R BT.601, rounded as Pillow and torchvision do. A grey pixel keeps its value.
fn grey(rgb: &RgbImage) -> GrayImage {
    GrayImage::from_fn(rgb.width(), rgb.height(), |x, y| {
        let [r, g, b] = rgb.get_pixel(x, y).0.map(u32::from);
        Luma([((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8])
    })
}

/// The values pixel after pixel as values channel after channel.
fn planes(values: &[u8], channels: usize) -> Vec<u8> {
    (0..channels).flat_map(|channel| values.iter().skip(channel).step_by(channels)).copied().collect()
}
