//! The kernel of the weight gradient, by itself and with the update that uses it up.

use bytemuck::bytes_of;

use super::layers::{Task, named};
use super::updates::{EMA, Trained, rounded};
use super::{Shape, UNTOUCHED, floats, product_tolerance, words};
use crate::cpu;
use crate::engine::stride;
use crate::error::Result;
use crate::gpu::adapter::Gpu;
use crate::gpu::forms::Form;
use crate::gpu::kernels::{self, LinearDwArgs, Pass, Product, Scaling, Stored};
use crate::optimizer::{Coefficients, Optimizer};
use crate::schedule::Rate;
use crate::verify::{Check, EPS};

/// The factor that the gradient is multiplied with.
const LOSS_FACTOR: f64 = 0.25;

/// The checks of `linear_dw` in each form: the gradient by itself, or with an optimizer what its rule makes of it:
/// weights, biases, state, the EMA behind it, and in halves the working copy.
///
/// # Errors
/// The device is lost, or refuses the shader.
pub fn linear_dw(
    gpu: &Gpu,
    shape: Shape,
    accumulate: bool,
    optimizer: Option<Optimizer>,
    forms: &[Form],
) -> Result<Vec<Check>> {
    let (a, dz) = (shape.activations(8, shape.inputs), shape.activations(9, shape.outputs));
    let mut trained = first(shape, optimizer);
    let scaling = vec![Scaling { factor: LOSS_FACTOR as f32, ..Scaling::new(1.0) }; shape.replicas];
    let buffers = [
        shape.words(&a),
        shape.words(&dz),
        bytemuck::cast_slice(&scaling).to_vec(),
        words(&trained.w),
        words(&trained.state.concat()),
        shape.words(&trained.working),
    ];
    let args = args(shape);
    let update = optimizer.map(|optimizer| (optimizer, coefficients(optimizer)));
    let of_step = update.map_or_else(Coefficients::default, |(_, c)| c).into();
    let task = Task {
        shape,
        product: Product::LinearDw,
        rule: optimizer.map(|optimizer| optimizer.rule()),
        args: bytes_of(&args),
        pass: Pass { accumulate: u32::from(accumulate), ..shape.pass() },
        coefficients: &vec![kernels::Coefficients { ema: EMA as f32, ..of_step }; shape.replicas],
        finish: &optimizer.map_or_else(Vec::new, |optimizer| constants(shape, optimizer)),
        buffers: &buffers,
        read_twice: false,
        columns: args.outputs,
        height: stride(shape.inputs) + 1,
        rows: args.inputs,
    };
    expect(shape, accumulate, update, [&a, &dz], &mut trained);

    let want = [trained.w, trained.state.concat()].concat();
    let bound = bound(shape, optimizer.is_some());
    let alone = if accumulate { " accumulated" } else { "" };
    let more = optimizer.map_or(alone.into(), |o| format!(" {:?}", o.rule()).to_lowercase());
    let mut checks = Vec::new();
    for &form in forms {
        let got = task.run(gpu, form)?.split_off(1);
        let name = shape.name(&named(Product::LinearDw, form), &more);
        let vectors: Vec<f64> = got[..2].iter().flat_map(|b| floats(b)).collect();
        checks.push(Check::new(name.clone(), &vectors, &want, &bound));
        let stored = |x: f64| bound(x) + shape.storing(x);
        checks.push(Check::new(name + " working", &shape.floats(&got[2]), &trained.working, stored));
    }
    Ok(checks)
}

/// Weights and a state that is not 0.
fn first(shape: Shape, optimizer: Option<Optimizer>) -> Trained {
    let vectors = optimizer.map_or(0, |o| o.state_vectors());
    // Second moments are not negative; a centered one, in state 0, lies above the square of the mean, in state 2.
    let least = [(0, 1.5), (1, 0.5), (2, 0.0)].into_iter().take(vectors);
    let state = |(i, least): (u64, f64)| shape.weights(40 + i).into_iter().map(|x| x.abs() + least).collect();
    let mut state: Vec<Vec<f64>> = least.map(state).collect();
    state.push(shape.weights(43));
    let w = shape.weights(10);
    let working = vec![UNTOUCHED; w.len()];
    Trained { w, state, working, mixed: shape.stored != Stored::F32 }
}

