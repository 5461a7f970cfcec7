enable f16;
enable wgpu_cooperative_matrix;

// As linear.wgsl, for devices whose subgroups multiply matrices: fragments of SIDE x SIDE halves, summed up in f32.
//
// z = a · Wᵀ + b,  y = dropout(activation(z)) (+ a if RESIDUAL),  slope = activation'(z), 0 where y is dropped
//
// a: (R, room, inputs), W: (R, inputs, outputs), y and slope: (R, room, outputs), all in vec4s along the last axis.
//
// On an H100 2048x3072x512 takes 57 µs, and 512x3072x512 33; their weight gradients take 64 and 25. Not kept, since they are
// slower in all: two stages in turn with one barrier each, 54 and 27, but 91 and 32; eight subgroups to a tile and 64 terms a
// stage, 65 and 30, and 88 and 31.
//
// Fragments have names, since drivers may keep arrays of them in memory: on an H100 the probe of the peak ran at 29 TFLOP/s with
// an array of sums, and runs at 432 without.
//
// One workgroup makes ROWS rows of y and COLUMNS vec4s of each. It has four subgroups, of which each makes two by two fragments
// of the tile; where the tile has fewer, they cut the sum into slices. All invocations stage DEPTH terms of both factors in
// workgroup memory while they multiply those before, with zeros past the ends, so that shapes need not be multiples of
// anything. y: its rows, z: its replica.

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
override ACTIVATION: u32 = 0u; // identity, relu, gelu, gelu_tanh, silu, tanh
override RESIDUAL: bool = false;
override DROPOUT: bool = false;
const SIDE: u32 = 8u; // of a fragment, as in coop_mat8x8
const ROWS: u32 = 32u;
const COLUMNS: u32 = 8u;
const SUBGROUPS: u32 = 4u;
const DOWN: u32 = ROWS / (2u * SIDE);
const ACROSS: u32 = 2u * COLUMNS / SIDE;
const SLICES: u32 = SUBGROUPS / (DOWN * ACROSS);
const DEPTH: u32 = max(2u, SLICES) * SIDE; // of the sum, staged at a time
const A_STRIDE: u32 = DEPTH + 8u; // halves from row to row of a stage: 8 more, so that they start in different banks
const W_STRIDE: u32 = 4u * COLUMNS + 8u;
const QUARTER: u32 = ROWS * COLUMNS / 4u; // vec4s of a quarter of the tile, a fragment of each subgroup

var<workgroup> a_stage: array<f16, ROWS * A_STRIDE>; // (ROWS, DEPTH)
var<workgroup> w_stage: array<f16, DEPTH * W_STRIDE>; // (DEPTH, COLUMNS)
var<workgroup> slices: array<f32, SUBGROUPS * SIDE * SIDE>; // (SLICES, DOWN, ACROSS, SIDE, SIDE)

@compute @workgroup_size(SUBGROUPS * LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let first_row = group.y * ROWS;
    let first_column = group.x * COLUMNS;
    let r = group.z;
    // Read once: a driver may read them again after every barrier.
    let inputs = args.inputs;
    let outputs = args.outputs;
    let terms = 4u * inputs;

    // What this invocation stages: up to four vec4s of each factor, of different rows the same columns. Rows and
    // columns past the end repeat the last one; their results are not stored. Terms past the end are 0.
    let each = vec4(0u, 1u, 2u, 3u) * SUBGROUPS * LANES + index;
    let a_rows = each / (DEPTH / 4u);
    let a_column = index % (DEPTH / 4u);
    let stages_a = a_rows < vec4(ROWS);
    let a_places = a_rows * A_STRIDE + 4u * a_column;
    let a_at = r * args.a_stride + min(first_row + a_rows, vec4(pass_.rows - 1u)) * inputs + a_column;
    let w_rows = each / COLUMNS;
    let w_column = index % COLUMNS;
    let stages_w = w_rows < vec4(DEPTH);
    let w_places = w_rows * W_STRIDE + 4u * w_column;
    let w_at = r * args.params_stride + args.weight + w_rows * outputs + min(first_column + w_column, outputs - 1u);

    // Where subgroups are smaller than LANES there are more, which do what another does: WGSL lets none stand aside.
    let own = subgroup % SUBGROUPS;
    let slice = own / (DOWN * ACROSS);
    let down = own / ACROSS % DOWN * 2u * SIDE;
    let across = own % ACROSS * 2u * SIDE;
    var sums00: coop_mat8x8<f32, C>;
    var sums01: coop_mat8x8<f32, C>;
    var sums10: coop_mat8x8<f32, C>;
    var sums11: coop_mat8x8<f32, C>;
    var next_a = four_of_a(a_at, stages_a & vec4(a_column < inputs));
    var next_w = four_of_w(w_at, stages_w & (w_rows < vec4(terms)));
    for (var first = 0u; first < terms; first += DEPTH) {
        put_a(a_places, stages_a, next_a);
        put_w(w_places, stages_w, next_w);
        workgroupBarrier();
        // These are on their way while those are multiplied.
        let next = first + DEPTH;
        next_a = four_of_a(a_at + next / 4u, stages_a & vec4(next / 4u + a_column < inputs));
        next_w = four_of_w(w_at + next * outputs, stages_w & (next + w_rows < vec4(terms)));
        for (var i = 0u; i < DEPTH / SLICES; i += SIDE) {
            let term = slice * DEPTH / SLICES + i;
            let a_place = down * A_STRIDE + term;
            let w_place = term * W_STRIDE + across;
            let a0 = coopLoadT<coop_mat8x8<f16, A>>(&a_stage[a_place], A_STRIDE);
            let a1 = coopLoadT<coop_mat8x8<f16, A>>(&a_stage[a_place + SIDE * A_STRIDE], A_STRIDE);
            let w0 = coopLoadT<coop_mat8x8<f16, B>>(&w_stage[w_place], W_STRIDE);
            let w1 = coopLoadT<coop_mat8x8<f16, B>>(&w_stage[w_place + SIDE], W_STRIDE);
            sums00 = coopMultiplyAdd(a0, w0, sums00);
            sums01 = coopMultiplyAdd(a0, w1, sums01);
            sums10 = coopMultiplyAdd(a1, w0, sums10);
            sums11 = coopMultiplyAdd(a1, w1, sums11);
        }
        workgroupBarrier();
    }
    for (var quarter = 0u; quarter < 4u; quarter++) {
        switch quarter {
            case 0u: {
                coopStoreT(sums00, &slices[own * SIDE * SIDE], SIDE);
            }
            case 1u: {
                coopStoreT(sums01, &slices[own * SIDE * SIDE], SIDE);
            }
            case 2u: {
                coopStoreT(sums10, &slices[own * SIDE * SIDE], SIDE);
            }
            default: {
                coopStoreT(sums11, &slices[own * SIDE * SIDE], SIDE);
            }
        }
        workgroupBarrier();
        for (var i = index; i < QUARTER; i += SUBGROUPS * LANES) {
            let place = in_tile(quarter, i);
            let row = first_row + place.x;
            let output = first_column + place.y;
            if row < pass_.rows && output < outputs {
                var result = activate(sum(i) + load(params[r * args.params_stride + args.bias + output]));
                if DROPOUT {
                    let factor = dropout(r, row, output);
                    result.value *= factor;
                    result.slope *= factor;
                }
                if RESIDUAL {
                    result.value += load(a[r * args.a_stride + row * inputs + output]);
                }
                let at = r * args.y_stride + row * outputs + output;
                y[at] = store(result.value);
                slope[at] = store(result.slope);
            }
        }
        workgroupBarrier();
    }
}

