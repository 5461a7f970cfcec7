//! The kernel that makes a batch.

use bytemuck::bytes_of;

use super::{Shape, dispatch, words};
use crate::cpu::{self, Training};
use crate::data::{Augment, Dataset, Features, Normalize, Samples, Targets};
use crate::engine::stride;
use crate::error::Result;
use crate::gpu::adapter::Gpu;
use crate::gpu::kernels::{self, Coefficients, GatherArgs, LANES, Pass, Stored};
use crate::gpu::single::Dispatch;
use crate::number::hash::Key;
use crate::number::{Purpose, Stream};
use crate::verify::{Check, EPS, uniform};

fn features(stream: &mut Stream, n: usize, bytes: bool) -> Features {
    if bytes {
        Features::U8((0..n).map(|_| stream.below(256) as u8).collect())
    } else {
        Features::F32(uniform(2, n, 3.0).into_iter().map(|x| x as f32).collect())
    }
}

/// The features as they lie on the device.
fn records(features: &Features, width: usize) -> Vec<u32> {
    match features {
        Features::U8(v) => v
            .chunks_exact(width)
            .flat_map(|row| {
                let mut row = row.to_vec();
                row.resize(stride(width), 0);
                bytemuck::pod_collect_to_vec(&row)
            })
            .collect(),
        Features::F32(v) => v.iter().map(|x| x.to_bits()).collect(),
        Features::F64(_) => Vec::new(),
    }
}

/// Exact up to the rounding of one product and one sum, which a GPU may fuse.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn gather(gpu: &Gpu, shape: Shape, bytes: bool) -> Result<Check> {
    let (n, width) = (29, shape.inputs);
    let mut stream = Stream::new(1, Purpose::Verify, 0);
    let features = features(&mut stream, n * width, bytes);
    let order: Vec<u32> = (0..shape.replicas * n).map(|_| stream.below(n as u64) as u32).collect();
    let labels = Targets::Labels(vec![0; n]);
    let data = Dataset::new("verify", [1, 1, width], Samples { features: features.clone(), targets: labels }, None)?
        .normalize(Normalize::Channel);
    let (scale, shift) = (data.normalization.scale[0], data.normalization.shift[0]);

    let (columns, record_words) = (stride(width), if bytes { stride(width) / 4 } else { width });
    let records = records(&features, width);
    let args = |first: usize, records: usize| GatherArgs {
        width: width as u32,
        columns: columns as u32 / 4,
        pixels: width as u32,
        record_words: record_words as u32,
        first_record: first as u32,
        records: records as u32,
        order_stride: n as u32,
        x_stride: (shape.room() * columns / 4) as u32,
        room: shape.room() as u32,
        image_width: 1,
        ..GatherArgs::default()
    };
    let pass = Pass { first: 7, ..shape.pass() };
    let aligned = f64::from(width.is_multiple_of(4));
    let constants = [("BYTES", f64::from(bytes)), ("ALIGNED", aligned), ("LANES", f64::from(LANES))];
    let grid = [(columns as u32 / 4).div_ceil(LANES), shape.rows as u32, shape.replicas as u32];
    let mut x = shape.untouched(columns);
    // The records lie in two buffers, as those of a large data set do.
    for (first, count) in [(0, 11), (11, n - 11)] {
        let piece = records[first * record_words..][..count * record_words].to_vec();
        let buffers = [piece, order.clone(), words(&[scale, shift]), vec![0; 4], x, vec![0; 4]];
        let args = args(first, count);
        x = dispatch(&shape.kernel(&kernels::gather), &constants, bytes_of(&args), pass, grid)
            .run(gpu, &buffers)?
            .swap_remove(4);
    }
    let want = shape.expect(columns, |r, x| {
        cpu::gather(&data, &features, &order[r * n + 7..][..shape.rows], None, x, &mut []);
    });
    let name = shape.name("gather", if bytes { " u8" } else { " f32" });
    // Scale and shift are rounded to f32, and so is each result: the product is at most |x| + |shift|.
    let bound = |x: f64| 2.0 * EPS * (x.abs() + shift.abs()) + shape.storing(x);
    Ok(Check::new(name, &shape.floats(&x), &want, bound))
}

/// Each change by itself, as far as it may go, and all together.
pub fn augmentations() -> [Augment; 7] {
    let none = Augment::default;
    [
        Augment { pad: 2, ..none() },
        Augment { flip: true, ..none() },
        Augment { cutout: 3, ..none() },
        Augment { cutout: 7, pad: 7, ..none() },
        Augment { mixup: 0.4, ..none() },
        Augment { noise: 0.5, ..none() },
        Augment { pad: 1, flip: true, cutout: 2, mixup: 1.0, noise: 0.1 },
    ]
}

