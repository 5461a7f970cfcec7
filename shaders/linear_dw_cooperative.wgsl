enable f16;
enable wgpu_cooperative_matrix;

// As linear_dw.wgsl, for devices whose subgroups multiply matrices; see linear_cooperative.wgsl.
//
// dW = factor · aᵀ · dz,  db = factor · Σ_rows dz
//
// Both are added to what is there from the step's earlier passes; with an UPDATE, they are not written, but used up where
// they are made.
//
// a: (R, room, inputs), dz: (R, room, outputs), params: (R, P), all in vec4s along the last axis.
//
// On an H100 no faster than f32: its driver keeps arrays of fragments in memory. The probe of the peak, which names each of
// its fragments, runs at 432 TFLOP/s there, and ran at 29 with an array.
//
// One workgroup makes 4 * ROWS rows of dW (inputs) and COLUMNS vec4s of each (outputs). The workgroups of the first rows sum
// db as well, since they read all of dz: an invocation stages the same vec4 of every row, and so has its sum in registers.
// y: its rows, z: its replica.

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

override LANES: u32 = 32u; // of a subgroup
override SLICES: u32 = 1u;
override UPDATE: u32 = 0u; // none, sgd, adam, rmsprop
override NESTEROV: bool = false;
override AMSGRAD: bool = false;
override CENTERED: bool = false;
override EMA: u32 = 0u; // the vector of state that holds the mean; 0 for none
override MIXED: bool = false;
const SIDE: u32 = 8u; // of a fragment, as in coop_mat8x8
const ROWS: u32 = 4u;
const COLUMNS: u32 = 4u;
const DEPTH: u32 = 2u * SIDE; // of the sum, staged at a time
const TILE: u32 = 4u * ROWS * COLUMNS; // vec4s
const DOWN: u32 = 4u * ROWS / SIDE;
const ACROSS: u32 = 4u * COLUMNS / SIDE;

var<workgroup> a_stage: array<f16, SLICES * DEPTH * 4u * ROWS>;     // (SLICES, DEPTH, ROWS)
var<workgroup> dz_stage: array<f16, SLICES * DEPTH * 4u * COLUMNS>; // (SLICES, DEPTH, COLUMNS)
var<workgroup> slices: array<f32, SLICES * 4u * TILE>;              // (SLICES, 4 ROWS, COLUMNS)

var<private> vector: u32; // vec4s of one vector of state
var<private> is_skipped: bool; // its gradients overflowed

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

    var dw: array<array<coop_mat8x8<f32, C>, ACROSS>, DOWN>;
    var db = vec4<f32>();
    for (var first = 0u; first < pass_.rows; first += SLICES * DEPTH) {
        for (var i = index; i < SLICES * DEPTH * ROWS; i += LANES * SLICES) {
            let sample = first + i / ROWS;
            let input = first_row + i % ROWS;
            var x = Stored();
            if sample < pass_.rows && input < args.inputs {
                x = a[r * args.a_stride + sample * args.inputs + input];
            }
            for (var c = 0u; c < 4u; c++) {
                a_stage[4u * i + c] = x[c];
            }
        }
        for (var i = index; i < SLICES * DEPTH * COLUMNS; i += LANES * SLICES) {
            let sample = first + i / COLUMNS;
            let output = first_column + i % COLUMNS;
            var d = Stored();
            if sample < pass_.rows && output < args.outputs {
                d = dz[r * args.dz_stride + sample * args.outputs + output];
            }
            db += load(d);
            for (var c = 0u; c < 4u; c++) {
                dz_stage[4u * i + c] = d[c];
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += SIDE) {
            var d: array<coop_mat8x8<f16, B>, ACROSS>;
            for (var j = 0u; j < ACROSS; j++) {
                d[j] = coopLoadT<coop_mat8x8<f16, B>>(
                    &dz_stage[((slice * DEPTH + k) * ACROSS + j) * SIDE],
                    4u * COLUMNS,
                );
            }
            for (var i = 0u; i < DOWN; i++) {
                let x = coopLoad<coop_mat8x8<f16, A>>(&a_stage[((slice * DEPTH + k) * DOWN + i) * SIDE], 4u * ROWS);
                for (var j = 0u; j < ACROSS; j++) {
                    dw[i][j] = coopMultiplyAdd(x, d[j], dw[i][j]);
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < DOWN; i++) {
        for (var j = 0u; j < ACROSS; j++) {
            coopStoreT(dw[i][j], &slices[((slice * 4u * ROWS + i * SIDE) * ACROSS + j) * SIDE], 4u * COLUMNS);
        }
    }
    workgroupBarrier();

    let factor = scaling[r].factor;
    is_skipped = MIXED && factor == 0.0;
    vector = arrayLength(&params);
    // Read once, since drivers read again what the stores below might have changed.
    let c = coefficients[pass_.slot * pass_.replicas + r];
    for (var i = index; i < TILE; i += LANES * SLICES) {
        let input = 4u * first_row + i / COLUMNS;
        let output = first_column + i % COLUMNS;
        if input < 4u * args.inputs && output < args.outputs {
            put(c, factor * sum(i), r * args.params_stride + args.weight + input * args.outputs + output);
        }
    }

    if group.y > 0u {
        return;
    }
    workgroupBarrier();
    for (var c = 0u; c < 4u; c++) {
        slices[4u * index + c] = db[c];
    }
    workgroupBarrier();
    let output = first_column + index;
    if index < COLUMNS && output < args.outputs {
        db = vec4<f32>();
        for (var i = index; i < LANES * SLICES; i += COLUMNS) {
            db += slice_at(i);
        }
        var c_bias = c;
        if args.bias >= args.decayed {
            c_bias.weight_decay = 0.0;
            c_bias.shrink = 1.0;
        }
        put(c_bias, factor * db, r * args.params_stride + args.bias + output);
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

alias Stored = vec4<f16>;

fn load(v: Stored) -> vec4<f32> {
    return vec4<f32>(v);
}

// What no half can hold becomes infinite, whichever way the device rounds.
fn store(v: vec4<f32>) -> Stored {
    return Stored(select(v, v * 1e38, abs(v) > vec4(65504.0)));
}
