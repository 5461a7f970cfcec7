//! The table of kernels: every shader's source, its bindings, and the arguments it takes.
//!
//! Some parts of a shader's text are replaced before it is compiled, since an override constant cannot stand there: the
//! tile, which is the length of arrays, and how rows lie in memory ([`Stored`]) and the side of cooperative matrices, which
//! are types.
//!
//! A kernel has one name, in the table, as `shaders/NAME.wgsl`, as its twin `src/cpu/NAME.rs` and as the test that
//! compares the two.

use std::borrow::Cow;

use bytemuck::{Pod, Zeroable};
use wgpu::{BindGroupLayout, BindingType, BufferBindingType, ShaderStages};

use super::adapter::Gpu;
use super::forms::Variant;
use crate::optimizer::Rule;

/// How a kernel uses a binding of group 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The kernel's arguments. Read-only storage, since Mesa's software driver compiles a shader anew in every
    /// dispatch for the uniforms that its loops run to: that made the loss take 4.7 ms instead of 0.05, and the step of
    /// 784-256-128-10 at batch 1 16.5 ms instead of 2.5.
    Arguments,
    /// Storage that is read.
    Read,
    /// Storage that is written, and perhaps read.
    Write,
}

use Binding::{Arguments as A, Read as R, Write as W};

/// One shader.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// Its name everywhere.
    pub name: &'static str,
    /// Its text.
    pub source: &'static str,
    /// The bindings of group 0, in order.
    pub bindings: &'static [Binding],
    /// Whether its inner loop earns running without naga's checks.
    unchecked: bool,
    /// Rows and columns in place of the shader's `ROWS` and `COLUMNS`: an override cannot be the length of an array.
    pub(super) tile: Option<[u32; 2]>,
    /// Rows and columns of a cooperative variant's fragments, in place of the shader's 8.
    pub(super) side: u32,
    /// Samples in place of the shader's `SAMPLES`, for which it is one for few samples.
    pub(super) samples: u32,
    /// How rows and the weights that products read lie in memory.
    pub(super) stored: Stored,
}

/// How four values of a row, or of the weights that the products read, lie in memory: the shaders' `Stored`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stored {
    /// As they are computed.
    #[default]
    F32,
    /// In half precision, by the device's own type.
    F16,
    /// In half precision, two in a word, for devices without it.
    Packed,
}

impl Stored {
    /// That of half precision on the device.
    pub fn half(gpu: &Gpu) -> Self {
        if gpu.device.features().contains(wgpu::Features::SHADER_F16) { Self::F16 } else { Self::Packed }
    }

    /// Those that the device has.
    pub fn all(gpu: &Gpu) -> Vec<Self> {
        let has_f16 = Self::half(gpu) == Self::F16;
        if has_f16 { vec![Self::F32, Self::F16, Self::Packed] } else { vec![Self::F32, Self::Packed] }
    }

    /// The part of a shader that says so: the alias, and how to load and store it.
    pub fn text(self) -> &'static str {
        match self {
            Self::F32 => include_str!("../../shaders/stored/f32.wgsl"),
            Self::F16 => include_str!("../../shaders/stored/f16.wgsl"),
            Self::Packed => include_str!("../../shaders/stored/packed.wgsl"),
        }
    }

    /// Bytes of one value.
    pub fn bytes(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }
}

macro_rules! kernels {
    ($($name:ident $bindings:expr, $unchecked:expr;)*) => {
        $(
            #[doc = concat!("`shaders/", stringify!($name), ".wgsl`.")]
            #[allow(non_upper_case_globals, reason = "a kernel has one name everywhere")]
            pub const $name: Kernel = Kernel {
                name: stringify!($name),
                source: include_str!(concat!("../../shaders/", stringify!($name), ".wgsl")),
                bindings: &$bindings,
                unchecked: $unchecked,
                tile: None,
                side: SIDE,
                samples: SAMPLES,
                stored: Stored::F32,
            };
        )*
        /// Every kernel.
        pub const ALL: &[Kernel] = &[$($name),*];
    };
}