/// Images of 2x5x7 whose records lie in two buffers: x, and what it was mixed of.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn gather_augmented(gpu: &Gpu, augment: &Augment, bytes: bool, stored: Stored) -> Result<[Check; 2]> {
    let (n, image) = (29, [2, 5, 7]);
    let width: usize = image.iter().product();
    let shape = Shape { replicas: 2, rows: 21, inputs: width, outputs: 1, stored };
    let mut stream = Stream::new(3, Purpose::Verify, 0);
    let features = features(&mut stream, n * width, bytes);
    let order: Vec<u32> = (0..shape.replicas * n).map(|_| stream.below(n as u64) as u32).collect();
    let train = Samples { features: features.clone(), targets: Targets::Labels(vec![0; n]) };
    let data = Dataset::new("verify", image, train, None)?.normalize(Normalize::Channel);
    let normalization = &data.normalization;
    let channels: Vec<f64> = normalization.scale.iter().zip(&normalization.shift).flat_map(|(&a, &b)| [a, b]).collect();
    let quantiles = augment.quantiles();
    let has_mixup = !quantiles.is_empty();

    let (columns, records) = (stride(width), records(&features, width));
    let record_words = records.len() / n;
    let first = 4;
    let pass = Pass { first, ..shape.pass() };
    let key = |r: usize| Key { seed: 5 + r as u32, step: 9 };
    let coefficients: Vec<Coefficients> = (0..shape.replicas)
        .map(|r| Coefficients { seed: key(r).seed, step: key(r).step, ..Coefficients::default() })
        .collect();
    let grid = [(columns as u32 / 4).div_ceil(LANES), shape.rows as u32, shape.replicas as u32];
    let (mut x, mut mix) = (shape.untouched(columns), vec![0; shape.replicas * shape.room() * 2]);
    let partners: &[f64] = if has_mixup { &[0.0, 1.0] } else { &[0.0] };
    for (&partner, (start, count)) in partners.iter().flat_map(|p| [(0, 11), (11, n - 11)].map(|piece| (p, piece))) {
        let args = GatherArgs {
            width: width as u32,
            columns: columns as u32 / 4,
            pixels: (image[1] * image[2]) as u32,
            record_words: record_words as u32,
            first_record: start as u32,
            records: count as u32,
            order_stride: n as u32,
            x_stride: (shape.room() * columns / 4) as u32,
            room: shape.room() as u32,
            image_width: image[2] as u32,
            pad: augment.pad as u32,
            flip: u32::from(augment.flip),
            cutout: augment.cutout as u32,
            noise: augment.noise as f32,
        };
        let constants = [
            ("BYTES", f64::from(bytes)),
            ("AUGMENT", 1.0),
            ("MIXUP", f64::from(has_mixup)),
            ("PARTNER", partner),
            ("LANES", f64::from(LANES)),
        ];
        let piece = records[start * record_words..][..count * record_words].to_vec();
        let table = if has_mixup { words(&quantiles) } else { vec![0; 4] };
        let buffers = [piece, order.clone(), words(&channels), table, x, mix];
        let kernel = shape.kernel(&kernels::gather);
        let kernel = dispatch(&kernel, &constants, bytes_of(&args), pass, grid);
        let mut got = Dispatch { coefficients: &coefficients, ..kernel }.run(gpu, &buffers)?;
        (mix, x) = (got.swap_remove(5), got.swap_remove(4));
    }

    let mut mixes = vec![(0, 0.0); shape.rows];
    let mut want_mix = Vec::new();
    let want = shape.expect(columns, |r, x| {
        let order = &order[r * n + first as usize..][..shape.rows];
        let training = Training { key: key(r), first, statistics: 0.0, is_drawn: true };
        cpu::gather(&data, &features, order, Some((augment, &quantiles[..], &training)), x, &mut mixes);
        want_mix.extend(mixes.iter().flat_map(|&(partner, share)| [f64::from(partner), share]));
    });
    let mut got_mix = Vec::new();
    for row in mix.chunks_exact(2 * shape.room()).flat_map(|rows| rows[..2 * shape.rows].chunks_exact(2)) {
        got_mix.extend([f64::from(row[0]), f64::from(f32::from_bits(row[1]))]);
    }
    if !has_mixup {
        (got_mix, want_mix) = (vec![0.0], vec![0.0]);
    }
    let name = format!("gather {stored:?} {} {augment:?}", if bytes { "u8" } else { "f32" }).to_lowercase();
    // As without changes; mixing rounds thrice, on values below 4. A normal deviate is a radius below 5.8 times a cosine
    // that WGSL wants within 2⁻¹¹, and near 0 the root of a logarithm within 2⁻²¹.
    let normal = augment.noise * (5.8 * 2f64.powi(-11) + 2f64.powf(-10.0));
    // In halves, mixing stores twice, the first part of it alone.
    let stores = 2.0 * (shape.storing(4.0) * f64::from(has_mixup));
    let tolerance = move |x: f64| 4.0 * EPS * (4.0 + x.abs()) + normal + shape.storing(x) + stores;
    Ok([
        Check::new(name.clone(), &shape.floats(&x), &want, tolerance),
        Check::new(format!("{name} mix"), &got_mix, &want_mix, |_| 4.0 * EPS),
    ])
}
