// As linear.wgsl, for devices whose workgroup memory is faster than their other caches: all invocations stage DEPTH terms of
// both factors there while they add up those before, so that each value is read once for a whole tile.
//
// On an H100 2048x3072x512 takes 225 µs with tiles of 64 x 64 or 32 x 32, instead of 307 at best with a and W straight from
// storage. The sums alone, at its full clock, take 177 µs. Not kept there: rows of a that are transposed as they are staged, 330;
// 256 invocations, 291; lanes in rows of eight, 182; two stages ahead, 184; 128 sums of an invocation instead of 64, 195;
// three times the memory for 32 terms of tiles of 128 x 64, 170; two parts of every sum with such tiles, 157 and a second pass.
//
// z = a · Wᵀ + b,  y = dropout(activation(z)) (+ a if RESIDUAL),  slope = activation'(z), 0 where y is dropped
//
// a: (R, room, inputs), W: (R, inputs, outputs), y and slope: (R, room, outputs), all in vec4s along the last axis.
//
// One workgroup makes ROWS rows of y and COLUMNS vec4s of each. It has LANES invocations for each slice of the sum, which take
// every SLICES-th term; an invocation holds eight rows and two vec4s of each in registers. y: its rows, z: its replica.

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

override LANES: u32 = 64u; // of a slice: each makes eight rows and two vec4s of each
override SLICES: u32 = 2u;
override ACTIVATION: u32 = 0u; // identity, relu, gelu, gelu_tanh, silu, tanh
override RESIDUAL: bool = false;
override DROPOUT: bool = false;
const ROWS: u32 = 64u;
const COLUMNS: u32 = 16u;
const HEIGHT: u32 = ROWS / 4u; // vec4s along the tile's rows
const TILE: u32 = 4u * HEIGHT * COLUMNS; // vec4s
const STAGE: u32 = 512u; // vec4s: half of the memory that every device has
const DEPTH: u32 = STAGE / (HEIGHT + COLUMNS) / 16u * 16u; // terms staged at a time
const BLOCKS: u32 = DEPTH / 4u; // vec4s of a row's terms
const W_AT: u32 = ROWS * BLOCKS; // in a stage
const TILES: u32 = 2u * STAGE / TILE; // that the memory holds

// Two stages of a, (ROWS, BLOCKS), and W, (DEPTH, COLUMNS), what is left of each unused; then the sums of as many slices as
// fit: (TILES, ROWS, COLUMNS).
var<workgroup> memory: array<vec4<f32>, 2u * STAGE>;