kernels! {
    gather [A, R, R, R, R, W, W], false;
    linear [A, R, R, W, W], true;
    linear_broadcast [A, R, R, W, W], true;
    linear_staged [A, R, R, W, W], true;
    linear_cooperative [A, R, R, W, W], true;
    linear_split [A, R, R, W], true;
    linear_sum [A, R, R, R, W, W], false;
    batch_norm [A, W, W, W, W], false;
    layer_norm [A, R, W, W, W], false;
    activate [A, R, W, W], false;
    linear_dx [A, R, R, R, R, W, W], true;
    linear_dx_broadcast [A, R, R, R, R, W, W], true;
    linear_dx_staged [A, R, R, R, R, W, W], true;
    linear_dx_cooperative [A, R, R, R, R, W, W], true;
    linear_dx_split [A, R, R, W], true;
    linear_dx_sum [A, R, R, R, W, W], false;
    linear_dw [A, R, R, R, W, W, W], true;
    linear_dw_broadcast [A, R, R, R, W, W, W], true;
    linear_dw_few [A, R, R, R, W, W, W], true;
    linear_dw_staged [A, R, R, R, W, W, W], true;
    linear_dw_cooperative [A, R, R, R, W, W, W], true;
    linear_dw_split [A, R, R, W], true;
    linear_dw_sum [A, R, R, W, W, W], false;
    norm_dw [A, R, R, R, W], false;
    batch_norm_dx [A, R, R, R, R, R, W], false;
    layer_norm_dx [A, R, R, R, W], false;
    softmax_cross_entropy [A, R, R, R, W, W, W], false;
    mse [A, R, R, R, W, W, W], false;
    ensemble [A, W, W], false;
    loss_scale [A, R, W], false;
    grad_norm [A, R, W, W, W], false;
    sgd [A, R, R, W, W, W], false;
    adam [A, R, R, W, W, W], false;
    rmsprop [A, R, R, W, W, W], false;
    average [A, R, W], false;
    lookahead [A, W, W], false;
    halve [A, R, W], false;
}

impl Scaling {
    /// A loss scale of `loss`; 1 in full precision.
    pub fn new(loss: f32) -> Self {
        Self { factor: 1.0, clip: 1.0, loss, next: loss, steps: 0, progress: 0 }
    }
}

impl From<crate::optimizer::Coefficients> for Coefficients {
    fn from(c: crate::optimizer::Coefficients) -> Self {
        Self {
            step_size: c.step_size as f32,
            momentum: c.momentum as f32,
            gain: c.gain as f32,
            decay: c.decay as f32,
            fresh: c.fresh as f32,
            correction: c.correction as f32,
            eps: c.eps as f32,
            weight_decay: c.weight_decay as f32,
            shrink: c.shrink as f32,
            ..Self::default()
        }
    }
}

/// What carries out an optimizer's rule.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// By itself.
    pub kernel: Kernel,
    /// What is fixed in the rule, as a constant of the kernel and of `linear_dw`.
    pub flag: (&'static str, f64),
    /// Its number as `linear_dw`'s UPDATE.
    pub code: f64,
}

/// What carries out `rule`.
pub fn update(rule: Rule) -> Update {
    let update = |kernel, name, flag, code| Update { kernel, flag: (name, f64::from(flag)), code };
    match rule {
        Rule::Sgd { nesterov } => update(sgd, "NESTEROV", nesterov, 1.0),
        Rule::Adam { amsgrad } => update(adam, "AMSGRAD", amsgrad, 2.0),
        Rule::Rmsprop { centered } => update(rmsprop, "CENTERED", centered, 3.0),
    }
}

macro_rules! arguments {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
            #[repr(C)]
            #[allow(missing_docs, reason = "the shader explains the fields")]
            pub struct $name { $(pub $field: $type),* }

            impl $name {
                /// Names and offsets of the fields, for the test that compares them with the shader's.
                pub const FIELDS: &[(&str, usize)] = &[$((stringify!($field), std::mem::offset_of!($name, $field))),*];
            }
        )*
    };
}

