//! The structs that kernels read, as they lie in memory.

use bytemuck::{Pod, Zeroable};

use crate::cpu::Dropout;
use crate::data::QUANTILES;
use crate::engine::Setup;

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
    /// The arguments of `gather`.
    GatherArgs {
        width: u32, columns: u32, pixels: u32, record_words: u32, first_record: u32, records: u32, order_stride: u32,
        x_stride: u32, room: u32, image_width: u32, pad: u32, flip: u32, cutout: u32,
    }
    /// The arguments of `linear`.
    LinearArgs {
        inputs: u32, outputs: u32, weight: u32, bias: u32, params_stride: u32, a_stride: u32, y_stride: u32,
        purpose: u32, width: u32,
    }
    /// The arguments of `activate`.
    ActivateArgs { outputs: u32, a_stride: u32, y_stride: u32, purpose: u32, width: u32 }
    /// The arguments of `batch_norm`.
    BatchNormArgs {
        outputs: u32, params_stride: u32, gamma: u32, beta: u32, statistics: u32, z_stride: u32,
    }
    /// The arguments of `layer_norm`.
    LayerNormArgs {
        outputs: u32, width: u32, params_stride: u32, gamma: u32, beta: u32, z_stride: u32, room: u32,
    }
    /// The arguments of `norm_dw` and of `batch_norm_dx`.
    NormArgs { outputs: u32, params_stride: u32, gamma: u32, beta: u32, z_stride: u32 }
    /// The arguments of `layer_norm_dx`.
    LayerNormDxArgs { outputs: u32, width: u32, params_stride: u32, gamma: u32, z_stride: u32, room: u32 }
    /// The arguments of `activate_r`, `norm_r`, `affine_r`, `affine_dx_r`, `norm_dx_r`, `softmax_cross_entropy_r`, `mse_r` and
    /// `linear_dx_r`, whose outputs are the layer's before it.
    TangentArgs {
        outputs: u32, width: u32, params_stride: u32, gamma: u32, beta: u32, z_stride: u32, room: u32,
    }
    /// The arguments of `combine`.
    CombineArgs { outputs: u32, z_stride: u32 }
    /// The arguments of `ensemble`.
    EnsembleArgs { outputs: u32, columns: u32, z_stride: u32, mean_stride: u32 }
    /// The arguments of `linear_dx`.
    LinearDxArgs {
        inputs: u32, outputs: u32, weight: u32, params_stride: u32, dz_stride: u32, dx_stride: u32,
    }
    /// The arguments of `linear_dw`.
    LinearDwArgs {
        inputs: u32, outputs: u32, weight: u32, bias: u32, params_stride: u32, a_stride: u32, dz_stride: u32,
        decayed: u32,
    }
    /// The arguments of `softmax_cross_entropy` and of `mse`.
    LossArgs {
        outputs: u32, columns: u32, z_stride: u32, order_stride: u32, room: u32, samples: u32,
    }
    /// The arguments of `loss_scale`.
    LossScaleArgs { columns: u32, dz_stride: u32 }
    /// The arguments of `grad_norm`.
    GradNormArgs { params: u32, trained: u32 }
    /// The arguments of `ascent`.
    AscentArgs { params: u32, trained: u32 }
    /// The arguments of kernels over vectors: `sgd`, `adam`, `rmsprop`, `average`, `lookahead`, `ascend`, `to_half`, `axpy` and
    /// `scale`, which take the vec4s from `first` on and before `trained`.
    UpdateArgs { params: u32, first: u32, trained: u32, decayed: u32 }
    /// The arguments of `dot`.
    DotArgs { params: u32 }
    /// The pass, in group 1 of every kernel: which pass this is. It lies in a uniform with a dynamic offset, so that
    /// one submission holds many passes.
    Pass {
        first: u32, rows: u32, batch: u32, ring_row: u32, accumulate: u32, streamed: u32, streamed_rows: u32,
        replicas: u32, member: u32, members: u32,
    }
    /// The scaling of one replica, which multiplies its loss and its gradients; the device changes `clip` where there
    /// is a largest norm, and the rest in mixed precision.
    Scaling { factor: f32, clip: f32, loss: f32, next: f32, steps: u32, progress: u32 }
    /// The coefficients of one step and replica: [`crate::optimizer::Coefficients`] in f32, how much of the weights the
    /// averages take up, how much of the batch the running statistics do, what its samples count, the key of the random numbers,
    /// and what else is the replica's own.
    Coefficients {
        step_size: f32, momentum: f32, gain: f32, decay: f32, fresh: f32, correction: f32, eps: f32,
        weight_decay: f32, shrink: f32, swa: f32, ema: f32, lookahead: f32, statistics: f32, total: f32, seed: u32,
        step: u32, on: f32, off: f32, dropped: u32, kept: f32, noise: f32, quantiles: u32, max_norm: f32, rho: f32,
    }
}

impl Scaling {
    /// The scaling with the loss scale `loss`, which is 1 in full precision.
    pub fn new(loss: f32) -> Self {
        Self { factor: 1.0, clip: 1.0, loss, next: loss, steps: 0, progress: 0 }
    }
}

impl Coefficients {
    /// What is replica r's own in every step and evaluation, by its setup.
    pub fn own(setup: &Setup, replica: usize) -> Self {
        let off = setup.label_smoothing / setup.model.outputs() as f64;
        Self {
            seed: setup.device_seed(),
            on: (1.0 - setup.label_smoothing + off) as f32,
            off: off as f32,
            dropped: Dropout::threshold(setup.model.dropout),
            kept: Dropout::kept(setup.model.dropout) as f32,
            noise: setup.augment.noise as f32,
            quantiles: (replica * QUANTILES) as u32,
            max_norm: setup.clip_norm.unwrap_or_default() as f32,
            rho: setup.sam.map_or(0.0, |sam| sam.rho as f32),
            ..Self::default()
        }
    }

    /// The same with the coefficients of an update.
    pub fn of_update(self, c: crate::optimizer::Coefficients) -> Self {
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
            ..self
        }
    }
}

impl From<crate::optimizer::Coefficients> for Coefficients {
    fn from(c: crate::optimizer::Coefficients) -> Self {
        Self::default().of_update(c)
    }
}