@compute @workgroup_size(LANES * SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first_row = group.y * ROWS;
    let first_column = group.x * COLUMNS;
    let r = group.z;
    // Read once: a driver may read them again after every barrier.
    let inputs = args.inputs;
    let outputs = args.outputs;
    let terms = 4u * inputs;

    // What this invocation stages: two vec4s of rows of a, or one, and two of W. Rows and columns past the end repeat the
    // last one; their results are not stored. Terms past the end are 0.
    let a_row = index / BLOCKS + vec2(0u, LANES * SLICES / BLOCKS);
    let a_term = index % BLOCKS;
    let a_at = r * args.a_stride + min(first_row + a_row, vec2(pass_.rows - 1u)) * inputs + a_term;
    let a_place = vec2(place(a_row.x, a_term), place(a_row.y, a_term));
    let has_two = LANES * SLICES < W_AT;
    let w_term = index / COLUMNS + vec2(0u, LANES * SLICES / COLUMNS);
    let w_column = min(first_column + index % COLUMNS, outputs - 1u);
    let w_at = r * args.params_stride + args.weight + w_term * outputs + w_column;
    let w_place = W_AT + index + vec2(0u, LANES * SLICES);

    let slice = index / LANES;
    // Sixteen lanes make a square of four by four, and so read least.
    let lane = index % LANES;
    let across = lane / 2u % 4u + lane / 16u % max(COLUMNS / 8u, 1u) * 4u;
    let down = lane % 2u + lane / 8u % 2u * 2u + lane / (2u * COLUMNS) * 4u;
    // Four rows and a vec4 of each, by the first and the second half of the tile's rows, and of its columns.
    var sums00 = mat4x4<f32>();
    var sums01 = mat4x4<f32>();
    var sums10 = mat4x4<f32>();
    var sums11 = mat4x4<f32>();
    var a0 = of_a(a_at.x, a_term < inputs);
    var a1 = of_a(a_at.y, has_two && a_term < inputs);
    var w0 = of_w(w_at.x, w_term.x < terms);
    var w1 = of_w(w_at.y, w_term.y < terms);
    for (var first = 0u; first < terms; first += DEPTH) {
        let stage = first / DEPTH % 2u * STAGE;
        memory[stage + a_place.x] = a0;
        if has_two {
            memory[stage + a_place.y] = a1;
        }
        memory[stage + w_place.x] = w0;
        memory[stage + w_place.y] = w1;
        workgroupBarrier();
        // These are on their way while those are added up.
        let next = first + DEPTH;
        a0 = of_a(a_at.x + next / 4u, next / 4u + a_term < inputs);
        a1 = of_a(a_at.y + next / 4u, has_two && next / 4u + a_term < inputs);
        w0 = of_w(w_at.x + next * outputs, next + w_term.x < terms);
        w1 = of_w(w_at.y + next * outputs, next + w_term.y < terms);
        for (var i = 0u; i < BLOCKS / SLICES; i++) {
            let block = i * SLICES + slice;
            let upper = four_rows(stage, down, block);
            let lower = four_rows(stage, HEIGHT / 2u + down, block);
            let at = stage + W_AT + 4u * block * COLUMNS + across;
            let left = four_terms(at);
            let right = four_terms(at + COLUMNS / 2u);
            sums00 = add_block(sums00, upper, left);
            sums01 = add_block(sums01, upper, right);
            sums10 = add_block(sums10, lower, left);
            sums11 = add_block(sums11, lower, right);
        }
    }
    workgroupBarrier();

    // As many slices at once as there is memory for.
    let at = slice % TILES * TILE + 4u * down * COLUMNS + across;
    for (var i = 0u; i < SLICES; i += TILES) {
        if slice / TILES * TILES == i {
            add(at, sums00, i == 0u);
            add(at + COLUMNS / 2u, sums01, i == 0u);
            add(at + TILE / 2u, sums10, i == 0u);
            add(at + TILE / 2u + COLUMNS / 2u, sums11, i == 0u);
        }
        workgroupBarrier();
    }

    for (var i = index; i < TILE; i += LANES * SLICES) {
        let row = first_row + i / COLUMNS;
        let output = first_column + i % COLUMNS;
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
}

fn of_a(at: u32, is_there: bool) -> vec4<f32> {
    if is_there {
        return load(a[at]);
    }
    return vec4<f32>();
}

fn of_w(at: u32, is_there: bool) -> vec4<f32> {
    if is_there {
        return load(params[at]);
    }
    return vec4<f32>();
}

// Where a vec4 of a staged row lies: what lanes read at once lies in different banks.
fn place(row: u32, block: u32) -> u32 {
    return row * BLOCKS + (block ^ (row / 4u % BLOCKS));
}

// A vec4 of terms of four rows, term by term.
fn four_rows(first: u32, height: u32, block: u32) -> mat4x4<f32> {
    let at = first + place(4u * height, block);
    return transpose(mat4x4(memory[at], memory[at + BLOCKS], memory[at + 2u * BLOCKS], memory[at + 3u * BLOCKS]));
}

// A vec4 of columns, of four terms.
fn four_terms(at: u32) -> mat4x4<f32> {
    return mat4x4(memory[at], memory[at + COLUMNS], memory[at + 2u * COLUMNS], memory[at + 3u * COLUMNS]);
}

// Adds four terms of four rows and of four columns, term by term.
fn add_block(sums: mat4x4<f32>, a: mat4x4<f32>, b: mat4x4<f32>) -> mat4x4<f32> {
    return outer(outer(outer(outer(sums, a[0], b[0]), a[1], b[1]), a[2], b[2]), a[3], b[3]);
}

fn outer(sums: mat4x4<f32>, a: vec4<f32>, b: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(
        fma(vec4(a.x), b, sums[0]),
        fma(vec4(a.y), b, sums[1]),
        fma(vec4(a.z), b, sums[2]),
        fma(vec4(a.w), b, sums[3]),
    );
}

// Puts four rows of a part's sums, or adds them to an earlier part's.
fn add(at: u32, sums: mat4x4<f32>, is_first: bool) {
    if is_first {
        memory[at] = sums[0];
        memory[at + COLUMNS] = sums[1];
        memory[at + 2u * COLUMNS] = sums[2];
        memory[at + 3u * COLUMNS] = sums[3];
    } else {
        memory[at] += sums[0];
        memory[at + COLUMNS] += sums[1];
        memory[at + 2u * COLUMNS] += sums[2];
        memory[at + 3u * COLUMNS] += sums[3];
    }
}

// What all slices summed up of vec4 i of the tile.
fn sum(i: u32) -> vec4<f32> {
    var total = memory[i];
    for (var at = i + TILE; at < 2u * STAGE; at += TILE) {
        total += memory[at];
    }
    return total;
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
