//! Picture files, and what they are brought to.

use crate::common;

use std::path::Path;

use common::files::write;
use common::python::python;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde_json::Value;
use tempfile::TempDir;
use thalweg::data::Picture;

const RGB: ExtendedColorType = ExtendedColorType::Rgb8;
const GREY: ExtendedColorType = ExtendedColorType::L8;

fn png(color: ExtendedColorType, [width, height]: [u32; 2], values: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(values, width, height, color).unwrap();
    bytes
}

fn jpeg(color: ExtendedColorType, [width, height]: [u32; 2], values: &[u8], exif: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 100);
    if !exif.is_empty() {
        encoder.set_exif_metadata(exif).unwrap();
    }
    encoder.write_image(values, width, height, color).unwrap();
    bytes
}

fn read(path: &str, shape: [usize; 3]) -> Result<Picture, String> {
    Picture::read(Path::new(path), shape).map_err(|error| error.to_string())
}

/// Values without a pattern.
fn noise(n: usize) -> Vec<u8> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A picture of the shape keeps its values, channel after channel; others are brought to it, which is said.
#[test]
fn what_is_done_is_said() {
    let dir = TempDir::new().unwrap();
    let of = |color, size: [u32; 2], values: &[u8], shape| {
        let picture = read(&write(&dir, "p", png(color, size, values)), shape).unwrap();
        (picture.pixels, picture.story)
    };
    let rgb = [1, 2, 3, 11, 12, 13];
    assert_eq!(of(RGB, [2, 1], &rgb, [3, 1, 2]), (vec![1, 11, 2, 12, 3, 13], "2 x 1 RGB, as it is".into()));
    let grey = "2 x 1 grey: grey taken for each of RGB";
    assert_eq!(of(GREY, [2, 1], &[7, 9], [3, 1, 2]), (vec![7, 9, 7, 9, 7, 9], grey.into()));
    // 0.299 · 255 = 76.2, 0.587 · 255 = 149.7, 0.114 · 255 = 29.1.
    let primary = [255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255];
    assert_eq!(of(RGB, [4, 1], &primary, [1, 1, 4]), (vec![76, 150, 29, 255], "4 x 1 RGB: made grey".into()));
    // The centre of a row of three is kept, the pixels beside it are not seen.
    let said = "3 x 1 RGB with alpha: alpha left out, made grey, cropped to 1 x 1, resized to 2 x 2";
    let row = [[255; 4], [50, 50, 50, 0], [255; 4]].concat();
    assert_eq!(of(ExtendedColorType::Rgba8, [3, 1], &row, [1, 2, 2]), (vec![50; 4], said.into()));
    // 16 bits are rounded: 257 v + 128 is still v, and 257 v + 129 is v + 1.
    let deep: Vec<u8> = [257 * 9 + 128, 257 * 9 + 129u16].iter().flat_map(|v| v.to_ne_bytes()).collect();
    let said = "2 x 1 grey of 16 bits: rounded to 8 bits";
    assert_eq!(of(ExtendedColorType::L16, [2, 1], &deep, [1, 1, 2]), (vec![9, 10], said.into()));
    // The name says nothing.
    let named = write(&dir, "picture.txt", png(GREY, [2, 1], &[7, 9]));
    assert_eq!(read(&named, [1, 1, 2]).unwrap().pixels, [7, 9]);
    for shape in [[2, 4, 4], [4, 4, 4], [1, 0, 4]] {
        let error = read(&named, shape).unwrap_err();
        assert!(error.ends_with(&format!("expected a shape of 1 or 3 channels to bring it to, found {shape:?}")));
    }
}

/// EXIF's orientation, of which every camera makes use: 6 is "turn clockwise".
#[test]
fn a_picture_is_turned_as_its_exif_says() {
    let dir = TempDir::new().unwrap();
    let exif = |orientation: u8| {
        [&b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[orientation, 0, 0, 0, 0, 0, 0, 0]].concat()
    };
    // Upper left white, upper right grey, the lower half black, each of 8 x 8.
    let values: Vec<u8> = (0..16 * 16).map(|i| [[255, 128], [0, 0]][i / 128][i / 8 % 2]).collect();
    let corners = |orientation| {
        let path = write(&dir, "p.jpg", jpeg(GREY, [16, 16], &values, exif(orientation)));
        let Picture { pixels, story, .. } = read(&path, [1, 16, 16]).unwrap();
        ([pixels[0], pixels[15], pixels[240], pixels[255]].map(|v| (f64::from(v) / 128.0).round() as u8), story)
    };
    assert_eq!(corners(1), ([2, 1, 0, 0], "16 x 16 grey, as it is".into()));
    assert_eq!(corners(6), ([0, 2, 0, 1], "16 x 16 grey: turned as its EXIF says".into()));
    assert_eq!(corners(2).0, [1, 2, 0, 0]);
    assert_eq!(corners(8).0, [1, 0, 2, 0]);
}

