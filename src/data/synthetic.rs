//! A built-in set of images that needs no file.

use rayon::prelude::*;

use super::Samples;
use super::tables::{Table, Tables};
use crate::number::{Purpose, Stream};

const SIDE: usize = 32;
const CHANNELS: usize = 3;
const CLASSES: usize = 10;
const TRAIN: usize = 10_000;
const TEST: usize = 2_000;
/// The side of the grid on which a template is drawn, to be interpolated, so that it is smooth.
const GRID: usize = 4;

/// The amplitudes in grey levels, chosen so that after ten epochs a linear model is right about half of the time and
/// one hidden layer about nine times of ten.
const SHADE: f64 = 8.0;
const PATTERN: f64 = 13.0;
const CLUTTER: f64 = 30.0;
const NOISE: f64 = 20.0;

/// The built-in set: 12,000 images of 32×32×3 in ten classes.
///
/// Each class has a shade and a pattern, both smooth. An image is its class's shade plus its pattern with a random
/// sign, in clutter that is as smooth, and noise. The sign makes the mean of the pattern zero: a linear model sees the
/// faint shade alone, a hidden layer can take the pattern's magnitude.
pub(super) fn synthetic(seed: u64) -> Tables {
    let templates: Vec<[Vec<f64>; 2]> = (0..CLASSES as u64)
        .map(|class| [0, 1].map(|kind| template(&mut Stream::new(seed, Purpose::Template, 2 * class + kind))))
        .collect();
    let draw = |first: usize, n: usize| {
        let pixels: Vec<u8> = (first..first + n)
            .into_par_iter()
            .flat_map_iter(|sample| image(&templates[sample % CLASSES], seed, sample as u64))
            .collect();
        let labels = (first..first + n).map(|sample| (sample % CLASSES) as u32);
        Table::labelled(Samples::labelled(pixels, labels), [CHANNELS, SIDE, SIDE], "synthetic".into())
    };
    Tables { classes: Some(CLASSES), ..Tables::new(draw(0, TRAIN), Some(draw(TRAIN, TEST))) }
}

/// One image, channel after channel.
fn image([shade, pattern]: &[Vec<f64>; 2], seed: u64, sample: u64) -> Vec<u8> {
    let mut stream = Stream::new(seed, Purpose::Sample, sample);
    let sign = if stream.uniform() < 0.5 { -PATTERN } else { PATTERN };
    let clutter = template(&mut stream);
    let pixel = |((shade, pattern), clutter): ((&f64, &f64), &f64)| {
        // The sum of two uniform deviates has deviation 1/√6.
        let noise = (stream.uniform() + stream.uniform() - 1.0) * 6f64.sqrt();
        let value = 128.0 + SHADE * shade + sign * pattern + CLUTTER * clutter + NOISE * noise;
        value.round().clamp(0.0, 255.0) as u8
    };
    shade.iter().zip(pattern).zip(&clutter).map(pixel).collect()
}

/// A smooth random image of deviation about 1: normal deviates on a coarse grid, bilinearly interpolated.
fn template(stream: &mut Stream) -> Vec<f64> {
    let mut values = Vec::with_capacity(CHANNELS * SIDE * SIDE);
    for _ in 0..CHANNELS {
        let grid: Vec<f64> = (0..GRID * GRID).map(|_| 1.5 * stream.normal()).collect();
        let at = |position: usize| {
            let place = position as f64 * (GRID - 1) as f64 / (SIDE - 1) as f64;
            let cell = (place as usize).min(GRID - 2);
            (cell, place - cell as f64)
        };
        for row in 0..SIDE {
            let (y, v) = at(row);
            for column in 0..SIDE {
                let (x, u) = at(column);
                let corner = |dy: usize, dx: usize| grid[(y + dy) * GRID + x + dx];
                let upper = corner(0, 0) * (1.0 - u) + corner(0, 1) * u;
                let lower = corner(1, 0) * (1.0 - u) + corner(1, 1) * u;
                values.push(upper * (1.0 - v) + lower * v);
            }
        }
    }
    values
}
