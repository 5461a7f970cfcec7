// As linear_dw.wgsl, for passes of at most SAMPLES samples on devices with subgroups of eight invocations or more: dz of all
// samples stays in registers while the rows of dW pass by, each used up before the next is made, so that a workgroup takes
// as many rows as it likes. The sums have the same order, and so the same bits.
//
// Of eight samples, each invocation loads one of a, and hands it to the others; fewer than eight are loaded by all. With
// eight or more, the outputs must fill the tiles: a lane that stores nothing might run ahead of the others, and then not be
// there when the next row is handed round.
//
// On Mesa's software driver, with SGD's update: 1x3072x512 takes 2.3 ms instead of 3.2, eight replicas of 16x784x256 3.1
// instead of 4.4, of 32x784x256 4.7 instead of 5.5. Not kept: choosing between the two ways to load a in the kernel, since
// that driver runs both; loading and storing two values at once as a u64, which saves a fifth at batch 1, but which few
// devices have.
//
// dW = factor · aᵀ · dz,  db = factor · Σ_rows dz
//
// Both are added to what is there from the step's earlier passes; with an UPDATE, they are not written, but used up where
// they are made.
//
// a: (R, room, inputs), dz: (R, room, outputs), params: (R, P), all in vec4s along the last axis.
//
// One workgroup makes 4 * ROWS rows of dW (inputs) and LANES * COLUMNS vec4s of each (outputs), its lanes side by side
// along the outputs. One invocation holds SAMPLES x COLUMNS vec4s of dz and 4 x COLUMNS of dW in registers. The workgroups
// of the first rows sum db as well, since they read all of dz. y: its rows, z: its replica.

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
const SAMPLES: u32 = 8u;
const EIGHTS: u32 = (SAMPLES + 7u) / 8u; // of samples

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
    let inputs = args.inputs;
    let outputs = args.outputs;
    let last_sample = pass_.rows - 1u;

    // Samples past the end repeat the last one of a, and have a dz of 0. Columns past the end repeat the last one; their
    // results are not stored.
    var d: array<Eight, EIGHTS>;
    var db: array<vec4<f32>, COLUMNS>;
    for (var eight = 0u; eight < EIGHTS; eight++) {
        for (var s = 0u; s < 8u; s++) {
            let sample = 8u * eight + s;
            let row = r * args.dz_stride + min(sample, last_sample) * outputs;
            for (var j = 0u; j < COLUMNS; j++) {
                let column = min(first_column + j * LANES, outputs - 1u);
                let own = select(vec4<f32>(), load(dz[row + column]), sample <= last_sample);
                d[eight][s][j] = own;
                db[j] += own;
            }
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
    for (var j = 0u; j < COLUMNS; j++) {
        let output = first_column + j * LANES;
        if group.y == 0u && output < outputs {
            put(c_bias, factor * db[j], bias + output);
        }
    }
    let first_a = r * args.a_stride;
    let last_row = min(first_row + ROWS, inputs);
    for (var input = first_row; input < last_row; input++) {
        var sum: Sums;
        if SAMPLES < 8u {
            for (var s = 0u; s < SAMPLES; s++) {
                sum = accumulate(sum, load(a[first_a + min(s, last_sample) * inputs + input]), d[0][s]);
            }
        } else {
            // Drivers unroll a loop that counts up to the length of the array that it reads.
            for (var eight = 0u; eight < EIGHTS; eight++) {
                let own = load(a[first_a + min(8u * eight + id % 8u, last_sample) * inputs + input]);
                sum = accumulate(sum, subgroupBroadcast(own, 0u), d[eight][0]);
                sum = accumulate(sum, subgroupBroadcast(own, 1u), d[eight][1]);
                sum = accumulate(sum, subgroupBroadcast(own, 2u), d[eight][2]);
                sum = accumulate(sum, subgroupBroadcast(own, 3u), d[eight][3]);
                sum = accumulate(sum, subgroupBroadcast(own, 4u), d[eight][4]);
                sum = accumulate(sum, subgroupBroadcast(own, 5u), d[eight][5]);
                sum = accumulate(sum, subgroupBroadcast(own, 6u), d[eight][6]);
                sum = accumulate(sum, subgroupBroadcast(own, 7u), d[eight][7]);
            }
        }
        for (var j = 0u; j < COLUMNS; j++) {
            let output = first_column + j * LANES;
            if output < outputs {
                let at = weight + 4u * input * outputs + output;
                put(c, factor * sum.dw0[j], at);
                put(c, factor * sum.dw1[j], at + outputs);
                put(c, factor * sum.dw2[j], at + 2u * outputs);
                put(c, factor * sum.dw3[j], at + 3u * outputs);
            }
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

// dz of eight samples.
alias Eight = array<array<vec4<f32>, COLUMNS>, 8>;

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
