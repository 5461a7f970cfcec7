// g ← clip·g + weight_decay·w,  v ← momentum·v + gain·g,  w ← w − step_size·v
// or, with Nesterov's momentum,  w ← w − step_size·(g + momentum·v)
//
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

struct Args {
    params: u32,  // vec4s of one replica's vectors
    first: u32,   // the first of them that is updated
    trained: u32, // end of those that are trained
    decayed: u32, // end of those that the weight decay acts on
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> clip: array<f32>;               // (R): multiplies the gradient
@group(0) @binding(2) var<storage, read> grads: array<vec4<f32>>;        // (R, P)
@group(0) @binding(3) var<storage, read_write> params: array<vec4<f32>>; // (R, P)
@group(0) @binding(4) var<storage, read_write> state0: array<vec4<f32>>; // v: (R, P)
@group(1) @binding(0) var<uniform> pass_: Pass;
@group(1) @binding(1) var<storage, read> coefficients: array<Coefficients>; // (slots, R)

override NESTEROV: bool = false;
override LANES: u32 = 64u;

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
    var c = coefficients[pass_.slot * pass_.replicas + r];
    if i >= args.decayed {
        c.weight_decay = 0.0;
        c.shrink = 1.0;
    }
    let at = r * args.params + i;
    sgd(c, clip[r] * grads[at], at);
}

// Updates vec4 `at` by its gradient.
fn sgd(c: Coefficients, gradient: vec4<f32>, at: u32) {
    let w = params[at];
    let g = gradient + c.weight_decay * w;
    let v = c.momentum * state0[at] + c.gain * g;
    state0[at] = v;
    params[at] = w - c.step_size * select(v, g + c.momentum * v, NESTEROV);
}
