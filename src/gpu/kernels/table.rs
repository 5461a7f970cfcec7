//! The table: a row says all there is to say of a kernel.

use super::Binding::{Arguments as A, Read as R, Write as W};
use super::Product::{Linear, LinearDw, LinearDx};
use super::Stored::{F16, F32, Packed};
use super::Way::{Broadcast, Cooperative, Few, Plain, Split, Staged, Sum};
use super::arguments::*;
use super::{Kernel, Row, Stored, cost, parts};

/// The memories of rows that may lie in any.
const ANY: &[Stored] = &[F32, F16, Packed];

macro_rules! kernels {
    ($($name:ident($args:ident) [$($part:ident)*] { $($field:ident: $value:expr),* $(,)? })*) => {
        $(
            #[doc = concat!("The kernel of `shaders/", stringify!($name), ".wgsl`.")]
            #[allow(non_upper_case_globals, reason = "a kernel has one name everywhere")]
            pub const $name: Kernel = Kernel::of(&Row {
                name: stringify!($name),
                source: include_str!(concat!("../../../shaders/", stringify!($name), ".wgsl")),
                parts: &[$(parts::$part),*],
                fields: $args::FIELDS,
                $($field: $value,)*
            });
        )*
        /// Every kernel.
        pub const ALL: &[Kernel] = &[$($name),*];
    };
}

