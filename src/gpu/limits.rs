//! What an adapter can do at most, by shaders that do nothing else.

use std::time::Instant;

use wgpu::{Buffer, BufferUsages, ComputePipeline, Features};

use super::adapter::Gpu;
use super::kernels::{SIDE, for_naga, with_side};
use super::readback::read_words;
use crate::engine::{Limits, cached};
use crate::error::Result;

/// A shader that measures.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// The name of the probe, as `shaders/probes/NAME.wgsl`.
    pub name: &'static str,
    /// The text of the shader.
    pub source: &'static str,
}

macro_rules! probes {
    ($($constant:ident $name:literal,)*) => {
        $(const $constant: Probe =
            Probe { name: $name, source: include_str!(concat!("../../shaders/probes/", $name, ".wgsl")) };)*
        /// Every probe.
        pub const PROBES: &[Probe] = &[$($constant),*];
    };
}

probes! {
    MULTIPLY_ADD "multiply_add",
    MULTIPLY_ADD_F16 "multiply_add_f16",
    MULTIPLY_ADD_COOPERATIVE "multiply_add_cooperative",
    COPY "copy",
    NOTHING "nothing",
}

/// Invocations of a workgroup of the probes.
const LANES: u64 = 64;
/// The number of operations of one round of an invocation: eight vec4s, each multiplied and added to.
const ROUND_FLOPS: f64 = 8.0 * 4.0 * 2.0;
/// The number of sums of a subgroup that multiplies cooperative matrices; a round makes a product for each.
const SUMS: u64 = 8;
/// The bytes of each of the two buffers of a copy: far more than caches hold.
const COPY_BYTES: u64 = 64 << 20;
/// The bytes of each buffer of the smallest copy, in which caches are looked for.
const LEAST_BYTES: u64 = 1 << 19;
/// The number of dispatches that wait for each other.
const CHAIN: u32 = 500;
/// A measurement lasts at least so many seconds, so that the clock and the submission do not count.
const LEAST_SECONDS: f64 = 0.03;
/// The number of times that each is measured; the best counts.
const ROUNDS: usize = 3;

/// A probe ready to run.
struct Ready<'a> {
    gpu: &'a Gpu,
    pipeline: ComputePipeline,
    bindings: wgpu::BindGroup,
}

impl<'a> Ready<'a> {
    fn new(gpu: &'a Gpu, probe: Probe, constants: &[(&str, f64)], buffers: &[&Buffer]) -> Self {
        let device = &gpu.device;
        let text = for_naga(&with_side(probe.source, gpu.cooperative.unwrap_or(SIDE)));
        let source = wgpu::ShaderSource::Wgsl(text.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(probe.name), source });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(probe.name),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
            cache: None,
        });
        let entries: Vec<_> = buffers
            .iter()
            .enumerate()
            .map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.as_entire_binding() })
            .collect();
        let layout = &pipeline.get_bind_group_layout(0);
        let descriptor = wgpu::BindGroupDescriptor { label: Some(probe.name), layout, entries: &entries };
        let bindings = device.create_bind_group(&descriptor);
        Self { gpu, pipeline, bindings }
    }

    /// The seconds from the submission of so many dispatches to their end.
    fn seconds(&self, dispatches: u32, groups: [u32; 2]) -> Result<f64> {
        let start = Instant::now();
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        {
            let mut compute = encoder.begin_compute_pass(&Default::default());
            compute.set_pipeline(&self.pipeline);
            compute.set_bind_group(0, &self.bindings, &[]);
            for _ in 0..dispatches {
                compute.dispatch_workgroups(groups[0], groups[1], 1);
            }
        }
        let submission = self.gpu.queue.submit([encoder.finish()]);
        self.gpu.wait(Some(&submission))?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// The seconds of one dispatch, out of as many as last long enough.
    fn best(&self, groups: [u32; 2]) -> Result<f64> {
        let mut dispatches = 1;
        while self.seconds(dispatches, groups)? < LEAST_SECONDS && dispatches < 1 << 16 {
            dispatches *= 2;
        }
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            best = best.min(self.seconds(dispatches, groups)? / f64::from(dispatches));
        }
        Ok(best)
    }
}

/// Measures the limits of a device: the peak of multiply-adds, the bandwidth of a copy, and the time of a dispatch and
/// of a submission.
///
/// # Errors
/// The device is lost, or has too little memory.
pub fn measure_limits(gpu: &Gpu) -> Result<Limits> {
    let buffer = |bytes: u64| {
        super::buffers::allocate(gpu, "probe", bytes.min(gpu.description.binding_bytes), BufferUsages::STORAGE)
    };
    let groups = 4096;
    let small = buffer(u64::from(groups) * LANES * 16)?;
    let rounds = 512;
    let flops = |probe| -> Result<f64> {
        let seconds = Ready::new(gpu, probe, &[("ROUNDS", f64::from(rounds))], &[&small]).best([groups, 1])?;
        Ok(f64::from(groups) * LANES as f64 * f64::from(rounds) * ROUND_FLOPS / seconds)
    };
    // What a driver refuses has no peak.
    let cooperative = |side: u32| -> Option<f64> {
        let groups = ((small.size() - 4) / (4 * SUMS * u64::from(side * side))) as u32;
        let constants = [("ROUNDS", f64::from(rounds)), ("LANES", f64::from(gpu.description.subgroup[1]))];
        let seconds = Ready::new(gpu, MULTIPLY_ADD_COOPERATIVE, &constants, &[&small]).best([groups, 1]).ok()?;
        let subgroups = f32::from_bits(read_words(gpu, &small, small.size() - 4, 4).ok()?[0]);
        let products = f64::from(groups) * f64::from(subgroups) * f64::from(rounds) * SUMS as f64;
        Some(products * 2.0 * f64::from(side).powi(3) / seconds)
    };
    // Bytes, read and written together, and how many of them pass a second.
    let copy = |bytes: u64| -> Result<(f64, f64)> {
        let (from, to) = (buffer(bytes)?, buffer(bytes)?);
        // Two rows of workgroups, since one dimension may not hold them all.
        let rows = 64;
        let groups = [(from.size() / 16 / LANES / rows) as u32, rows as u32];
        let both = 2.0 * from.size() as f64;
        Ok((both, both / Ready::new(gpu, COPY, &[], &[&to, &from]).best(groups)?))
    };
    let sizes = (0..).map(|i| LEAST_BYTES << i).take_while(|&bytes| bytes <= COPY_BYTES);
    let rates = sizes.map(copy).collect::<Result<Vec<_>>>()?;
    let bandwidth = rates.last().map_or(0.0, |&(_, rate)| rate);
    let one = buffer(16)?;
    let nothing = Ready::new(gpu, NOTHING, &[], &[&one]);
    let mut submission = f64::INFINITY;
    let mut chain = f64::INFINITY;
    for _ in 0..20 {
        submission = submission.min(nothing.seconds(1, [1, 1])?);
        chain = chain.min(nothing.seconds(CHAIN, [1, 1])?);
    }
    let has_f16 = gpu.device.features().contains(Features::SHADER_F16);
    Ok(Limits {
        flops: flops(MULTIPLY_ADD)?,
        flops_f16: if has_f16 { Some(flops(MULTIPLY_ADD_F16)?) } else { None },
        flops_cooperative: gpu.cooperative.and_then(cooperative),
        bandwidth,
        cache: cached(&rates, bandwidth),
        dispatch: (chain - submission).max(0.0) / f64::from(CHAIN - 1),
        submission,
    })
}