fn four_of_a(at: vec4<u32>, is_there: vec4<bool>) -> array<Stored, 4> {
    return array(
        of_a(at.x, is_there.x),
        of_a(at.y, is_there.y),
        of_a(at.z, is_there.z),
        of_a(at.w, is_there.w),
    );
}

fn of_a(at: u32, is_there: bool) -> Stored {
    if is_there {
        return a[at];
    }
    return Stored();
}

fn put_a(at: vec4<u32>, is_there: vec4<bool>, values: array<Stored, 4>) {
    if is_there.x {
        put_one_a(at.x, values[0]);
    }
    if is_there.y {
        put_one_a(at.y, values[1]);
    }
    if is_there.z {
        put_one_a(at.z, values[2]);
    }
    if is_there.w {
        put_one_a(at.w, values[3]);
    }
}

fn put_one_a(at: u32, value: Stored) {
    a_stage[at] = value.x;
    a_stage[at + 1u] = value.y;
    a_stage[at + 2u] = value.z;
    a_stage[at + 3u] = value.w;
}

fn four_of_w(at: vec4<u32>, is_there: vec4<bool>) -> array<Stored, 4> {
    return array(
        of_w(at.x, is_there.x),
        of_w(at.y, is_there.y),
        of_w(at.z, is_there.z),
        of_w(at.w, is_there.w),
    );
}

fn of_w(at: u32, is_there: bool) -> Stored {
    if is_there {
        return params[at];
    }
    return Stored();
}

fn put_w(at: vec4<u32>, is_there: vec4<bool>, values: array<Stored, 4>) {
    if is_there.x {
        put_one_w(at.x, values[0]);
    }
    if is_there.y {
        put_one_w(at.y, values[1]);
    }
    if is_there.z {
        put_one_w(at.z, values[2]);
    }
    if is_there.w {
        put_one_w(at.w, values[3]);
    }
}

fn put_one_w(at: u32, value: Stored) {
    w_stage[at] = value.x;
    w_stage[at + 1u] = value.y;
    w_stage[at + 2u] = value.z;
    w_stage[at + 3u] = value.w;
}

// Row and column, in vec4s, of vec4 i of a quarter of the tile: its fragments' upper left ones, upper right ones, and so on.
fn in_tile(quarter: u32, i: u32) -> vec2<u32> {
    let fragment = i / (SIDE * SIDE / 4u);
    let within = vec2(i / (SIDE / 4u) % SIDE, i % (SIDE / 4u));
    let corner = vec2(2u * (fragment / ACROSS) + quarter / 2u, 2u * (fragment % ACROSS) + quarter % 2u);
    return corner * vec2(SIDE, SIDE / 4u) + within;
}

// What all slices summed up of vec4 i of a quarter.
fn sum(i: u32) -> vec4<f32> {
    var total = vec4<f32>();
    for (var s = 0u; s < SLICES; s++) {
        total += slice_at(s * QUARTER + i);
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