// name(arguments) [shared parts] { bindings, memories of rows, form of a product, without naga's checks, cost }
kernels! {
    gather(GatherArgs) [hash coefficients pass] {
        bindings: &[A, R, R, R, R, W, W], memories: ANY, form: None, unchecked: false, cost: cost::gather,
    }
    linear(LinearArgs) [linear_args linear_results linear_tile finish activation hash coefficients pass] {
        bindings: &[A, R, R, W, W], memories: ANY, form: Some((Linear, Plain)), unchecked: true, cost: cost::linear,
    }
    linear_broadcast(LinearArgs) [linear_args linear_results finish activation hash coefficients pass] {
        bindings: &[A, R, R, W, W], memories: ANY, form: Some((Linear, Broadcast)), unchecked: true, cost: cost::linear,
    }
    linear_staged(LinearArgs)
    [linear_args linear_results staged staged_rows staged_a staged_w finish activation hash coefficients pass] {
        bindings: &[A, R, R, W, W], memories: ANY, form: Some((Linear, Staged)), unchecked: true, cost: cost::linear,
    }
    linear_cooperative(LinearArgs)
    [linear_args linear_results cooperative cooperative_a cooperative_w finish activation hash coefficients pass] {
        bindings: &[A, R, R, W, W], memories: &[F16], form: Some((Linear, Cooperative)), unchecked: true,
        cost: cost::linear,
    }
    linear_split(LinearArgs) [linear_args linear_tile pass] {
        bindings: &[A, R, R, W], memories: ANY, form: Some((Linear, Split)), unchecked: true, cost: cost::linear,
    }
    linear_sum(LinearArgs) [linear_args finish activation hash coefficients pass] {
        bindings: &[A, R, R, R, W, W], memories: ANY, form: Some((Linear, Sum)), unchecked: false, cost: cost::linear,
    }
    batch_norm(BatchNormArgs) [reduce_rows coefficients pass] {
        bindings: &[A, W, W, W, W], memories: ANY, form: None, unchecked: false, cost: cost::norm,
    }
    layer_norm(LayerNormArgs) [reduce pass] {
        bindings: &[A, R, W, W, W], memories: ANY, form: None, unchecked: false, cost: cost::norm,
    }
    activate(ActivateArgs) [finish activation hash coefficients pass] {
        bindings: &[A, R, W, W], memories: ANY, form: None, unchecked: false, cost: cost::activate,
    }
    linear_dx(LinearDxArgs)
    [linear_dx_args linear_dx_factors linear_dx_results linear_dx_tile linear_dx_finish pass] {
        bindings: &[A, R, R, R, R, W, W], memories: ANY, form: Some((LinearDx, Plain)), unchecked: true,
        cost: cost::linear_dx,
    }
    linear_dx_broadcast(LinearDxArgs) [linear_dx_args linear_dx_factors linear_dx_results linear_dx_finish pass] {
        bindings: &[A, R, R, R, R, W, W], memories: ANY, form: Some((LinearDx, Broadcast)), unchecked: true,
        cost: cost::linear_dx,
    }
    linear_dx_staged(LinearDxArgs)
    [linear_dx_args linear_dx_factors linear_dx_results staged staged_rows staged_w staged_dz linear_dx_finish pass] {
        bindings: &[A, R, R, R, R, W, W], memories: ANY, form: Some((LinearDx, Staged)), unchecked: true,
        cost: cost::linear_dx,
    }
    linear_dx_cooperative(LinearDxArgs)
    [
        linear_dx_args linear_dx_factors linear_dx_results cooperative cooperative_w cooperative_dz linear_dx_finish
        pass
    ] {
        bindings: &[A, R, R, R, R, W, W], memories: &[F16], form: Some((LinearDx, Cooperative)), unchecked: true,
        cost: cost::linear_dx,
    }
    linear_dx_split(LinearDxArgs) [linear_dx_args linear_dx_factors linear_dx_tile pass] {
        bindings: &[A, R, R, W], memories: ANY, form: Some((LinearDx, Split)), unchecked: true, cost: cost::linear_dx,
    }
    linear_dx_sum(LinearDxArgs) [linear_dx_args linear_dx_finish pass] {
        bindings: &[A, R, R, R, W, W], memories: ANY, form: Some((LinearDx, Sum)), unchecked: false,
        cost: cost::linear_dx,
    }
    linear_dw(LinearDwArgs)
    [
        linear_dw_args linear_dw_factors linear_dw_results linear_dw_sums linear_dw_tile linear_dw_put_tile
        linear_dw_rows linear_dw_bias gradient scaling coefficients pass
    ] {
        bindings: &[A, R, R, R, W, W, W], memories: ANY, form: Some((LinearDw, Plain)), unchecked: true,
        cost: cost::linear_dw,
    }
    linear_dw_broadcast(LinearDwArgs)
    [
        linear_dw_args linear_dw_factors linear_dw_results linear_dw_sums linear_dw_put_tile linear_dw_rows
        linear_dw_bias gradient scaling coefficients pass
    ] {
        bindings: &[A, R, R, R, W, W, W], memories: ANY, form: Some((LinearDw, Broadcast)), unchecked: true,
        cost: cost::linear_dw,
    }
    linear_dw_few(LinearDwArgs)
    [
        linear_dw_args linear_dw_factors linear_dw_results linear_dw_sums linear_dw_rows linear_dw_bias gradient scaling
        coefficients pass
    ] {
        bindings: &[A, R, R, R, W, W, W], memories: ANY, form: Some((LinearDw, Few)), unchecked: true,
        cost: cost::linear_dw,
    }
    linear_dw_staged(LinearDwArgs)
    [
        linear_dw_args linear_dw_factors linear_dw_results staged staged_a staged_dz linear_dw_bias gradient scaling
        coefficients pass
    ] {
        bindings: &[A, R, R, R, W, W, W], memories: ANY, form: Some((LinearDw, Staged)), unchecked: true,
        cost: cost::linear_dw,
    }
    linear_dw_cooperative(LinearDwArgs)
    [
        linear_dw_args linear_dw_factors linear_dw_results cooperative cooperative_a cooperative_dz linear_dw_bias
        gradient scaling coefficients pass
    ] {
        bindings: &[A, R, R, R, W, W, W], memories: &[F16], form: Some((LinearDw, Cooperative)), unchecked: true,
        cost: cost::linear_dw,
    }
    linear_dw_split(LinearDwArgs) [linear_dw_args linear_dw_factors linear_dw_sums linear_dw_tile pass] {
        bindings: &[A, R, R, W], memories: ANY, form: Some((LinearDw, Split)), unchecked: true, cost: cost::linear_dw,
    }
    linear_dw_sum(LinearDwArgs) [linear_dw_args linear_dw_bias gradient scaling coefficients pass] {
        bindings: &[A, R, R, W, W, W], memories: ANY, form: Some((LinearDw, Sum)), unchecked: false,
        cost: cost::linear_dw,
    }
    norm_dw(NormArgs) [norm_args reduce_rows scaling pass] {
        bindings: &[A, R, R, R, W], memories: ANY, form: None, unchecked: false, cost: cost::norm_dw,
    }
    batch_norm_dx(NormArgs) [norm_args scaling pass] {
        bindings: &[A, R, R, R, R, R, W], memories: ANY, form: None, unchecked: false, cost: cost::norm,
    }
    layer_norm_dx(LayerNormDxArgs) [reduce pass] {
        bindings: &[A, R, R, R, W], memories: ANY, form: None, unchecked: false, cost: cost::norm,
    }
    softmax_cross_entropy(LossArgs) [loss is_output reduce scaling coefficients pass] {
        bindings: &[A, R, R, R, W, W, W], memories: ANY, form: None, unchecked: false, cost: cost::loss,
    }
    mse(LossArgs) [loss reduce scaling coefficients pass] {
        bindings: &[A, R, R, R, W, W, W], memories: ANY, form: None, unchecked: false, cost: cost::loss,
    }
    ensemble(EnsembleArgs) [is_output pass] {
        bindings: &[A, W, W], memories: ANY, form: None, unchecked: false, cost: cost::ensemble,
    }
    loss_scale(LossScaleArgs) [pass] {
        bindings: &[A, R, W], memories: ANY, form: None, unchecked: false, cost: cost::loss_scale,
    }
    grad_norm(GradNormArgs) [norm reduce scaling coefficients pass] {
        bindings: &[A, R, W, W, W], memories: &[], form: None, unchecked: false, cost: cost::grad_norm,
    }
    sgd(UpdateArgs) [vector optimizer keep scaling coefficients pass] {
        bindings: &[A, R, R, W, W, W], memories: ANY, form: None, unchecked: false, cost: cost::optimizer,
    }
    adam(UpdateArgs) [vector optimizer keep scaling coefficients pass] {
        bindings: &[A, R, R, W, W, W], memories: ANY, form: None, unchecked: false, cost: cost::optimizer,
    }
    rmsprop(UpdateArgs) [vector optimizer keep scaling coefficients pass] {
        bindings: &[A, R, R, W, W, W], memories: ANY, form: None, unchecked: false, cost: cost::optimizer,
    }
    ascent(AscentArgs) [norm ascent_size reduce coefficients pass] {
        bindings: &[A, R, R, W, W], memories: &[], form: None, unchecked: false, cost: cost::ascent,
    }
    ascend(UpdateArgs) [vector ascent_size] {
        bindings: &[A, R, R, W, W], memories: &[], form: None, unchecked: false, cost: cost::ascend,
    }
    average(UpdateArgs) [vector coefficients pass] {
        bindings: &[A, R, W], memories: &[], form: None, unchecked: false, cost: cost::average,
    }
    lookahead(UpdateArgs) [vector coefficients pass] {
        bindings: &[A, W, W], memories: &[], form: None, unchecked: false, cost: cost::lookahead,
    }
    to_half(UpdateArgs) [vector] {
        bindings: &[A, R, W], memories: ANY, form: None, unchecked: false, cost: cost::to_half,
    }
    axpy(UpdateArgs) [vector] {
        bindings: &[A, R, R, W], memories: &[], form: None, unchecked: false, cost: cost::axpy,
    }
    scale(UpdateArgs) [vector] {
        bindings: &[A, R, W], memories: &[], form: None, unchecked: false, cost: cost::scale,
    }
    combine(CombineArgs) [pass] {
        bindings: &[A, R, R, R, R, W], memories: &[F32], form: None, unchecked: false, cost: cost::tangent,
    }
    activate_r(TangentArgs) [tangent_args activation second pass] {
        bindings: &[A, R, R, R, W, W], memories: &[F32], form: None, unchecked: false, cost: cost::tangent,
    }
    norm_r(TangentArgs) [tangent_args reduce pass] {
        bindings: &[A, R, R, R, W, W], memories: &[F32], form: None, unchecked: false, cost: cost::tangent,
    }
    affine_r(TangentArgs) [tangent_args pass] {
        bindings: &[A, R, R, R, R, W], memories: &[F32], form: None, unchecked: false, cost: cost::tangent,
    }
    affine_dx_r(TangentArgs) [tangent_args pass] {
        bindings: &[A, R, R, W, W], memories: &[F32], form: None, unchecked: false, cost: cost::tangent,
    }
    norm_dx_r(TangentArgs) [tangent_args reduce pass] {
        bindings: &[A, R, R, R, R, W, W], memories: &[F32], form: None, unchecked: false, cost: cost::tangent,
    }
    softmax_cross_entropy_r(TangentArgs) [tangent_args pass] {
        bindings: &[A, R, W], memories: &[F32], form: None, unchecked: false, cost: cost::loss,
    }
    mse_r(TangentArgs) [tangent_args pass] {
        bindings: &[A, W], memories: &[F32], form: None, unchecked: false, cost: cost::loss,
    }
    linear_dx_r(TangentArgs) [tangent_args pass] {
        bindings: &[A, R, R, W], memories: &[F32], form: None, unchecked: false, cost: cost::activate,
    }
    dot(DotArgs) [reduce] {
        bindings: &[A, R, R, W], memories: &[], form: None, unchecked: false, cost: cost::dot,
    }
}
