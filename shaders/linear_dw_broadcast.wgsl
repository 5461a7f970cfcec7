// As linear_dw.wgsl, for devices with subgroups of eight invocations or more: of eight samples, each invocation loads one of
// a, and hands it to the others, instead of all of them loading every sample. The sums have the same order, and so the
// same bits. On Mesa's software driver, 3072x128x512: 12 ms instead of 22, and 15 with 4 for ROWS.
//
// dW = factor · aᵀ · dz,  db = factor · Σ_rows dz
//
// Both are added to what is there from the step's earlier passes; with an UPDATE, they are not written, but used up where
// they are made.
//
// a: (R, room, inputs), dz: (R, room, outputs), params: (R, P), all in vec4s along the last axis.
//
// One workgroup makes 4 * ROWS rows of dW (inputs) and LANES * COLUMNS vec4s of each (outputs), its lanes side by side
// along the outputs. One invocation holds 4 * ROWS x COLUMNS vec4s in registers and reads ROWS vec4s of a and COLUMNS
// of dz a sample. The workgroups of the first rows sum db as well, since they read all of dz. y: its rows, z: its
// replica.

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

override LANES: u32 = 32u;
override UPDATE: u32 = 0u; // none, sgd, adam, rmsprop
override NESTEROV: bool = false;
override AMSGRAD: bool = false;
override CENTERED: bool = false;
override EMA: u32 = 0u; // the vector of state that holds the mean; 0 for none
override MIXED: bool = false;
const ROWS: u32 = 8u;
const COLUMNS: u32 = 2u;

var<private> vector: u32; // vec4s of one vector of state
var<private> is_skipped: bool; // its gradients overflowed

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
    var row: array<u32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        row[i] = r * args.a_stride + min(first_row + i, args.inputs - 1u);
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = r * args.dz_stride + min(first_column + j * LANES, args.outputs - 1u);
    }

    var sums: array<Sums, ROWS>;
    var db: array<vec4<f32>, COLUMNS>;
    // Samples past the end repeat the last one of a, and have a dz of 0.
    for (var sample = 0u; sample < pass_.rows; sample += 8u) {
        var d: array<array<vec4<f32>, COLUMNS>, 8>;
        for (var s = 0u; s < 8u; s++) {
            let is_sample = sample + s < pass_.rows;
            let at = min(sample + s, pass_.rows - 1u) * args.outputs;
            for (var j = 0u; j < COLUMNS; j++) {
                d[s][j] = select(vec4<f32>(), load(dz[column[j] + at]), is_sample);
                db[j] += d[s][j];
            }
        }
        let own_sample = min(sample + id % 8u, pass_.rows - 1u);
        for (var i = 0u; i < ROWS; i++) {
            let own = load(a[row[i] + own_sample * args.inputs]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 0u), d[0]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 1u), d[1]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 2u), d[2]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 3u), d[3]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 4u), d[4]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 5u), d[5]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 6u), d[6]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 7u), d[7]);
        }
    }

    let factor = scaling[r].factor;
    is_skipped = MIXED && factor == 0.0;
    vector = arrayLength(&params);
    // Read once, since drivers read again what the stores below might have changed.
    let c = coefficients[pass_.slot * pass_.replicas + r];
    var c_bias = c;
    if args.bias >= args.decayed {
        c_bias.weight_decay = 0.0;
        c_bias.shrink = 1.0;
    }
    let weight = r * args.params_stride + args.weight;
    let bias = r * args.params_stride + args.bias;
    let inputs = args.inputs;
    let outputs = args.outputs;
    for (var j = 0u; j < COLUMNS; j++) {
        let output = first_column + j * LANES;
        if group.y == 0u && output < outputs {
            put(c_bias, factor * db[j], bias + output);
        }
    }
    // The rows move up to the first place one by one, so that the update stands here once: on Mesa's software driver
    // 3072x128x512 with SGD's takes 12 ms instead of 15 with the updates of all rows unrolled.
    let last_row = min(first_row + ROWS, inputs);
    for (var input = first_row; input < last_row; input++) {
        for (var j = 0u; j < COLUMNS; j++) {
            let output = first_column + j * LANES;
            if output < outputs {
                let at = weight + 4u * input * outputs + output;
                put(c, factor * sums[0].dw0[j], at);
                put(c, factor * sums[0].dw1[j], at + outputs);
                put(c, factor * sums[0].dw2[j], at + 2u * outputs);
                put(c, factor * sums[0].dw3[j], at + 3u * outputs);
            }
        }
        for (var i = 1u; i < ROWS; i++) {
            sums[i - 1u] = sums[i];
        }
    }
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

struct Sums {
    dw0: array<vec4<f32>, COLUMNS>,
    dw1: array<vec4<f32>, COLUMNS>,
    dw2: array<vec4<f32>, COLUMNS>,
    dw3: array<vec4<f32>, COLUMNS>,
}

fn accumulate(sums: Sums, x: vec4<f32>, d: array<vec4<f32>, COLUMNS>) -> Sums {
    var sum = sums;
    for (var j = 0u; j < COLUMNS; j++) {
        sum.dw0[j] = fma(vec4(x.x), d[j], sum.dw0[j]);
        sum.dw1[j] = fma(vec4(x.y), d[j], sum.dw1[j]);
        sum.dw2[j] = fma(vec4(x.z), d[j], sum.dw2[j]);
        sum.dw3[j] = fma(vec4(x.w), d[j], sum.dw3[j]);
    }
    return sum;
}

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
