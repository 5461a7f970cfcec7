//! Compiling a kernel, with or without runtime checks.

use wgpu::{BindGroupLayout, BindingType, BufferBindingType, ShaderStages};

use super::{Binding, Kernel, for_naga};
use crate::gpu::adapter::Gpu;

/// A kernel compiled with its constants.
#[derive(Clone)]
pub(in crate::gpu) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: BindGroupLayout,
}

/// The layout of group 1.
pub(in crate::gpu) fn step_layout(gpu: &Gpu) -> BindGroupLayout {
    gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("step"),
        entries: &[
            entry(0, BufferBindingType::Uniform, true),
            entry(1, BufferBindingType::Storage { read_only: true }, false),
        ],
    })
}

fn entry(binding: usize, ty: BufferBindingType, has_dynamic_offset: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding: binding as u32,
        visibility: ShaderStages::COMPUTE,
        ty: BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
        count: None,
    }
}

impl Kernel {
    /// Compiles the entry point `main`, or the one named, with `constants` in place of the shader's defaults.
    pub(in crate::gpu) fn compile(
        &self,
        gpu: &Gpu,
        step: &BindGroupLayout,
        entry_point: &str,
        constants: &[(&str, f64)],
    ) -> Pipeline {
        let device = &gpu.device;
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(self.name),
            source: wgpu::ShaderSource::Wgsl(for_naga(&self.text()).into()),
        };
        let module = if self.is_unchecked() {
            // SAFETY: see `unchecked`.
            unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        } else {
            device.create_shader_module(descriptor)
        };
        let entries: Vec<_> = self
            .bindings
            .iter()
            .enumerate()
            .map(|(i, binding)| match binding {
                Binding::Arguments | Binding::Read => entry(i, BufferBindingType::Storage { read_only: true }, false),
                Binding::Write => entry(i, BufferBindingType::Storage { read_only: false }, false),
            })
            .collect();
        let layout = device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(self.name), entries: &entries });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(self.name),
            bind_group_layouts: &[Some(&layout), Some(step)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(self.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                // Every kernel writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }
}
