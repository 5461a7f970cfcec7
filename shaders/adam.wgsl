// w ← shrink·w,  g ← clip·g + weight_decay·w,  m ← momentum·m + gain·g,  v ← decay·v + fresh·g²,
// w ← w − step_size · m / (√v / correction + eps), by the largest v so far if AMSGRAD
//
// step_size = lr / (1 − β₁ᵗ), correction = √(1 − β₂ᵗ), shrink = 1 − lr·weight_decay for AdamW.
// fresh = 1 − decay, computed in f64: next to 1, f32 would lose it.
// One invocation updates one vec4 of one replica.

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
    params: u32,  // vec4s of one replica's vectors
    first: u32,   // the first of them that is updated
    trained: u32, // end of those that are trained
    decayed: u32, // end of those that the weight decay acts on
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> scaling: array<Scaling>;         // (R)
@group(0) @binding(2) var<storage, read> grads: array<vec4<f32>>;         // (R, P)
@group(0) @binding(3) var<storage, read_write> params: array<vec4<f32>>;  // (R, P)
@group(0) @binding(4) var<storage, read_write> state: array<vec4<f32>>;   // (vectors, R, P): m, v, with AMSGRAD its largest, the EMA
@group(0) @binding(5) var<storage, read_write> working: array<Stored>;    // (R, P), if MIXED
@group(1) @binding(0) var<uniform> pass_: Pass;
@group(1) @binding(1) var<storage, read> coefficients: array<Coefficients>; // (slots, R)

override AMSGRAD: bool = false;
override EMA: u32 = 0u; // the vector of state that holds the mean; 0 for none
override MIXED: bool = false;
override LANES: u32 = 64u;

var<private> vector: u32; // vec4s of one vector of state

@compute @workgroup_size(LANES)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    // Long vectors take several rows of workgroups.
    let i = args.first + id.y * groups.x * LANES + id.x;
    if i >= args.trained {
        return;
    }
    let r = id.z;
    vector = arrayLength(&params);
    var c = coefficients[pass_.slot * pass_.replicas + r];
    if i >= args.decayed {
        c.weight_decay = 0.0;
        c.shrink = 1.0;
    }
    let at = r * args.params + i;
    if MIXED && scaling[r].factor == 0.0 {
        average(c, params[at], at);
        return;
    }
    adam(c, scaling[r].clip * grads[at], at);
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
