// As linear_dw.wgsl, for devices whose workgroup memory is faster than their other caches: all invocations stage DEPTH terms of
// both factors there while they add up those before, so that each value is read once for a whole tile.
//
// On an H100 3072x2048x512 with SGD's update takes 199 µs with tiles of 32 x 64, instead of 430 at best with a and dz straight
// from storage. Not kept: 256 invocations, 218; arguments read where they are used, perhaps anew after every barrier, and an
// inner loop from the slice on, whose length a driver cannot tell, 282 with both. The sums alone, at the full clock, take 164
// with tiles of 64 x 64, as with two stages ahead; 227 with 128 sums of an invocation.
//
// dW = factor · aᵀ · dz,  db = factor · Σ_rows dz
//
// Both are added to what is there from the step's earlier passes; with an UPDATE, they are not written, but used up where
// they are made.
//
// a: (R, room, inputs), dz: (R, room, outputs), params: (R, P), all in vec4s along the last axis.
//
// One workgroup makes 4 * ROWS rows of dW (inputs) and COLUMNS vec4s of each (outputs). It has LANES invocations for each slice
// of the sum, which take every SLICES-th sample; an invocation holds eight rows and two vec4s of each in registers. The
// workgroups of the first rows sum db as well. y: its rows, z: its replica.

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

struct Scaling {
    factor: f32, // of the step's gradients: 1 / loss, or 0 if they overflowed and the step is skipped
    clip: f32,   // of the update's gradient
    loss: f32,   // of the step's loss
    next: f32,   // of the next step's loss
    steps: u32,  // without an overflow since the factor of the loss changed
    progress: u32, // of the look for overflows
}