fn args(shape: Shape) -> LinearDwArgs {
    let (inputs, outputs) = (stride(shape.inputs), stride(shape.outputs));
    LinearDwArgs {
        inputs: inputs as u32 / 4,
        outputs: outputs as u32 / 4,
        weight: 0,
        bias: shape.layer().bias as u32 / 4,
        params_stride: shape.params() as u32 / 4,
        a_stride: (shape.room() * inputs / 4) as u32,
        dz_stride: (shape.room() * outputs / 4) as u32,
        // The bias has no part in the weight decay.
        decayed: shape.layer().bias as u32 / 4,
    }
}

/// The coefficients of a step that is not the first.
fn coefficients(optimizer: Optimizer) -> Coefficients {
    rounded(optimizer.coefficients(3, Rate { lr: 0.1, momentum: optimizer.rate().momentum }))
}

/// The constants of what is fixed in the update.
fn constants(shape: Shape, optimizer: Optimizer) -> Vec<(&'static str, f64)> {
    let mixed = f64::from(shape.stored != Stored::F32);
    vec![kernels::update(optimizer.rule()).flag, ("EMA", optimizer.state_vectors() as f64), ("MIXED", mixed)]
}

/// What the twins leave in `trained`: the gradient in place of the weights, or the update's results.
fn expect(
    shape: Shape,
    accumulate: bool,
    update: Option<(Optimizer, Coefficients)>,
    [a, dz]: [&[f64]; 2],
    trained: &mut Trained,
) {
    let (layer, n) = (shape.layer(), shape.params());
    let dz: Vec<f64> = dz.iter().map(|d| d * LOSS_FACTOR).collect();
    for r in 0..shape.replicas {
        let (a, dz) = (shape.rows_of(a, r, shape.inputs), shape.rows_of(&dz, r, shape.outputs));
        let Some((optimizer, coefficients)) = update else {
            cpu::linear_dw(&layer, accumulate, a, dz, &mut trained.w[r * n..][..n]);
            continue;
        };
        let mut grads = vec![0.0; n];
        cpu::linear_dw(&layer, false, a, dz, &mut grads);
        let end = layer.bias + stride(shape.outputs);
        trained.update(optimizer, coefficients, 1.0, r * n, &grads[..end], layer.bias);
    }
}

/// The error that is allowed beside a gradient of this value, or beside what an update makes of it.
fn bound(shape: Shape, is_updated: bool) -> impl Fn(f64) -> f64 {
    // Products of up to 1 make sums of √rows.
    let product = product_tolerance(shape.rows) * (shape.rows as f64).sqrt();
    // An update hands on the error δ of a gradient g: at most 3 δ to RMSprop's g / √(v − m²) with the variance above 0.4,
    // less to what is multiplied with a rate, and 0.2 g δ <= δ (1 + v) to a second moment v. A dozen roundings come to it.
    move |x| match is_updated {
        false => product + EPS * x.abs(),
        true => (4.0 * product + 12.0 * EPS) * (1.0 + x.abs()),
    }
}

/// An optimizer of every rule, with and without what is fixed in it.
pub fn optimizers() -> Vec<Optimizer> {
    let (lr, weight_decay, eps) = (0.1, 0.01, 1e-8);
    let mut all = Vec::new();
    for flag in [false, true] {
        all.push(Optimizer::Sgd { lr, momentum: 0.9, dampening: 0.0, weight_decay, nesterov: flag });
        all.push(Optimizer::Adamw { lr, betas: [0.9, 0.99], eps, weight_decay, amsgrad: flag });
        all.push(Optimizer::Rmsprop { lr, alpha: 0.9, eps, weight_decay, momentum: 0.5, centered: flag });
    }
    all
}