/// Quality 100 divides by 1: each of a block's 64 coefficients is off by half at most, so a pixel by at most `½ · √64 · 1 = 4`, the
/// transform being orthonormal. Rounding of both transforms adds at most 1 each.
#[test]
fn a_jpeg_is_close() {
    let dir = TempDir::new().unwrap();
    let values = noise(24 * 16);
    let path = write(&dir, "p.jpg", jpeg(GREY, [24, 16], &values, Vec::new()));
    let picture = read(&path, [1, 16, 24]).unwrap();
    let worst = picture.pixels.iter().zip(&values).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(worst <= 6, "{worst}");
}

/// Pillow rounds between its two passes, so an average of values that are off by ½ at most, and both round the last: a value is off by
/// at most 1. Where nothing is resized, none is.
#[test]
fn pictures_are_what_pillow_makes_of_them() {
    let dir = TempDir::new().unwrap();
    let Some(text) = python(dir.path(), "pictures.py", &[]) else { return };
    let mut compared = 0;
    for line in text.lines() {
        let wanted: Value = serde_json::from_str(line).unwrap();
        let (name, shape) = (wanted["file"].as_str().unwrap(), wanted["shape"].as_array().unwrap());
        let shape: Vec<usize> = shape.iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let picture = Picture::read(&dir.path().join(name), shape[..].try_into().unwrap()).unwrap();
        let values = wanted["values"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u8);
        assert_eq!(values.len(), picture.pixels.len());
        let worst = picture.pixels.iter().zip(values).map(|(a, b)| a.abs_diff(b)).max().unwrap();
        let most = u8::from(picture.story.contains("resized"));
        assert!(worst <= most, "{name} as {shape:?}: {worst} off; {}", picture.story);
        compared += 1;
    }
    assert_eq!(compared, 7 * 5);
}

/// What is cut off, is no picture, or promises more than it holds is told in a line that names the file.
#[test]
fn broken_files_are_refused() {
    let dir = TempDir::new().unwrap();
    let values = noise(40 * 40 * 3);
    let whole = [png(RGB, [40, 40], &values), jpeg(RGB, [40, 40], &values, Vec::new())];
    for (whole, name) in whole.iter().zip(["PNG", "JPEG"]) {
        assert!(read(&write(&dir, "whole", whole), [3, 40, 40]).is_ok());
        // The last chunk of a PNG, 12 bytes, and a mark of 2 bytes behind a JPEG hold no pixels.
        for length in (1..whole.len() - 20).step_by(7).chain([whole.len() - 20, whole.len() - 13, whole.len() - 1]) {
            let result = read(&write(&dir, "cut", &whole[..length]), [3, 40, 40]);
            if let Ok(picture) = &result {
                assert!(name == "PNG" && length >= whole.len() - 12, "{length} of {} bytes", whole.len());
                assert_eq!(picture.pixels.len(), 4800);
                continue;
            }
            let error = result.unwrap_err();
            let is_told =
                error.contains("expected a whole ") || error.contains("expected a PNG or a JPEG, found neither");
            assert!(is_told && error.contains("cut: ") && !error.contains('\n'), "{name} of {length} bytes: {error}");
        }
    }
    for (bytes, found) in [
        (&b""[..], "an empty file"),
        (b"GIF89a\x01\0\x01\0", "Gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
        (b"index,label", "neither"),
    ] {
        let path = write(&dir, "other.png", bytes);
        let wanted = format!("{path}: expected a PNG or a JPEG, found {found}");
        assert_eq!(read(&path, [1, 8, 8]).unwrap_err(), wanted);
    }
    let error = read(&write(&dir, "page.png", "<!DOCTYPE html>"), [1, 8, 8]).unwrap_err();
    assert!(error.contains("page.png: expected data, found an HTML page"), "{error}");
    for missing in [dir.path().join("none.png"), dir.path().to_path_buf()] {
        let error = read(missing.to_str().unwrap(), [1, 8, 8]).unwrap_err();
        assert!(error.starts_with(&missing.display().to_string()), "{error}");
    }
    // A header of 60,000 x 60,000 pixels, its checksum right.
    let mut bomb = whole[0].clone();
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let sum = crc32fast::hash(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&sum.to_be_bytes());
    let error = read(&write(&dir, "bomb.png", &bomb), [3, 8, 8]).unwrap_err();
    let most = 1032 * bomb.len() + (64 << 10);
    let promise = "found a header that promises 60000 x 60000 pixels, 10800000000 bytes";
    let wanted = format!("bomb.png: expected at most {most} bytes out of {} packed ones, {promise}", bomb.len());
    assert!(error.ends_with(&wanted), "{error}");
}
