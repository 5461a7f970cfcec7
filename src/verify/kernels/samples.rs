//! The kernel that makes a batch.

use std::ops::Range;

use bytemuck::bytes_of;

use super::{Shape, dispatch, words};
use crate::cpu::{self, Training};
use crate::data::{Augment, Dataset, Features, Normalize, Samples};
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

/// The features as they lie on the device: pixels as bytes, numbers normalised.
fn records(data: &Dataset) -> Vec<u32> {
    let (features, width) = (&data.train.features, data.width());
    let Features::U8(pixels) = features else {
        let mut x = vec![0.0f32; SAMPLES * width];
        x.chunks_exact_mut(width).enumerate().for_each(|(row, x)| data.read_row(features, row, x));
        return x.into_iter().map(f32::to_bits).collect();
    };
    let padded = |row: &[u8]| {
        let mut row = row.to_vec();
        row.resize(stride(width), 0);
        bytemuck::pod_collect_to_vec(&row)
    };
    pixels.chunks_exact(width).flat_map(padded).collect()
}

/// The number of samples of the data set that batches are made of.
const SAMPLES: usize = 29;

/// A batch to be made for each replica, of samples in an order of its own.
struct Batch {
    shape: Shape,
    data: Dataset,
    order: Vec<u32>, // (replicas, SAMPLES)
    /// The batch's first position in the order.
    first: u32,
    augment: Augment,
    /// The points of the quantile function of mixup's shares; none without mixup.
    quantiles: Vec<f64>,
}

impl Batch {
    fn new(shape: Shape, image: [usize; 3], bytes: bool, seed: u64, first: u32, augment: Augment) -> Result<Self> {
        let mut stream = Stream::new(seed, Purpose::Verify, 0);
        let features = features(&mut stream, SAMPLES * shape.inputs, bytes);
        let order = (0..shape.replicas * SAMPLES).map(|_| stream.below(SAMPLES as u64) as u32).collect();
        let train = Samples::labelled(features, [0; SAMPLES]);
        let data = Dataset::new("verify", image, train, None)?.normalize(Normalize::Channel);
        Ok(Self { shape, data, order, first, quantiles: augment.quantiles(), augment })
    }

    fn columns(&self) -> usize {
        stride(self.shape.inputs)
    }

    fn has_mixup(&self) -> bool {
        !self.quantiles.is_empty()
    }

    /// The samples of replica r's batch.
    fn order(&self, r: usize) -> &[u32] {
        &self.order[r * SAMPLES + self.first as usize..][..self.shape.rows]
    }

    /// The key of replica r's random numbers.
    fn key(r: usize) -> Key {
        Key { seed: 5 + r as u32, step: 9 }
    }

    fn args(&self, record_words: usize, records: &Range<usize>) -> GatherArgs {
        let [_, height, width] = self.data.shape;
        let columns = self.columns();
        GatherArgs {
            width: self.shape.inputs as u32,
            columns: columns as u32 / 4,
            pixels: (height * width) as u32,
            record_words: record_words as u32,
            first_record: records.start as u32,
            records: records.len() as u32,
            order_stride: SAMPLES as u32,
            x_stride: (self.shape.room() * columns / 4) as u32,
            room: self.shape.room() as u32,
            image_width: width as u32,
            pad: self.augment.pad as u32,
            flip: u32::from(self.augment.flip),
            cutout: self.augment.cutout as u32,
        }
    }

    /// The x and mix that the kernel makes. The records lie in two buffers, as those of a large data set do.
    fn run(&self, gpu: &Gpu, constants: &[(&str, f64)], [mut x, mut mix]: [Vec<u32>; 2]) -> Result<[Vec<u32>; 2]> {
        let shape = self.shape;
        let records = records(&self.data);
        let record_words = records.len() / SAMPLES;
        let normalization = self.data.normalization.scale.iter().zip(&self.data.normalization.shift);
        let channels: Vec<f64> = normalization.flat_map(|(&scale, &shift)| [scale, shift]).collect();
        let table = if self.has_mixup() { words(&self.quantiles) } else { vec![0; 4] };
        let noise = self.augment.noise as f32;
        let coefficients =
            |r| Coefficients { seed: Self::key(r).seed, step: Self::key(r).step, noise, ..Default::default() };
        let coefficients: Vec<Coefficients> = (0..shape.replicas).map(coefficients).collect();
        let pass = Pass { first: self.first, ..shape.pass() };
        let grid = [(self.columns() as u32 / 4).div_ceil(LANES), shape.rows as u32, shape.replicas as u32];
        let kernel = shape.kernel(&kernels::gather);
        for piece in [0..11, 11..SAMPLES] {
            let args = self.args(record_words, &piece);
            let piece = records[piece.start * record_words..piece.end * record_words].to_vec();
            let buffers = [piece, self.order.clone(), words(&channels), table.clone(), x, mix];
            let dispatch = dispatch(&kernel, constants, bytes_of(&args), pass, grid);
            let mut got = Dispatch { coefficients: &coefficients, ..dispatch }.run(gpu, &buffers)?;
            (mix, x) = (got.swap_remove(5), got.swap_remove(4));
        }
        Ok([x, mix])
    }
}