arguments! {
    /// Arguments of `gather`.
    GatherArgs {
        width: u32, columns: u32, pixels: u32, record_words: u32, first_record: u32, records: u32, order_stride: u32,
        x_stride: u32, room: u32, image_width: u32, pad: u32, flip: u32, cutout: u32, noise: f32,
    }
    /// Arguments of `linear`.
    LinearArgs {
        inputs: u32, outputs: u32, weight: u32, bias: u32, params_stride: u32, a_stride: u32, y_stride: u32,
        purpose: u32, dropped: u32, kept: f32,
    }
    /// Arguments of `activate`.
    ActivateArgs { outputs: u32, a_stride: u32, y_stride: u32, purpose: u32, dropped: u32, kept: f32 }
    /// Arguments of `batch_norm`.
    BatchNormArgs {
        outputs: u32, params_stride: u32, gamma: u32, beta: u32, statistics: u32, z_stride: u32,
    }
    /// Arguments of `layer_norm`.
    LayerNormArgs {
        outputs: u32, width: u32, params_stride: u32, gamma: u32, beta: u32, z_stride: u32, room: u32,
    }
    /// Arguments of `norm_dw` and of `batch_norm_dx`.
    NormArgs { outputs: u32, params_stride: u32, gamma: u32, beta: u32, z_stride: u32 }
    /// Arguments of `layer_norm_dx`.
    LayerNormDxArgs { outputs: u32, width: u32, params_stride: u32, gamma: u32, z_stride: u32, room: u32 }
    /// Arguments of `ensemble`.
    EnsembleArgs { outputs: u32, columns: u32, z_stride: u32, mean_stride: u32 }
    /// Arguments of `linear_dx`.
    LinearDxArgs {
        inputs: u32, outputs: u32, weight: u32, params_stride: u32, dz_stride: u32, dx_stride: u32,
    }
    /// Arguments of `linear_dw`.
    LinearDwArgs {
        inputs: u32, outputs: u32, weight: u32, bias: u32, params_stride: u32, a_stride: u32, dz_stride: u32,
        decayed: u32,
    }
    /// Arguments of `softmax_cross_entropy` and of `mse`.
    LossArgs {
        outputs: u32, columns: u32, z_stride: u32, order_stride: u32, room: u32, on: f32, off: f32,
    }
    /// Arguments of `loss_scale`.
    LossScaleArgs { columns: u32, dz_stride: u32 }
    /// Arguments of `grad_norm`.
    GradNormArgs { params: u32, max_norm: f32 }
    /// Arguments of `sgd`, `adam`, `rmsprop`, `average`, `lookahead` and `halve`.
    UpdateArgs { params: u32, first: u32, trained: u32, decayed: u32 }
    /// Group 1 of every kernel: which pass this is. It lies in a uniform with a dynamic offset, so that one submission
    /// holds many passes.
    Pass {
        first: u32, rows: u32, batch: u32, slot: u32, accumulate: u32, streamed: u32, streamed_rows: u32,
        replicas: u32, member: u32, members: u32,
    }
    /// What multiplies the loss and the gradients of one replica; the device changes `clip` where there is a largest norm, and
    /// the rest in mixed precision.
    Scaling { factor: f32, clip: f32, loss: f32, next: f32, steps: u32, progress: u32 }
    /// What is fixed for one step and replica: [`crate::optimizer::Coefficients`] in f32, how much of the weights the
    /// averages take up, how much of the batch the running statistics do, and the key of the random numbers.
    Coefficients {
        step_size: f32, momentum: f32, gain: f32, decay: f32, fresh: f32, correction: f32, eps: f32,
        weight_decay: f32, shrink: f32, swa: f32, ema: f32, lookahead: f32, statistics: f32, seed: u32, step: u32,
    }
}

/// Invocations of a workgroup in the kernels that take one element each.
pub const LANES: u32 = 64;
/// The most invocations of the one workgroup that makes a loss.
const MOST_LOSS_LANES: u32 = 1024;

/// Invocations of the workgroup that makes the loss of so many rows: one to a row, as far as the device has them.
pub fn loss_lanes(gpu: &Gpu, rows: usize) -> u32 {
    let most = 1 << gpu.description.invocations.ilog2();
    (rows as u32).next_power_of_two().clamp(LANES, MOST_LOSS_LANES.min(most))
}
/// Rows of a workgroup of `loss_scale`.
pub const LOSS_SCALE_ROWS: u32 = 16;
/// Rows of a workgroup of `linear` and `linear_dx`, where a form asks for no other.
pub const ROWS: u32 = 16;
/// Rows of vec4s of a workgroup of `linear_dw`, likewise.
pub const DW_ROWS: u32 = 8;
/// vec4s along the outputs of an invocation of `linear` and `linear_dw`, likewise.
pub const COLUMNS: u32 = 2;
/// vec4s along the outputs of a workgroup of `batch_norm` and `norm_dw`.
pub const NORM_COLUMNS: u32 = 4;
/// Workgroups of a replica in `grad_norm`.
pub const PARTS: u32 = 64;

/// Bytes between two passes in their uniform: WebGPU's largest alignment.
pub(super) const PASS_BYTES: u64 = 256;

/// A kernel compiled with its constants.
#[derive(Clone)]
pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: BindGroupLayout,
}

