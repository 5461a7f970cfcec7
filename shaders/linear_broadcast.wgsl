// As linear.wgsl, for devices with subgroups of eight invocations or more: each invocation loads a row of a of its own, and
// hands it to the others, instead of all of them loading every row.
//
// On Mesa's software driver every load costs: 128x3072x512 takes 10.1 ms instead of 24.5, and 512x512x512 5.4 ms with 64
// rows and one column, 6.0 with 32 and two, 9.2 with 8 and two: 50, 45 and 29 GFLOP/s. The sums have the same order, and so
// the same bits.
//
// z = a · Wᵀ + b,  y = dropout(activation(z)) (+ a if RESIDUAL),  slope = activation'(z), 0 where y is dropped
//
// a: (R, room, inputs), W: (R, inputs, outputs), y and slope: (R, room, outputs), all in vec4s along the last axis.
//
// One workgroup makes ROWS rows of y and LANES * COLUMNS vec4s of each, its lanes side by side along the outputs, so
// that their loads of W are neighbours. One invocation holds ROWS x COLUMNS
// vec4s in registers. y: its rows, z: its replica.

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
@group(0) @binding(3) var<storage, read_write> y: array<Stored>;        // (R, room, outputs)
@group(0) @binding(4) var<storage, read_write> slope: array<Stored>;    // (R, room, outputs)
@group(1) @binding(0) var<uniform> pass_: Pass;
@group(1) @binding(1) var<storage, read> coefficients: array<Coefficients>; // (slots, R)

override LANES: u32 = 32u;
override ACTIVATION: u32 = 0u; // identity, relu, gelu, gelu_tanh, silu, tanh
override RESIDUAL: bool = false;
override DROPOUT: bool = false;
const ROWS: u32 = 16u;
const COLUMNS: u32 = 2u;
const GROUPS: u32 = ROWS / 8u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) lane: vec3<u32>,
    @builtin(subgroup_invocation_id) id: u32,
) {
    let first_row = group.y * ROWS;
    let first_column = group.x * LANES * COLUMNS + lane.x;
    let r = group.z;

    // Rows and columns past the end repeat the last one; their results are not stored.
    var row_at: array<u32, GROUPS>;
    for (var g = 0u; g < GROUPS; g++) {
        let row = first_row + 8u * g + id % 8u;
        row_at[g] = r * args.a_stride + min(row, pass_.rows - 1u) * args.inputs;
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = r * args.params_stride + args.weight + min(first_column + j * LANES, args.outputs - 1u);
    }

    // Drivers unroll a loop that counts up to the length of the array that it reads.
    var z: array<array<array<vec4<f32>, COLUMNS>, 8>, GROUPS>;
    for (var k = 0u; k < args.inputs; k++) {
        var w0: array<vec4<f32>, COLUMNS>;
        var w1: array<vec4<f32>, COLUMNS>;
        var w2: array<vec4<f32>, COLUMNS>;
        var w3: array<vec4<f32>, COLUMNS>;
        let k_at = 4u * k * args.outputs;
        for (var j = 0u; j < COLUMNS; j++) {
            w0[j] = load(params[column[j] + k_at]);
            w1[j] = load(params[column[j] + k_at + args.outputs]);
            w2[j] = load(params[column[j] + k_at + 2u * args.outputs]);
            w3[j] = load(params[column[j] + k_at + 3u * args.outputs]);
        }
        for (var g = 0u; g < GROUPS; g++) {
            let own = load(a[row_at[g] + k]);
            z[g][0] = accumulate(z[g][0], subgroupBroadcast(own, 0u), w0, w1, w2, w3);
            z[g][1] = accumulate(z[g][1], subgroupBroadcast(own, 1u), w0, w1, w2, w3);
            z[g][2] = accumulate(z[g][2], subgroupBroadcast(own, 2u), w0, w1, w2, w3);
            z[g][3] = accumulate(z[g][3], subgroupBroadcast(own, 3u), w0, w1, w2, w3);
            z[g][4] = accumulate(z[g][4], subgroupBroadcast(own, 4u), w0, w1, w2, w3);
            z[g][5] = accumulate(z[g][5], subgroupBroadcast(own, 5u), w0, w1, w2, w3);
            z[g][6] = accumulate(z[g][6], subgroupBroadcast(own, 6u), w0, w1, w2, w3);
            z[g][7] = accumulate(z[g][7], subgroupBroadcast(own, 7u), w0, w1, w2, w3);
        }
    }

    for (var j = 0u; j < COLUMNS; j++) {
        let output = first_column + j * LANES;
        if output < args.outputs {
            let bias = load(params[r * args.params_stride + args.bias + output]);
            for (var g = 0u; g < GROUPS; g++) {
                for (var i = 0u; i < 8u; i++) {
                    let row = first_row + 8u * g + i;
                    if row < pass_.rows {
                        let at = r * args.y_stride + row * args.outputs + output;
                        var result = activate(z[g][i][j] + bias);
                        if DROPOUT {
                            let factor = dropout(r, row, output);
                            result.value *= factor;
                            result.slope *= factor;
                        }
                        if RESIDUAL {
                            result.value += load(a[r * args.a_stride + row * args.inputs + output]);
                        }
                        y[at] = store(result.value);
                        slope[at] = store(result.slope);
                    }
                }
            }
        }
    }
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

fn accumulate(
    z: array<vec4<f32>, COLUMNS>,
    x: vec4<f32>,
    w0: array<vec4<f32>, COLUMNS>,
    w1: array<vec4<f32>, COLUMNS>,
    w2: array<vec4<f32>, COLUMNS>,
    w3: array<vec4<f32>, COLUMNS>,
) -> array<vec4<f32>, COLUMNS> {
    var sum = z;
    for (var j = 0u; j < COLUMNS; j++) {
        sum[j] = fma(vec4(x.w), w3[j], fma(vec4(x.z), w2[j], fma(vec4(x.y), w1[j], fma(vec4(x.x), w0[j], sum[j]))));
    }
    return sum;
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
