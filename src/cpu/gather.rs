//! The twin of `gather.wgsl`.

use super::{Real, Training};
use crate::data::{Augment, Dataset, Features};
use crate::engine::stride;
use crate::number::hash::{self, Key};

/// The samples of a batch, `x[row] = fma(raw[order[row]], scale, shift)`: the normalised features of the samples that
/// `order` names, `(rows, stride(width))`, changed by `augment` in training; the padding becomes 0.
///
/// With mixup, `mix` receives for every row the sample it is mixed with, and its own share.
pub fn gather<T: Real>(
    dataset: &Dataset,
    features: &Features,
    order: &[u32],
    augment: Option<(&Augment, &[T], &Training)>,
    x: &mut [T],
    mix: &mut [(u32, T)],
) {
    let width = dataset.width();
    let (rows, mut other) = (order.len() as u32, Vec::new());
    for (row, (&sample, x)) in order.iter().zip(x.chunks_exact_mut(stride(width))).enumerate() {
        x[width..].fill(T::of(0.0));
        let x = &mut x[..width];
        dataset.read_row(features, sample as usize, x);
        let Some((augment, quantiles, training)) = augment else { continue };
        let position = training.first + row as u32;
        change(dataset, augment, training.key, position, x);
        if !quantiles.is_empty() {
            let [share, partner, ..] = training.key.draw(position, hash::MIXUP, 0);
            let (share, partner) = (quantile(quantiles, share), hash::below(partner, rows));
            other.resize(width, T::default());
            dataset.read_row(features, order[partner as usize] as usize, &mut other);
            change(dataset, augment, training.key, training.first + partner, &mut other);
            for (x, &other) in x.iter_mut().zip(&other) {
                *x = share * *x + (T::of(1.0) - share) * other;
            }
            mix[row] = (order[partner as usize], share);
        }
        if augment.noise > 0.0 {
            add_noise(T::of(augment.noise), training.key, position, x);
        }
    }
}

/// Crops, mirrors and cuts a normalised sample.
fn change<T: Real>(dataset: &Dataset, augment: &Augment, key: Key, position: u32, x: &mut [T]) {
    let [_, height, width] = dataset.shape;
    let pad = augment.pad;
    let [down, right, mirror, _] = key.draw(position, hash::CROP, 0);
    let is_mirrored = augment.flip && mirror >> 31 == 1;
    if pad > 0 || is_mirrored {
        let span = 2 * pad as u32 + 1;
        let (down, right) = (hash::below(down, span) as usize, hash::below(right, span) as usize);
        let whole = x.to_vec();
        for (c, channel) in x.chunks_exact_mut(height * width).enumerate() {
            let black = T::of(dataset.normalization.shift[c]);
            let whole = &whole[c * height * width..];
            for (y, line) in channel.chunks_exact_mut(width).enumerate() {
                let from_y = (y + down).wrapping_sub(pad);
                for (i, x) in line.iter_mut().enumerate() {
                    let from_x = (if is_mirrored { width - 1 - i } else { i } + right).wrapping_sub(pad);
                    let is_inside = from_y < height && from_x < width;
                    *x = if is_inside { whole[from_y * width + from_x] } else { black };
                }
            }
        }
    }
    if augment.cutout > 0 {
        let [centre_y, centre_x, ..] = key.draw(position, hash::CUTOUT, 0);
        let range = |centre: u32, size: usize| {
            let centre = hash::below(centre, size as u32) as usize;
            let half = augment.cutout / 2;
            centre.saturating_sub(half)..(centre + augment.cutout - half).min(size)
        };
        let (rows, columns) = (range(centre_y, height), range(centre_x, width));
        for channel in x.chunks_exact_mut(height * width) {
            for y in rows.clone() {
                channel[y * width..][columns.clone()].fill(T::of(0.0));
            }
        }
    }
}

/// The quantile function between its table's points.
fn quantile<T: Real>(quantiles: &[T], hash: u32) -> T {
    let at = hash::uniform(hash) * (quantiles.len() - 1) as f64;
    let i = at as usize;
    quantiles[i] + T::of(at - i as f64) * (quantiles[i + 1] - quantiles[i])
}

/// Adds normal deviates (Box and Muller, 1958), two pairs to four hashes.
fn add_noise<T: Real>(deviation: T, key: Key, position: u32, x: &mut [T]) {
    for (column, x) in x.chunks_mut(4).enumerate() {
        let h = key.draw(position, hash::NOISE, column as u32);
        for (pair, x) in x.chunks_mut(2).enumerate() {
            let radius = (T::of(-2.0) * T::of(1.0 - hash::uniform(h[2 * pair])).ln()).sqrt();
            let angle = std::f64::consts::TAU * hash::uniform(h[2 * pair + 1]) - std::f64::consts::PI;
            for (x, part) in x.iter_mut().zip([libm::cos(angle), libm::sin(angle)]) {
                *x += deviation * radius * T::of(part);
            }
        }
    }
}
