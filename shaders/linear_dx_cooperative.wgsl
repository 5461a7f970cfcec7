enable f16;
enable wgpu_cooperative_matrix;

// As linear_dx.wgsl, for devices whose subgroups multiply matrices; see linear_cooperative.wgsl.
//
// da = dz · W (+ above if RESIDUAL),  dx = da ∘ slope
//
// `above` is the gradient of the layer's output, which a residual connection hands down; KEEP writes da, for the layer
// below to do so in turn.
//
// dz: (R, room, outputs), W: (R, inputs, outputs), slope and dx: (R, room, inputs), all in vec4s along the last axis.
//
// One workgroup makes ROWS rows of dx and COLUMNS vec4s of each. y: its rows, z: its replica.

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

struct Args {
    inputs: u32,        // vec4s
    outputs: u32,       // vec4s
    weight: u32,        // offset in params, in vec4s
    params_stride: u32, // vec4s of one replica's params
    dz_stride: u32,     // vec4s of one replica's dz
    dx_stride: u32,     // vec4s of one replica's dx and slope
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> params: array<Stored>;      // (R, P)
@group(0) @binding(2) var<storage, read> dz: array<Stored>;          // (R, room, outputs)
@group(0) @binding(3) var<storage, read> slope: array<Stored>;       // (R, room, inputs)
@group(0) @binding(4) var<storage, read> above: array<Stored>;       // (R, room, inputs)
@group(0) @binding(5) var<storage, read_write> dx: array<Stored>;    // (R, room, inputs)
@group(0) @binding(6) var<storage, read_write> da: array<Stored>;    // (R, room, inputs)
@group(1) @binding(0) var<uniform> pass_: Pass;

override LANES: u32 = 32u; // of a subgroup
override RESIDUAL: bool = false;
override KEEP: bool = false;
const SIDE: u32 = 8u; // of a fragment, as in coop_mat8x8
const ROWS: u32 = 32u;
const COLUMNS: u32 = 8u;
const SUBGROUPS: u32 = 4u;
const DOWN: u32 = ROWS / (2u * SIDE);
const ACROSS: u32 = 2u * COLUMNS / SIDE;
const SLICES: u32 = SUBGROUPS / (DOWN * ACROSS);
const DEPTH: u32 = max(2u, SLICES) * SIDE; // of the sum, staged at a time
const DZ_STRIDE: u32 = DEPTH + 8u; // halves from row to row of a stage: 8 more, so that they start in different banks
const W_STRIDE: u32 = DEPTH + 8u;
const QUARTER: u32 = ROWS * COLUMNS / 4u; // vec4s of a quarter of the tile, a fragment of each subgroup

var<workgroup> dz_stage: array<f16, ROWS * DZ_STRIDE>; // (ROWS, DEPTH)
var<workgroup> w_stage: array<f16, 4u * COLUMNS * W_STRIDE>; // (COLUMNS, DEPTH)
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

    // What this invocation stages: up to four vec4s of each factor, of different rows the same columns. Rows past the
    // end repeat the last one; their results are not stored. Terms past the end are 0.
    let each = vec4(0u, 1u, 2u, 3u) * SUBGROUPS * LANES + index;
    let rows = each / (DEPTH / 4u);
    let column = index % (DEPTH / 4u);
    let stages_dz = rows < vec4(ROWS);
    let dz_places = rows * DZ_STRIDE + 4u * column;
    let dz_at = r * args.dz_stride + min(first_row + rows, vec4(pass_.rows - 1u)) * outputs + column;
    let stages_w = rows < vec4(4u * COLUMNS);
    let w_places = rows * W_STRIDE + 4u * column;
    let w_rows = min(4u * first_column + rows, vec4(4u * inputs - 1u));
    let w_at = r * args.params_stride + args.weight + w_rows * outputs + column;

    // Where subgroups are smaller than LANES there are more, which do what another does: WGSL lets none stand aside.
    let own = subgroup % SUBGROUPS;
    let slice = own / (DOWN * ACROSS);
    let down = own / ACROSS % DOWN * 2u * SIDE;
    let across = own % ACROSS * 2u * SIDE;
    var sums00: coop_mat8x8<f32, C>;
    var sums01: coop_mat8x8<f32, C>;
    var sums10: coop_mat8x8<f32, C>;
    var sums11: coop_mat8x8<f32, C>;
    var next_dz = four_of_dz(dz_at, stages_dz & vec4(column < outputs));
    var next_w = four_of_w(w_at, stages_w & vec4(column < outputs));
    for (var first = 0u; first < 4u * outputs; first += DEPTH) {
        put_dz(dz_places, stages_dz, next_dz);
        put_w(w_places, stages_w, next_w);
        workgroupBarrier();
        // These are on their way while those are multiplied.
        let next = first + DEPTH;
        next_dz = four_of_dz(dz_at + next / 4u, stages_dz & vec4(next / 4u + column < outputs));
        next_w = four_of_w(w_at + next / 4u, stages_w & vec4(next / 4u + column < outputs));
        for (var i = 0u; i < DEPTH / SLICES; i += SIDE) {
            let term = slice * DEPTH / SLICES + i;
            let dz_place = down * DZ_STRIDE + term;
            let w_place = across * W_STRIDE + term;
            let dz0 = coopLoadT<coop_mat8x8<f16, A>>(&dz_stage[dz_place], DZ_STRIDE);
            let dz1 = coopLoadT<coop_mat8x8<f16, A>>(&dz_stage[dz_place + SIDE * DZ_STRIDE], DZ_STRIDE);
            let w0 = coopLoad<coop_mat8x8<f16, B>>(&w_stage[w_place], W_STRIDE);
            let w1 = coopLoad<coop_mat8x8<f16, B>>(&w_stage[w_place + SIDE * W_STRIDE], W_STRIDE);
            sums00 = coopMultiplyAdd(dz0, w0, sums00);
            sums01 = coopMultiplyAdd(dz0, w1, sums01);
            sums10 = coopMultiplyAdd(dz1, w0, sums10);
            sums11 = coopMultiplyAdd(dz1, w1, sums11);
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
            let input = first_column + place.y;
            if row < pass_.rows && input < inputs {
                let at = r * args.dx_stride + row * inputs + input;
                var total = sum(i);
                if RESIDUAL {
                    total += load(above[at]);
                }
                if KEEP {
                    da[at] = store(total);
                }
                dx[at] = store(total * load(slope[at]));
            }
        }
        workgroupBarrier();
    }
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

alias Stored = vec4<f16>;

fn load(v: Stored) -> vec4<f32> {
    return vec4<f32>(v);
}

// What no half can hold becomes infinite, whichever way the device rounds.
fn store(v: vec4<f32>) -> Stored {
    return Stored(select(v, v * 1e38, abs(v) > vec4(65504.0)));
}
