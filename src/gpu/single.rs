//! Running one kernel by itself, on values from the host.

use wgpu::BufferUsages;

use super::adapter::Gpu;
use super::buffers::filled;
use super::kernels::{self, Coefficients, Kernel, Pass};
use super::readback::read_words;
use crate::error::Result;

/// What lies behind each buffer, where nothing may be written: NaN, as an f32 and as two halves, which tells of what is read
/// there as well.
const GUARD: [u32; 64] = [0x7fa5_7fa5; 64];

/// One dispatch of one kernel.
#[derive(Clone, Copy)]
pub struct Dispatch<'a> {
    /// The kernel that is dispatched.
    pub kernel: &'a Kernel,
    /// The entry point of the kernel; most have `main` alone.
    pub entry_point: &'a str,
    /// The override constants in place of the shader's defaults.
    pub constants: &'a [(&'a str, f64)],
    /// The arguments' bytes.
    pub args: &'a [u8],
    /// The pass, at binding 0 of group 1.
    pub pass: Pass,
    /// The coefficients, at binding 1 of group 1: (RING_ROWS, R). If it is empty, one of zeros is bound.
    pub coefficients: &'a [Coefficients],
    /// The workgroups in the three directions.
    pub grid: [u32; 3],
}

impl Dispatch<'_> {
    /// Binds `buffers` after the arguments, dispatches, and returns what the buffers hold afterwards.
    ///
    /// # Errors
    /// The device is lost, or refuses the shader; the kernel wrote behind a buffer, or, where `gpu` is one that
    /// [repeats](Gpu::repeating_with_checks) dispatches, has other bits with runtime checks.
    pub fn run(&self, gpu: &Gpu, buffers: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
        let got = self.run_kernel(gpu, self.kernel, buffers)?;
        if gpu.repeats
            && self.kernel.is_unchecked()
            && got != self.run_kernel(gpu, &self.kernel.with_checks(), buffers)?
        {
            return Err(gpu.error(format!("{} has other bits with runtime checks", self.kernel.name)));
        }
        Ok(got)
    }

    fn run_kernel(&self, gpu: &Gpu, kernel: &Kernel, buffers: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
        let device = &gpu.device;
        let buffer = |contents: &[u8], usage: BufferUsages| filled(gpu, kernel.name, contents, usage);
        let args = buffer(self.args, BufferUsages::STORAGE);
        let storage: Vec<_> = buffers
            .iter()
            .map(|words| buffer(bytemuck::cast_slice(&[words, &GUARD[..]].concat()), BufferUsages::STORAGE))
            .collect();
        let pass = buffer(bytemuck::bytes_of(&self.pass), BufferUsages::UNIFORM);
        let none = [Coefficients::default()];
        let coefficients = if self.coefficients.is_empty() { &none } else { self.coefficients };
        let coefficients = buffer(bytemuck::cast_slice(coefficients), BufferUsages::STORAGE);

        let step_layout = kernels::step_layout(gpu);
        let pipeline = kernel.compile(gpu, &step_layout, self.entry_point, self.constants);
        let measured = measured(&kernel.text());
        let part = |buffer, size| wgpu::BufferBinding { buffer, offset: 0, size: wgpu::BufferSize::new(size) };
        let bind = |layout: &wgpu::BindGroupLayout, parts: Vec<wgpu::BufferBinding>| {
            let entries: Vec<_> = (0..)
                .zip(parts)
                .map(|(binding, part)| wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(part) })
                .collect();
            device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
        };
        let mut parts = vec![part(&args, args.size())];
        for (buffer, binding) in storage.iter().zip(1..) {
            let guard = if measured == Some(binding) { size_of_val(&GUARD) as u64 } else { 0 };
            parts.push(part(buffer, buffer.size() - guard));
        }
        let own = bind(&pipeline.layout, parts);
        let step = bind(&step_layout, vec![part(&pass, pass.size()), part(&coefficients, coefficients.size())]);
        let mut encoder = device.create_command_encoder(&Default::default());
        {
            let mut compute = encoder.begin_compute_pass(&Default::default());
            compute.set_pipeline(&pipeline.pipeline);
            compute.set_bind_group(0, &own, &[]);
            compute.set_bind_group(1, &step, &[0]);
            compute.dispatch_workgroups(self.grid[0], self.grid[1], self.grid[2]);
        }
        gpu.queue.submit([encoder.finish()]);
        let mut all = Vec::new();
        for (i, (buffer, before)) in storage.iter().zip(buffers).enumerate() {
            let mut words = read_words(gpu, buffer, 0, buffer.size())?;
            if words.split_off(before.len()) != GUARD {
                return Err(gpu.error(format!("{} writes behind the end of its buffer {i}", kernel.name)));
            }
            all.push(words);
        }
        gpu.check()?;
        Ok(all)
    }
}

/// The binding whose length the kernel asks for, which is that of a vector, and must end before the guard.
fn measured(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("arrayLength(&")?;
    let name = format!(" {}:", rest.split(')').next()?);
    let line = text.lines().find(|line| line.starts_with("@group(0) @binding(") && line.contains(&name))?;
    line.split(['(', ')']).nth(3)?.parse().ok()
}
