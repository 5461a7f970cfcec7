//! Makes dispatches: compiles kernels, once each, and binds buffers to them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytemuck::Pod;
use wgpu::{BindGroup, Buffer, BufferUsages};

use super::adapter::Gpu;
use super::buffers::{Buffers, filled};
use super::kernels::{self, Kernel, LANES, MOST_GROUPS, Pipeline, Stored};
use super::program::{Extent, Grid, Op};
use super::tune::Tuner;
use crate::engine::{Forms, Layer, Layout, Setup, stride};

/// The compiled kernels, by kernel and constants; layers share them.
pub(super) struct Pipelines {
    /// The layout of bind group 1: the pass and the coefficients.
    pub step_layout: wgpu::BindGroupLayout,
    compiled: Mutex<HashMap<String, Pipeline>>,
}

impl Pipelines {
    pub fn new(gpu: &Gpu) -> Self {
        Self { step_layout: kernels::step_layout(gpu), compiled: Mutex::default() }
    }

    fn get(&self, gpu: &Gpu, kernel: &Kernel, entry_point: &str, constants: &[(&str, f64)]) -> Pipeline {
        let Kernel { row, tile, side, samples, stored, update } = kernel;
        let update = update.map(|row| row.name);
        let key = format!("{}:{entry_point} {tile:?} {side} {samples} {stored:?} {update:?} {constants:?}", row.name);
        let known = self.compiled().get(&key).cloned();
        known.unwrap_or_else(|| {
            // Other threads compile others meanwhile.
            let pipeline = kernel.compile(gpu, &self.step_layout, entry_point, constants);
            self.compiled().entry(key).or_insert(pipeline).clone()
        })
    }

    fn compiled(&self) -> MutexGuard<'_, HashMap<String, Pipeline>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the dispatches of one engine.
pub(super) struct Builder<'a> {
    pub gpu: &'a Gpu,
    pub setup: &'a Setup,
    pub layout: &'a Layout,
    pub buffers: &'a Buffers,
    pub pipelines: &'a Pipelines,
    /// The number of lanes of the products' workgroups: those of a subgroup.
    pub lanes: u32,
    pub tuner: Tuner,
}

impl<'a> Builder<'a> {
    pub fn new(
        gpu: &'a Gpu,
        setup: &'a Setup,
        layout: &'a Layout,
        buffers: &'a Buffers,
        pipelines: &'a Pipelines,
        tuner: Tuner,
    ) -> Self {
        Self { gpu, setup, layout, buffers, pipelines, lanes: gpu.lanes(), tuner }
    }

    /// Makes bind group 1: the pass, at a dynamic offset, and the coefficients.
    pub fn step(&self) -> BindGroup {
        self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("step"),
            layout: &self.pipelines.step_layout,
            entries: &[
                wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &self.buffers.passes,
                        offset: 0,
                        size: wgpu::BufferSize::new(size_of::<kernels::Pass>() as u64),
                    }),
                },
                wgpu::BindGroupEntry { binding: 1, resource: self.buffers.coefficients.as_entire_binding() },
            ],
        })
    }

    /// The forms of the products, once all programs are built. What measuring left in params and state is gone.
    pub fn into_forms(self) -> Forms {
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let b = self.buffers;
        [&b.params, &b.grads, &b.state, &b.working].iter().for_each(|buffer| encoder.clear_buffer(buffer, 0, None));
        self.gpu.queue.submit([encoder.finish()]);
        self.tuner.used()
    }

    /// A dispatch of `kernel`, with its rows as they lie in memory here.
    pub fn op<T: Pod>(
        &self,
        kernel: &Kernel,
        constants: &[(&str, f64)],
        args: &T,
        buffers: &[&Buffer],
        grid: Grid,
    ) -> Op {
        self.op_at(kernel, "main", constants, args, buffers, grid)
    }

    /// A dispatch of another entry point of `kernel`.
    pub fn op_at<T: Pod>(
        &self,
        kernel: &Kernel,
        entry_point: &str,
        constants: &[(&str, f64)],
        args: &T,
        buffers: &[&Buffer],
        (x, y, replicas): Grid,
    ) -> Op {
        let kernel = kernel.with_stored(self.stored());
        let pipeline = self.pipelines.get(self.gpu, &kernel, entry_point, constants);
        let args = filled(self.gpu, kernel.name, bytemuck::bytes_of(args), BufferUsages::STORAGE);
        let entries: Vec<_> = std::iter::once(&args)
            .chain(buffers.iter().copied())
            .enumerate()
            .map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.as_entire_binding() })
            .collect();
        let descriptor =
            wgpu::BindGroupDescriptor { label: Some(kernel.name), layout: &pipeline.layout, entries: &entries };
        let bindings = self.gpu.device.create_bind_group(&descriptor);
        Op {
            kernel: kernel.row,
            layer: None,
            updates: false,
            pipeline: pipeline.pipeline,
            bindings,
            x,
            y,
            replicas,
            then: None,
        }
    }

    /// The memory in which rows, and the weights that products read, lie.
    pub fn stored(&self) -> Stored {
        if self.setup.is_mixed() { Stored::half(self.gpu) } else { Stored::F32 }
    }

    /// A grid of workgroups with all replicas in the third direction.
    pub fn grid(&self, x: Extent, y: Extent) -> Grid {
        (x, y, self.setup.replicas as u32)
    }

    /// A grid with one invocation to each of `columns` vec4s of a row.
    pub fn vec4s(&self, columns: u32) -> Grid {
        self.grid(Extent::Fixed(columns.div_ceil(LANES)), Extent::Rows(1))
    }

    /// A grid with one invocation to each vec4 of a vector in `range`, which counts values; workgroups beyond what one
    /// dimension may hold go into the second.
    pub fn vector_grid(&self, range: std::ops::Range<usize>) -> Grid {
        let groups = (range.len() as u32 / 4).div_ceil(LANES);
        let rows = groups.div_ceil(MOST_GROUPS);
        self.grid(Extent::Fixed(groups.div_ceil(rows)), Extent::Fixed(rows))
    }

    /// The numbers of vec4s of an input row, of an output row, and of one replica's parameters.
    pub fn dims(&self, layer: &Layer) -> (u32, u32, u32) {
        (stride(layer.inputs) as u32 / 4, stride(layer.outputs) as u32 / 4, self.layout.len as u32 / 4)
    }

    /// The number of vec4s of one replica's rows of `width`.
    pub fn rows_stride(&self, width: usize) -> u32 {
        (self.setup.room() * stride(width) / 4) as u32
    }
}