/// The check of `gather`, which is exact up to the rounding of one product and one sum, which a GPU may leave unfused.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn gather(gpu: &Gpu, shape: Shape, bytes: bool) -> Result<Check> {
    let batch = Batch::new(shape, [1, 1, shape.inputs], bytes, 1, 7, Augment::default())?;
    let aligned = f64::from(shape.inputs.is_multiple_of(4));
    let constants = [("BYTES", f64::from(bytes)), ("ALIGNED", aligned), ("LANES", f64::from(LANES))];
    let [x, _] = batch.run(gpu, &constants, [shape.untouched(batch.columns()), vec![0; 4]])?;
    let want = shape.expect(batch.columns(), |r, x| {
        cpu::gather(&batch.data, &batch.data.train.features, batch.order(r), None, x, &mut []);
    });
    let name = shape.name("gather", if bytes { " u8" } else { " f32" });
    // Scale and shift are rounded to f32, and so is each result: the product is at most |x| + |shift|.
    let shift = batch.data.normalization.shift[0];
    let bound = |x: f64| 2.0 * EPS * (x.abs() + shift.abs()) + shape.storing(x);
    Ok(Check::new(name, &shape.floats(&x), &want, bound))
}

/// The augmentations that are checked: each change by itself, as far as it may go, and all together.
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

/// The checks of `gather` with augmentation of images of 2x5x7: x, and what it was mixed of.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn gather_augmented(gpu: &Gpu, augment: &Augment, bytes: bool, stored: Stored) -> Result<[Check; 2]> {
    let image = [2, 5, 7];
    let shape = Shape { replicas: 2, rows: 21, inputs: image.iter().product(), outputs: 1, stored };
    let batch = Batch::new(shape, image, bytes, 3, 4, augment.clone())?;
    let has_mixup = batch.has_mixup();
    let mut got = [shape.untouched(batch.columns()), vec![0; shape.replicas * shape.room() * 2]];
    let partners: &[f64] = if has_mixup { &[0.0, 1.0] } else { &[0.0] };
    for &partner in partners {
        let constants = [
            ("BYTES", f64::from(bytes)),
            ("AUGMENT", 1.0),
            ("MIXUP", f64::from(has_mixup)),
            ("PARTNER", partner),
            ("LANES", f64::from(LANES)),
        ];
        got = batch.run(gpu, &constants, got)?;
    }
    let [x, mix] = got;
    let (want, want_mix) = expect_augmented(&batch);

    let name = format!("gather {stored:?} {} {augment:?}", if bytes { "u8" } else { "f32" }).to_lowercase();
    // As without changes; mixing rounds thrice, on values below 4. A normal deviate is a radius below 5.8 times a cosine
    // that WGSL wants within 2⁻¹¹, and near 0 the root of a logarithm within 2⁻²¹.
    let normal = augment.noise * (5.8 * 2f64.powi(-11) + 2f64.powf(-10.0));
    // In halves, mixing stores twice, the first part of it alone.
    let stores = 2.0 * (shape.storing(4.0) * f64::from(has_mixup));
    let tolerance = move |x: f64| 4.0 * EPS * (4.0 + x.abs()) + normal + shape.storing(x) + stores;
    let mix = if has_mixup { [mixed(shape, &mix), want_mix] } else { [vec![0.0], vec![0.0]] };
    Ok([
        Check::new(name.clone(), &shape.floats(&x), &want, tolerance),
        Check::new(format!("{name} mix"), &mix[0], &mix[1], |_| 4.0 * EPS),
    ])
}

/// The twin's x, and for every row the other sample and its own share.
fn expect_augmented(batch: &Batch) -> (Vec<f64>, Vec<f64>) {
    let (mut mixes, mut mix) = (vec![(0, 0.0); batch.shape.rows], Vec::new());
    let x = batch.shape.expect(batch.columns(), |r, x| {
        let training = Training { key: Batch::key(r), first: batch.first, statistics: 0.0, is_drawn: true };
        let augment = Some((&batch.augment, &batch.quantiles[..], &training));
        cpu::gather(&batch.data, &batch.data.train.features, batch.order(r), augment, x, &mut mixes);
        mix.extend(mixes.iter().flat_map(|&(partner, share)| [f64::from(partner), share]));
    });
    (x, mix)
}

/// The other sample and the own share of every row, as the device has them.
fn mixed(shape: Shape, mix: &[u32]) -> Vec<f64> {
    let rows = mix.chunks_exact(2 * shape.room()).flat_map(|rows| rows[..2 * shape.rows].chunks_exact(2));
    rows.flat_map(|row| [f64::from(row[0]), f64::from(f32::from_bits(row[1]))]).collect()
}
