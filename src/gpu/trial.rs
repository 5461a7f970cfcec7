//! Whether a product in one form computes what it computes in the plain one: the results of both, side by side on the device.

use half::f16;
use wgpu::Buffer;

use super::builder::Builder;
use super::kernels::{Coefficients, Stored};
use super::program::{Op, Share};
use super::readback::read_words;
use crate::engine::stride;
use crate::error::Result;
use crate::number::{Purpose, Stream};

/// The number of rows of a trial: some tiles, and a part of one.
const ROWS: usize = 37;

/// A trial of a product, on the first replica.
pub(super) struct Trial<'a> {
    /// The operands that the product reads, filled at random.
    pub inputs: Vec<Operand<'a>>,
    /// The operand that the product makes, which is compared.
    pub result: Operand<'a>,
    /// The number of terms of its sums.
    pub terms: usize,
}

/// A buffer of rows, or of a vector of parameters.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    pub buffer: &'a Buffer,
    /// The width of the rows; none for a vector.
    pub width: Option<usize>,
    /// The memory in which its values lie.
    pub stored: Stored,
}

impl<'a> Operand<'a> {
    pub fn rows(buffer: &'a Buffer, width: usize, stored: Stored) -> Self {
        Self { buffer, width: Some(width), stored }
    }

    pub fn vector(buffer: &'a Buffer, stored: Stored) -> Self {
        Self { buffer, width: None, stored }
    }

    fn values(&self, builder: &Builder, rows: usize) -> usize {
        self.width.map_or(builder.layout.len, |width| rows * stride(width))
    }

    /// Fills the operand with uniform deviates in ±1, 0 in the padding of rows.
    fn fill(&self, builder: &Builder, rows: usize, seed: u64) {
        let mut stream = Stream::new(seed, Purpose::Verify, 0);
        let mut values: Vec<f32> =
            (0..self.values(builder, rows)).map(|_| (2.0 * stream.uniform() - 1.0) as f32).collect();
        if let Some(width) = self.width {
            values.chunks_exact_mut(stride(width)).for_each(|row| row[width..].fill(0.0));
        }
        let queue = &builder.gpu.queue;
        if self.stored == Stored::F32 {
            queue.write_buffer(self.buffer, 0, bytemuck::cast_slice(&values));
        } else {
            let halves: Vec<u16> = values.into_iter().map(|v| f16::from_f32(v).to_bits()).collect();
            queue.write_buffer(self.buffer, 0, bytemuck::cast_slice(&halves));
        }
    }

    fn read(&self, builder: &Builder, rows: usize) -> Result<Vec<f32>> {
        let bytes = self.values(builder, rows) as u64 * self.stored.bytes();
        let words = read_words(builder.gpu, self.buffer, 0, bytes)?;
        Ok(match self.stored {
            Stored::F32 => words.into_iter().map(f32::from_bits).collect(),
            _ => bytemuck::cast_slice::<u32, u16>(&words).iter().map(|&h| f16::from_bits(h).to_f32()).collect(),
        })
    }
}

impl Trial<'_> {
    /// Whether `op`, for passes of `rows` rows, makes what `plain` makes.
    ///
    /// Both are off from the exact sums by at most 4√n ε of the largest, and units that truncate by twice that; a half that
    /// is stored may be rounded either way.
    ///
    /// # Errors
    /// The device is lost.
    pub fn agrees(&self, builder: &Builder, op: &Op, plain: &Op, rows: u32) -> Result<bool> {
        let rows = ROWS.min(rows as usize);
        for (input, seed) in self.inputs.iter().zip(1..) {
            input.fill(builder, rows, seed);
        }
        // With these an update of any rule subtracts the gradient.
        let (step_size, gain, correction, eps, shrink) = (1.0, 1.0, 1.0, 1.0, 1.0);
        let one = Coefficients { step_size, gain, correction, eps, shrink, ..Coefficients::default() };
        let coefficients = vec![one; builder.setup.replicas];
        builder.gpu.queue.write_buffer(&builder.buffers.coefficients, 0, bytemuck::cast_slice(&coefficients));
        let want = self.run(builder, plain, rows)?;
        let got = self.run(builder, op, rows)?;
        let largest = want.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let sums = 16.0 * (self.terms as f32).sqrt() * f32::EPSILON;
        let storing = if self.result.stored == Stored::F32 { 0.0 } else { 2f32.powi(-9) };
        let tolerance = (sums + storing) * largest;
        // NaN is off.
        Ok(want.iter().zip(&got).all(|(want, got)| (want - got).abs() <= tolerance))
    }

    fn run(&self, builder: &Builder, op: &Op, rows: usize) -> Result<Vec<f32>> {
        builder.begin_pass(rows as u32);
        let mut encoder = builder.gpu.device.create_command_encoder(&Default::default());
        encoder.clear_buffer(self.result.buffer, 0, None);
        encoder.clear_buffer(&builder.buffers.state, 0, None);
        {
            let mut compute = encoder.begin_compute_pass(&Default::default());
            op.encode(&mut compute, &builder.step(), 0, rows as u32, Share::ALL);
        }
        builder.gpu.queue.submit([encoder.finish()]);
        let values = self.result.read(builder, rows)?;
        builder.gpu.check()?;
        Ok(values)
    }
}
