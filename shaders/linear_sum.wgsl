// The second pass of linear_split.wgsl: adds the parts of every sum up in their order, and finishes as linear.wgsl.
//
// z = Σ_p parts[p] + b,  y = dropout(activation(z)) (+ a if RESIDUAL),  slope = activation'(z), 0 where y is dropped
//
// parts: (PARTS, R, rows, outputs), a: (R, room, inputs), y and slope: (R, room, outputs), all in vec4s along the last axis.
//
// One invocation makes one vec4. y: its row, z: its replica.

struct Pass {
    first: u32,
    rows: u32,
    batch: u32,
    slot: u32,
    accumulate: u32,
    streamed: u32,
    streamed_rows: u32,
    replicas: u32,
    member: u32,
    members: u32,
}

struct Coefficients {
    step_size: f32,
    momentum: f32,
    gain: f32,
    decay: f32,
    fresh: f32,
    correction: f32,
    eps: f32,
    weight_decay: f32,
    shrink: f32,
    swa: f32,
    ema: f32,
    lookahead: f32,
    statistics: f32,
    seed: u32,
    step: u32,
}

struct Args {
    inputs: u32,        // vec4s
    outputs: u32,       // vec4s
    weight: u32,        // offset in params, in vec4s
    bias: u32,          // offset in params, in vec4s
    params_stride: u32, // vec4s of one replica's params
    a_stride: u32,      // vec4s of one replica's a; 0 if all share one
    y_stride: u32,      // vec4s of one replica's y
    purpose: u32,       // of dropout's random numbers
    dropped: u32,       // an output whose hash is below it is dropped
    kept: f32,          // multiplies the others
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> params: array<Stored>;         // (R, P)
@group(0) @binding(2) var<storage, read> a: array<Stored>;              // (R or 1, room, inputs)
@group(0) @binding(3) var<storage, read> parts: array<vec4<f32>>;       // (PARTS, R, rows, outputs)
@group(0) @binding(4) var<storage, read_write> y: array<Stored>;        // (R, room, outputs)
@group(0) @binding(5) var<storage, read_write> slope: array<Stored>;    // (R, room, outputs)
@group(1) @binding(0) var<uniform> pass_: Pass;
@group(1) @binding(1) var<storage, read> coefficients: array<Coefficients>; // (slots, R)

override LANES: u32 = 32u;
override PARTS: u32 = 2u;
override ACTIVATION: u32 = 0u; // identity, relu, gelu, gelu_tanh, silu, tanh
override RESIDUAL: bool = false;
override DROPOUT: bool = false;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let output = id.x;
    let row = id.y;
    let r = id.z;
    if output >= args.outputs || row >= pass_.rows {
        return;
    }
    var z = vec4<f32>();
    for (var part = 0u; part < PARTS; part++) {
        z += parts[((part * pass_.replicas + r) * pass_.rows + row) * args.outputs + output];
    }
    var result = activate(z + load(params[r * args.params_stride + args.bias + output]));
    if DROPOUT {
        let factor = dropout(r, row, output);
        result.value *= factor;
        result.slope *= factor;
    }
    if RESIDUAL {
        result.value += load(a[r * args.a_stride + row * args.inputs + output]);
    }
    let at = r * args.y_stride + row * args.outputs + output;
    y[at] = store(result.value);
    slope[at] = store(result.slope);
}

// What multiplies four outputs of a row.
fn dropout(r: u32, row: u32, output: u32) -> vec4<f32> {
    let key = coefficients[pass_.slot * pass_.replicas + r];
    let h = hash(vec4(key.seed, key.step, pass_.first + row, args.purpose << 22u | output));
    return select(vec4(args.kept), vec4<f32>(), h < vec4(args.dropped));
}

// pcg4d (Jarzynski and Olano, Hash Functions for GPU Rendering, 2020)
fn hash(key: vec4<u32>) -> vec4<u32> {
    let v = stir(key * 1664525u + 1013904223u);
    return stir(v ^ (v >> vec4(16u)));
}

fn stir(key: vec4<u32>) -> vec4<u32> {
    var v = key;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    return v;
}

struct Activated {
    value: vec4<f32>,
    slope: vec4<f32>,
}

fn activate(z: vec4<f32>) -> Activated {
    switch ACTIVATION {
        case 1u: { // max(z, 0); NaN stays NaN, told by its bits, since drivers may take it for a number in comparisons
            let nan = (bitcast<vec4<u32>>(z) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
            return Activated(select(max(z, vec4(0.0)), z, nan), select(vec4(0.0), vec4(1.0), z > vec4(0.0)));
        }
        case 2u: { // z Φ(z)
            let below = 0.5 * (1.0 + erf(z * 0.70710678118654752));
            let density = 0.3989422804014327 * exp(-0.5 * z * z);
            return Activated(z * below, below + z * density);
        }
        case 3u: { // z/2 (1 + tanh(√(2/π) (z + 0.044715 z³)))
            let t = tanh_(0.7978845608028654 * (z + 0.044715 * z * z * z));
            let inner_slope = 0.7978845608028654 * (1.0 + 0.134145 * z * z);
            return Activated(0.5 * z * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * z * (1.0 - t * t) * inner_slope);
        }
        case 4u: { // z σ(z); the bound keeps exp finite, which WGSL does not promise to survive
            let s = 1.0 / (1.0 + exp(min(-z, vec4(80.0))));
            return Activated(z * s, s * (1.0 + z * (1.0 - s)));
        }
        case 5u: {
            let t = tanh_(z);
            return Activated(t, 1.0 - t * t);
        }
        default: {
            return Activated(z, vec4(1.0));
        }
    }
}

// Drivers may compute tanh by exponentials that overflow; from 9 on it is 1 in f32.
fn tanh_(z: vec4<f32>) -> vec4<f32> {
    return tanh(clamp(z, vec4(-9.5), vec4(9.5)));
}

// Abramowitz and Stegun (1964), 7.1.26: the error is at most 1.5e-7, about that of f32 next to 1.
fn erf(z: vec4<f32>) -> vec4<f32> {
    let t = 1.0 / (1.0 + 0.3275911 * abs(z));
    let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return sign(z) * (1.0 - p * exp(-z * z));
}

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