/// The layout of group 1.
pub(super) fn step_layout(gpu: &Gpu) -> BindGroupLayout {
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

/// Samples of `linear_dw_few`, where a form asks for no other.
pub const SAMPLES: u32 = 8;

/// The rows and columns of cooperative matrices in the shaders.
pub(super) const SIDE: u32 = 8;

/// The text with cooperative matrices of `side` rows and columns.
pub(super) fn with_side(source: Cow<'static, str>, side: u32) -> Cow<'static, str> {
    if side == SIDE {
        return source;
    }
    let (type_, constant) = (format!("coop_mat{SIDE}x{SIDE}"), format!("const SIDE: u32 = {SIDE}u;"));
    let text = source.replace(&type_, &format!("coop_mat{side}x{side}"));
    text.replace(&constant, &format!("const SIDE: u32 = {side}u;")).into()
}

impl Kernel {
    /// The kernel of which this is a variant for some devices, or itself: `linear` of `linear_broadcast`. All have one
    /// twin, one test and one meaning.
    pub fn base(&self) -> &'static str {
        let suffixes = ["_broadcast", "_few", "_staged", "_cooperative", "_split", "_sum"];
        suffixes.into_iter().find_map(|suffix| self.name.strip_suffix(suffix)).unwrap_or(self.name)
    }

    /// A variant of it, if there is one.
    pub(super) fn variant(&self, variant: Variant) -> Option<Self> {
        let named = |suffix| ALL.iter().find(|kernel| kernel.name.strip_suffix(suffix) == Some(self.name)).copied();
        match variant {
            Variant::Plain => Some(*self),
            Variant::Broadcast => named("_broadcast"),
            Variant::Few(samples) => Some(Self { samples, ..named("_few")? }),
            Variant::Staged => named("_staged"),
            Variant::Cooperative(side) => Some(Self { side, ..named("_cooperative")? }),
            Variant::Split => named("_split"),
        }
    }

    /// The same with another tile; a shader without `COLUMNS` has one.
    pub fn with_tile(self, rows: u32, columns: u32) -> Self {
        Self { tile: Some([rows, columns]), ..self }
    }

    /// The same with rows in other memory; a shader without `Stored` has none.
    pub fn with_stored(self, stored: Stored) -> Self {
        Self { stored, ..self }
    }

    /// The shader's text, with the memory, the tile and the fragments that were asked for.
    pub fn text(&self) -> Cow<'static, str> {
        let source = match self.stored {
            Stored::F32 => Cow::from(self.source),
            stored => {
                let text = self.source.replace(Stored::F32.text(), stored.text());
                let is_enabled = stored != Stored::F16 || text.starts_with("enable f16;");
                Cow::from(if is_enabled { text } else { "enable f16;\n".to_string() + &text })
            }
        };
        let source = with_side(source, self.side);
        let mut lengths = vec![("SAMPLES", self.samples)];
        lengths.extend(self.tile.into_iter().flat_map(|[rows, columns]| [("ROWS", rows), ("COLUMNS", columns)]));
        let mut text = String::new();
        for line in source.lines() {
            let constant = line.strip_prefix("const ").and_then(|line| line.split_once(": u32 = "));
            let length = constant.and_then(|(name, _)| lengths.iter().find(|(length, _)| *length == name));
            match length {
                Some((name, length)) => text += &format!("const {name}: u32 = {length}u;"),
                None => text += line,
            }
            text.push('\n');
        }
        text.into()
    }

    /// Compiles the entry point `main`, or the one named, with `constants` in place of the shader's defaults.
    pub(super) fn compile(
        &self,
        gpu: &Gpu,
        step: &BindGroupLayout,
        entry_point: &str,
        constants: &[(&str, f64)],
    ) -> Pipeline {
        let device = &gpu.device;
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(self.name), source: wgpu::ShaderSource::Wgsl(self.text()) };
        let module = if self.unchecked {
            // SAFETY: these kernels clamp every row and column they read to the last one of its matrix, or compare it with
            // the end, as they do every one they write; they index workgroup memory by their tile, slices and lanes, which
            // forms make fit; their loops run over matrix dimensions, so they end.
            // Without naga's checks a 128x3072x512 product takes 18 ms instead of 34 on Mesa's software driver.
            unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        } else {
            device.create_shader_module(descriptor)
        };
        let entries: Vec<_> = self
            .bindings
            .iter()
            .enumerate()
            .map(|(i, binding)| match binding {
                A | R => entry(i, BufferBindingType::Storage { read_only: true }, false),
                W => entry(i, BufferBindingType::Storage { read_only: false }, false),
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
