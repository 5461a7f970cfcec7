// The second pass of linear_dw_split.wgsl: adds the parts of every sum up in their order, and finishes as linear_dw.wgsl.
//
// dW = factor · Σ_p parts[p],  db = factor · Σ_p parts[p] of the last row
//
// parts: (PARTS, R, inputs + 1, outputs), params: (R, P), all in vec4s along the last axis.
//
// One invocation makes one vec4. y: its row, the last being the bias, z: its replica.

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
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;        // (PARTS, R, inputs + 1, outputs)
@group(0) @binding(2) var<storage, read> scaling: array<Scaling>;        // (R)
@group(0) @binding(3) var<storage, read_write> params: array<vec4<f32>>; // (R, P); without an UPDATE, their gradient
@group(0) @binding(4) var<storage, read_write> state: array<vec4<f32>>;  // (vectors, R, P): the optimizer's, and the EMA
@group(0) @binding(5) var<storage, read_write> working: array<Stored>;   // (R, P), if MIXED
@group(1) @binding(0) var<uniform> pass_: Pass;
@group(1) @binding(1) var<storage, read> coefficients: array<Coefficients>; // (slots, R)

override LANES: u32 = 32u;
override PARTS: u32 = 2u;
override UPDATE: u32 = 0u; // none, sgd, adam, rmsprop
override NESTEROV: bool = false;
override AMSGRAD: bool = false;
override CENTERED: bool = false;
override EMA: u32 = 0u; // the vector of state that holds the mean; 0 for none
override MIXED: bool = false;

var<private> vector: u32; // vec4s of one vector of state
var<private> is_skipped: bool; // its gradients overflowed

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let output = id.x;
    let input = id.y;
    let r = id.z;
    let inputs = 4u * args.inputs;
    if output >= args.outputs || input > inputs {
        return;
    }
    var gradient = vec4<f32>();
    for (var part = 0u; part < PARTS; part++) {
        gradient += parts[((part * pass_.replicas + r) * (inputs + 1u) + input) * args.outputs + output];
    }
    let factor = scaling[r].factor;
    is_skipped = MIXED && factor == 0.0;
    vector = arrayLength(&params);
    var c = coefficients[pass_.slot * pass_.replicas + r];
    var at = r * args.params_stride + args.weight + input * args.outputs + output;
    if input == inputs {
        at = r * args.params_stride + args.bias + output;
        if args.bias >= args.decayed {
            c.weight_decay = 0.0;
            c.shrink = 1.0;
        }
    }
    put(c, factor * gradient, at);
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
