enable f16;
enable wgpu_cooperative_matrix;

// As linear.wgsl, for devices whose subgroups multiply matrices: fragments of SIDE x SIDE halves, summed up in f32.
//
// z = a · Wᵀ + b,  y = dropout(activation(z)) (+ a if RESIDUAL),  slope = activation'(z), 0 where y is dropped
//
// a: (R, room, inputs), W: (R, inputs, outputs), y and slope: (R, room, outputs), all in vec4s along the last axis.
//
// On an H100 no faster than f32: its driver keeps arrays of fragments in memory. The probe of the peak, which names each of
// its fragments, runs at 432 TFLOP/s there, and ran at 29 with an array.
//
// One workgroup makes ROWS rows of y and COLUMNS vec4s of each. It has SLICES subgroups, which take every SLICES-th part of
// the sum each: all invocations stage DEPTH values of the rows of a, and as many rows of W, for each of them in workgroup
// memory, with zeros past the ends, so that shapes need not be multiples of anything. y: its rows, z: its replica.

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

override LANES: u32 = 32u; // of a subgroup
override SLICES: u32 = 1u;
override ACTIVATION: u32 = 0u; // identity, relu, gelu, gelu_tanh, silu, tanh
override RESIDUAL: bool = false;
override DROPOUT: bool = false;
const SIDE: u32 = 8u; // of a fragment, as in coop_mat8x8
const ROWS: u32 = 16u;
const COLUMNS: u32 = 4u;
const DEPTH: u32 = 2u * SIDE; // of the sum, staged at a time
const TILE: u32 = ROWS * COLUMNS; // vec4s
const DOWN: u32 = ROWS / SIDE;
const ACROSS: u32 = 4u * COLUMNS / SIDE;

var<workgroup> a_stage: array<f16, SLICES * ROWS * DEPTH>;         // (SLICES, ROWS, DEPTH)
var<workgroup> w_stage: array<f16, SLICES * DEPTH * 4u * COLUMNS>; // (SLICES, DEPTH, COLUMNS)
var<workgroup> slices: array<f32, SLICES * 4u * TILE>;             // (SLICES, ROWS, COLUMNS)

@compute @workgroup_size(LANES * SLICES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let first_row = group.y * ROWS;
    let first_column = group.x * COLUMNS;
    let r = group.z;
    // Where subgroups are smaller than LANES there are more, which do what another does: WGSL lets none stand aside.
    let slice = subgroup % SLICES;

    var z: array<array<coop_mat8x8<f32, C>, ACROSS>, DOWN>;
    for (var first = 0u; first < args.inputs; first += SLICES * DEPTH / 4u) {
        for (var i = index; i < SLICES * ROWS * DEPTH / 4u; i += LANES * SLICES) {
            let row = first_row + i / (DEPTH / 4u) % ROWS;
            let k = first + i / (ROWS * DEPTH / 4u) * (DEPTH / 4u) + i % (DEPTH / 4u);
            var x = Stored();
            if row < pass_.rows && k < args.inputs {
                x = a[r * args.a_stride + row * args.inputs + k];
            }
            for (var c = 0u; c < 4u; c++) {
                a_stage[4u * i + c] = x[c];
            }
        }
        for (var i = index; i < SLICES * DEPTH * COLUMNS; i += LANES * SLICES) {
            let k = 4u * first + i / COLUMNS;
            let output = first_column + i % COLUMNS;
            var w = Stored();
            if k < 4u * args.inputs && output < args.outputs {
                w = params[r * args.params_stride + args.weight + k * args.outputs + output];
            }
            for (var c = 0u; c < 4u; c++) {
                w_stage[4u * i + c] = w[c];
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += SIDE) {
            var w: array<coop_mat8x8<f16, B>, ACROSS>;
            for (var j = 0u; j < ACROSS; j++) {
                w[j] = coopLoadT<coop_mat8x8<f16, B>>(
                    &w_stage[((slice * DEPTH + k) * ACROSS + j) * SIDE],
                    4u * COLUMNS,
                );
            }
            for (var i = 0u; i < DOWN; i++) {
                let x = coopLoadT<coop_mat8x8<f16, A>>(&a_stage[(slice * ROWS + i * SIDE) * DEPTH + k], DEPTH);
                for (var j = 0u; j < ACROSS; j++) {
                    z[i][j] = coopMultiplyAdd(x, w[j], z[i][j]);
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < DOWN; i++) {
        for (var j = 0u; j < ACROSS; j++) {
            coopStoreT(z[i][j], &slices[((slice * ROWS + i * SIDE) * ACROSS + j) * SIDE], 4u * COLUMNS);
        }
    }
    workgroupBarrier();

    for (var i = index; i < TILE; i += LANES * SLICES) {
        let row = first_row + i / COLUMNS;
        let output = first_column + i % COLUMNS;
        if row < pass_.rows && output < args.outputs {
            var result = activate(sum(i) + load(params[r * args.params_stride + args.bias + output]));
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
    }
}

// What all slices summed up of vec4 i of the tile.
fn sum(i: u32) -> vec4<f32> {
    var total = vec4<f32>();
    for (var s = 0u; s < SLICES; s++) {
        total += slice_at(s * TILE + i);
    }
    return total;
}

fn slice_at(i: u32) -> vec4<f32> {
    return vec4(slices[4u * i], slices[4u * i + 1u], slices[4u * i + 2u], slices[4u * i + 3u]);
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

alias Stored = vec4<f16>;

fn load(v: Stored) -> vec4<f32> {
    return vec4<f32>(v);
}

// What no half can hold becomes infinite, whichever way the device rounds.
fn store(v: vec4<f32>) -> Stored {
    return Stored(select(v, v * 1e38, abs(v) > vec4(65504.0)));
}