struct Args {
    inputs: u32,        // vec4s
    outputs: u32,       // vec4s
    weight: u32,        // offset in params, in vec4s
    bias: u32,          // offset in params, in vec4s
    params_stride: u32, // vec4s of one replica's params
    a_stride: u32,      // vec4s of one replica's a
    dz_stride: u32,     // vec4s of one replica's dz
    decayed: u32,       // end of the params that the weight decay acts on, in vec4s
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> a: array<Stored>;               // (R, room, inputs)
@group(0) @binding(2) var<storage, read> dz: array<Stored>;              // (R, room, outputs)
@group(0) @binding(3) var<storage, read> scaling: array<Scaling>;        // (R)
@group(0) @binding(4) var<storage, read_write> params: array<vec4<f32>>; // (R, P); without an UPDATE, their gradient
@group(0) @binding(5) var<storage, read_write> state: array<vec4<f32>>;  // (vectors, R, P): the optimizer's, and the EMA
@group(0) @binding(6) var<storage, read_write> working: array<Stored>;   // (R, P), if MIXED
@group(1) @binding(0) var<uniform> pass_: Pass;
@group(1) @binding(1) var<storage, read> coefficients: array<Coefficients>; // (slots, R)

override LANES: u32 = 64u; // of a slice: each makes eight rows and two vec4s of each
override SLICES: u32 = 2u;
override UPDATE: u32 = 0u; // none, sgd, adam, rmsprop
override NESTEROV: bool = false;
override AMSGRAD: bool = false;
override CENTERED: bool = false;
override EMA: u32 = 0u; // the vector of state that holds the mean; 0 for none
override MIXED: bool = false;
const ROWS: u32 = 16u;
const COLUMNS: u32 = 16u;
const HEIGHT: u32 = ROWS; // vec4s along the tile's rows
const TILE: u32 = 4u * HEIGHT * COLUMNS; // vec4s
const TERM: u32 = HEIGHT + COLUMNS; // vec4s of both factors for one term of the sums
const STAGE: u32 = 512u; // vec4s: half of the memory that every device has
const DEPTH: u32 = STAGE / TERM / 16u * 16u; // terms staged at a time
const DZ_AT: u32 = DEPTH * HEIGHT; // in a stage
const TILES: u32 = 2u * STAGE / TILE; // that the memory holds

// Two stages of a, (DEPTH, HEIGHT), and dz, (DEPTH, COLUMNS), what is left of each unused; then the sums of as many slices as
// fit: (TILES, 4 HEIGHT, COLUMNS).
var<workgroup> memory: array<vec4<f32>, 2u * STAGE>;

var<private> vector: u32; // vec4s of one vector of state
var<private> is_skipped: bool; // its gradients overflowed

@compute @workgroup_size(LANES * SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first_row = group.y * ROWS;
    let first_column = group.x * COLUMNS;
    let r = group.z;
    // Read once: a driver may read them again after every barrier.
    let inputs = args.inputs;
    let outputs = args.outputs;
    let terms = pass_.rows;

    // What this invocation stages: up to two vec4s of samples of a, and of dz, of all samples the same columns. Columns past
    // the end repeat the last one; their results are not stored. Samples past the end are 0.
    let a_term = index / HEIGHT + vec2(0u, LANES * SLICES / HEIGHT);
    let a_at = r * args.a_stride + a_term * inputs + min(first_row + index % HEIGHT, inputs - 1u);
    let stages_a = a_term < vec2(DEPTH);
    let dz_term = index / COLUMNS + vec2(0u, LANES * SLICES / COLUMNS);
    let dz_at = r * args.dz_stride + dz_term * outputs + min(first_column + index % COLUMNS, outputs - 1u);
    let stages_dz = dz_term < vec2(DEPTH);
    var db = vec4<f32>();

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
    var a0 = of_a(a_at.x, stages_a.x && a_term.x < terms);
    var a1 = of_a(a_at.y, stages_a.y && a_term.y < terms);
    var dz0 = of_dz(dz_at.x, stages_dz.x && dz_term.x < terms);
    var dz1 = of_dz(dz_at.y, stages_dz.y && dz_term.y < terms);
    for (var first = 0u; first < terms; first += DEPTH) {
        let stage = first / DEPTH % 2u * STAGE;
        if stages_a.x {
            memory[stage + index] = a0;
        }
        if stages_a.y {
            memory[stage + index + LANES * SLICES] = a1;
        }
        if stages_dz.x {
            memory[stage + DZ_AT + index] = dz0;
        }
        if stages_dz.y {
            memory[stage + DZ_AT + index + LANES * SLICES] = dz1;
        }
        db += dz0 + dz1;
        workgroupBarrier();
        // These are on their way while those are added up.
        let next = first + DEPTH;
        a0 = of_a(a_at.x + next * inputs, stages_a.x && next + a_term.x < terms);
        a1 = of_a(a_at.y + next * inputs, stages_a.y && next + a_term.y < terms);
        dz0 = of_dz(dz_at.x + next * outputs, stages_dz.x && next + dz_term.x < terms);
        dz1 = of_dz(dz_at.y + next * outputs, stages_dz.y && next + dz_term.y < terms);
        for (var i = 0u; i < DEPTH / SLICES; i++) {
            let term = i * SLICES + slice;
            let at = stage + term * HEIGHT + down;
            let upper = memory[at];
            let lower = memory[at + HEIGHT / 2u];
            let dz_place = stage + DZ_AT + term * COLUMNS + across;
            let left = memory[dz_place];
            let right = memory[dz_place + COLUMNS / 2u];
            sums00 = outer(sums00, upper, left);
            sums01 = outer(sums01, upper, right);
            sums10 = outer(sums10, lower, left);
            sums11 = outer(sums11, lower, right);
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

    let factor = scaling[r].factor;
    is_skipped = MIXED && factor == 0.0;
    vector = arrayLength(&params);
    // Read once, since drivers read again what the stores below might have changed.
    let c = coefficients[pass_.slot * pass_.replicas + r];
    for (var i = index; i < TILE; i += LANES * SLICES) {
        let input = 4u * first_row + i / COLUMNS;
        let output = first_column + i % COLUMNS;
        if input < 4u * inputs && output < outputs {
            put(c, factor * sum(i), r * args.params_stride + args.weight + input * outputs + output);
        }
    }

    if group.y > 0u {
        return;
    }
    workgroupBarrier();
    memory[index] = db;
    workgroupBarrier();
    let output = first_column + index;
    if index < COLUMNS && output < outputs {
        db = vec4<f32>();
        for (var i = index; i < LANES * SLICES; i += COLUMNS) {
            db += memory[i];
        }
        var c_bias = c;
        if args.bias >= args.decayed {
            c_bias.weight_decay = 0.0;
            c_bias.shrink = 1.0;
        }
        put(c_bias, factor * db, r * args.params_stride + args.bias + output);
    }
}

fn of_a(at: u32, is_there: bool) -> vec4<f32> {
    if is_there {
        return load(a[at]);
    }
    return vec4<f32>();
}

fn of_dz(at: u32, is_there: bool) -> vec4<f32> {
    if is_there {
        return load(dz[at]);
    }
    return vec4<f32>();
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

// Writes the gradient of vec4 `at`, or uses it up.
fn put(c: Coefficients, gradient: vec4<f32>, at: u32) {
    if UPDATE == 0u {
        if pass_.accumulate == 0u {
            params[at] = gradient;
        } else {
            params[at] += gradient;
        }
        return;
    }
    if is_skipped {
        average(c, params[at], at);
        return;
    }
    switch UPDATE {
        case 1u: {
            sgd(c, gradient, at);
        }
        case 2u: {
            adam(c, gradient, at);
        }
        default: {
            rmsprop(c, gradient, at);
        }
    }
}

// Updates vec4 `at` by its gradient.
fn sgd(c: Coefficients, gradient: vec4<f32>, at: u32) {
    let w = params[at];
    let g = gradient + c.weight_decay * w;
    let v = c.momentum * state[at] + c.gain * g;
    state[at] = v;
    keep(c, w - c.step_size * select(v, g + c.momentum * v, NESTEROV), at);
}

// Updates vec4 `at` by its gradient.
fn adam(c: Coefficients, gradient: vec4<f32>, at: u32) {
    let w = params[at] * c.shrink;
    let g = gradient + c.weight_decay * w;
    let m = c.momentum * state[at] + c.gain * g;
    var v = c.decay * state[at + vector] + c.fresh * g * g;
    state[at] = m;
    state[at + vector] = v;
    if AMSGRAD {
        v = max(state[at + 2u * vector], v);
        state[at + 2u * vector] = v;
    }
    keep(c, w - c.step_size * m / (sqrt(v) / c.correction + c.eps), at);
}

// Updates vec4 `at` by its gradient.
fn rmsprop(c: Coefficients, gradient: vec4<f32>, at: u32) {
    let w = params[at];
    let g = gradient + c.weight_decay * w;
    let v = c.decay * state[at] + c.fresh * g * g;
    state[at] = v;
    var variance = v;
    if CENTERED {
        let m = c.decay * state[at + 2u * vector] + c.fresh * g;
        state[at + 2u * vector] = m;
        variance = v - m * m;
    }
    let b = c.momentum * state[at + vector] + g / (sqrt(variance) + c.eps);
    state[at + vector] = b;
    keep(c, w - c.step_size * b, at);
}

// Writes the new weights `at`, and what follows them.
fn keep(c: Coefficients, w: vec4<f32>, at: u32) {
    params[at] = w;
    if MIXED {
        working[at] = store(w);
    }
    average(c, w, at);
}

// The EMA takes the weights `at`, of a step that is skipped too.
fn average(c: Coefficients, w: vec4<f32>, at: u32) {
    if EMA > 0u && c.ema > 0.0 {
        let mean_at = at + EMA * vector;
        state[mean_at] += c.ema * (w - state[mean_at]);
    }
}

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
