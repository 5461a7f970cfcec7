//! Running one kernel by itself, on values from the host.

use wgpu::BufferUsages;

use super::adapter::Gpu;
use super::buffers::filled;
use super::kernels::{self, Coefficients, Kernel, Pass};
use super::readback::read_words;
use crate::error::Result;

/// One dispatch of one kernel.
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
    /// The device is lost, or refuses the shader.
    pub fn run(&self, gpu: &Gpu, buffers: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
        let device = &gpu.device;
        let buffer = |contents: &[u8], usage: BufferUsages| filled(gpu, self.kernel.name, contents, usage);
        let args = buffer(self.args, BufferUsages::STORAGE);
        let storage: Vec<_> =
            buffers.iter().map(|words| buffer(bytemuck::cast_slice(words), BufferUsages::STORAGE)).collect();
        let pass = buffer(bytemuck::bytes_of(&self.pass), BufferUsages::UNIFORM);
        let none = [Coefficients::default()];
        let coefficients = if self.coefficients.is_empty() { &none } else { self.coefficients };
        let coefficients = buffer(bytemuck::cast_slice(coefficients), BufferUsages::STORAGE);

        let step_layout = kernels::step_layout(gpu);
        let pipeline = self.kernel.compile(gpu, &step_layout, self.entry_point, self.constants);
        let bind = |layout: &wgpu::BindGroupLayout, buffers: &[&wgpu::Buffer]| {
            let entries: Vec<_> = buffers
                .iter()
                .enumerate()
                .map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.as_entire_binding() })
                .collect();
            device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
        };
        let all: Vec<&wgpu::Buffer> = std::iter::once(&args).chain(&storage).collect();
        let own = bind(&pipeline.layout, &all);
        let step = bind(&step_layout, &[&pass, &coefficients]);
        let mut encoder = device.create_command_encoder(&Default::default());
        {
            let mut compute = encoder.begin_compute_pass(&Default::default());
            compute.set_pipeline(&pipeline.pipeline);
            compute.set_bind_group(0, &own, &[]);
            compute.set_bind_group(1, &step, &[0]);
            compute.dispatch_workgroups(self.grid[0], self.grid[1], self.grid[2]);
        }
        gpu.queue.submit([encoder.finish()]);
        storage.iter().map(|buffer| read_words(gpu, buffer, 0, buffer.size())).collect()
    }
}
