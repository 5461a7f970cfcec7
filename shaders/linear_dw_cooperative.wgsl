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
override UPDATE: u32 = 0u; // none, sgd, adam, rmsprop
override NESTEROV: bool = false;
override AMSGRAD: bool = false;
override CENTERED: bool = false;
override EMA: u32 = 0u; // the vector of state that holds the mean; 0 for none
override MIXED: bool = false;
const SIDE: u32 = 8u; // of a fragment, as in coop_mat8x8
const ROWS: u32 = 8u;
const COLUMNS: u32 = 8u;
const SUBGROUPS: u32 = 4u;
const DOWN: u32 = 4u * ROWS / (2u * SIDE);
const ACROSS: u32 = 2u * COLUMNS / SIDE;
const SLICES: u32 = SUBGROUPS / (DOWN * ACROSS);
const DEPTH: u32 = max(2u, SLICES) * SIDE; // of the sum, staged at a time
const A_STRIDE: u32 = 4u * ROWS + 8u; // halves from row to row of a stage: 8 more, so that they start in different banks
const DZ_STRIDE: u32 = 4u * COLUMNS + 8u;
const QUARTER: u32 = ROWS * COLUMNS; // vec4s of a quarter of the tile, a fragment of each subgroup

var<workgroup> a_stage: array<f16, DEPTH * A_STRIDE>; // (DEPTH, ROWS)
var<workgroup> dz_stage: array<f16, DEPTH * DZ_STRIDE>; // (DEPTH, COLUMNS)
// Fragments, (SLICES, DOWN, ACROSS, SIDE, SIDE); then the sums of db, a vec4 of each invocation.
var<workgroup> slices: array<f32, SUBGROUPS * max(SIDE * SIDE, 4u * LANES)>;

var<private> vector: u32; // vec4s of one vector of state
var<private> is_skipped: bool; // its gradients overflowed

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
    let terms = pass_.rows;

    // What this invocation stages: up to four vec4s of each factor, of different samples the same columns. Columns
    // past the end repeat the last one; their results are not stored. Samples past the end are 0.
    let each = vec4(0u, 1u, 2u, 3u) * SUBGROUPS * LANES + index;
    let a_rows = each / ROWS;
    let a_column = index % ROWS;
    let stages_a = a_rows < vec4(DEPTH);
    let a_places = a_rows * A_STRIDE + 4u * a_column;
    let a_at = r * args.a_stride + a_rows * inputs + min(first_row + a_column, inputs - 1u);
    let dz_rows = each / COLUMNS;
    let dz_column = index % COLUMNS;
    let stages_dz = dz_rows < vec4(DEPTH);
    let dz_places = dz_rows * DZ_STRIDE + 4u * dz_column;
    let dz_at = r * args.dz_stride + dz_rows * outputs + min(first_column + dz_column, outputs - 1u);

    // Where subgroups are smaller than LANES there are more, which do what another does: WGSL lets none stand aside.
    let own = subgroup % SUBGROUPS;
    let slice = own / (DOWN * ACROSS);
    let down = own / ACROSS % DOWN * 2u * SIDE;
    let across = own % ACROSS * 2u * SIDE;
    var sums00: coop_mat8x8<f32, C>;
    var sums01: coop_mat8x8<f32, C>;
    var sums10: coop_mat8x8<f32, C>;
    var sums11: coop_mat8x8<f32, C>;
    var db = vec4<f32>();
    var next_a = four_of_a(a_at, stages_a & (a_rows < vec4(terms)));
    var next_dz = four_of_dz(dz_at, stages_dz & (dz_rows < vec4(terms)));
    for (var first = 0u; first < terms; first += DEPTH) {
        put_a(a_places, stages_a, next_a);
        put_dz(dz_places, stages_dz, next_dz);
        db += load(next_dz[0]) + load(next_dz[1]) + load(next_dz[2]) + load(next_dz[3]);
        workgroupBarrier();
        // These are on their way while those are multiplied.
        let next = first + DEPTH;
        next_a = four_of_a(a_at + next * inputs, stages_a & (next + a_rows < vec4(terms)));
        next_dz = four_of_dz(dz_at + next * outputs, stages_dz & (next + dz_rows < vec4(terms)));
        for (var i = 0u; i < DEPTH / SLICES; i += SIDE) {
            let term = slice * DEPTH / SLICES + i;
            let a_place = term * A_STRIDE + down;
            let dz_place = term * DZ_STRIDE + across;
            let a0 = coopLoad<coop_mat8x8<f16, A>>(&a_stage[a_place], A_STRIDE);
            let a1 = coopLoad<coop_mat8x8<f16, A>>(&a_stage[a_place + SIDE], A_STRIDE);
            let dz0 = coopLoadT<coop_mat8x8<f16, B>>(&dz_stage[dz_place], DZ_STRIDE);
            let dz1 = coopLoadT<coop_mat8x8<f16, B>>(&dz_stage[dz_place + SIDE], DZ_STRIDE);
            sums00 = coopMultiplyAdd(a0, dz0, sums00);
            sums01 = coopMultiplyAdd(a0, dz1, sums01);
            sums10 = coopMultiplyAdd(a1, dz0, sums10);
            sums11 = coopMultiplyAdd(a1, dz1, sums11);
        }
        workgroupBarrier();
    }

    let factor = scaling[r].factor;
    is_skipped = MIXED && factor == 0.0;
    vector = arrayLength(&params);
    // Read once, since drivers read again what the stores below might have changed.
    let c = coefficients[pass_.slot * pass_.replicas + r];
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
            let input = 4u * first_row + place.x;
            let output = first_column + place.y;
            if input < 4u * inputs && output < outputs {
                put(c, factor * sum(i), r * args.params_stride + args.weight + input * outputs + output);
            }
        }
        workgroupBarrier();
    }

    if group.y > 0u {
        return;
    }
    for (var c = 0u; c < 4u; c++) {
        slices[4u * index + c] = db[c];
    }
    workgroupBarrier();
    let output = first_column + index;
    if index < COLUMNS && output < outputs {
        db = vec4<f32>();
        for (var i = index; i < SUBGROUPS * LANES; i += COLUMNS) {
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

fn four_of_dz(at: vec4<u32>, is_there: vec4<bool>) -> array<Stored, 4> {
    return array(
        of_dz(at.x, is_there.x),
        of_dz(at.y, is_there.y),
        of_dz(at.z, is_there.z),
        of_dz(at.w, is_there.w),
    );
}

fn of_dz(at: u32, is_there: bool) -> Stored {
    if is_there {
        return dz[at];
    }
    return Stored();
}

fn put_dz(at: vec4<u32>, is_there: vec4<bool>, values: array<Stored, 4>) {
    if is_there.x {
        put_one_dz(at.x, values[0]);
    }
    if is_there.y {
        put_one_dz(at.y, values[1]);
    }
    if is_there.z {
        put_one_dz(at.z, values[2]);
    }
    if is_there.w {
        put_one_dz(at.w, values[3]);
    }
}

fn put_one_dz(at: u32, value: Stored) {
    dz_stage[at] = value.x;
    dz_stage[at + 1u] = value.y;
    dz_stage[at + 2u] = value.z;
    dz_stage[at + 3u] = value.w;
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
