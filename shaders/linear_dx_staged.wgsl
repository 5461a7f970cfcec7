// As linear_dx.wgsl, for devices whose workgroup memory is faster than their other caches: all invocations stage DEPTH terms of
// both factors there while they add up those before, so that each value is read once for a whole tile.
//
// On an H100 2048x512x256 takes 40 µs with tiles of 64 x 64, instead of 63 at best with dz and W straight from storage.
//
// da = dz · W (+ above if RESIDUAL),  dx = da ∘ slope
//
// `above` is the gradient of the layer's output, which a residual connection hands down; KEEP writes da, for the layer
// below to do so in turn.
//
// dz: (R, room, outputs), W: (R, inputs, outputs), slope and dx: (R, room, inputs), all in vec4s along the last axis.
//
// One workgroup makes ROWS rows of dx and COLUMNS vec4s of each. It has LANES invocations for each slice of the sum, which take
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

override LANES: u32 = 64u; // of a slice: each makes eight rows and two vec4s of each
override SLICES: u32 = 4u;
override RESIDUAL: bool = false;
override KEEP: bool = false;
const ROWS: u32 = 64u;
const COLUMNS: u32 = 16u;
const HEIGHT: u32 = ROWS / 4u; // vec4s along the tile's rows
const TILE: u32 = 4u * HEIGHT * COLUMNS; // vec4s
const TERM: u32 = HEIGHT + COLUMNS; // vec4s of both factors for one term of the sums
const STAGE: u32 = 512u; // vec4s: half of the memory that every device has
const DEPTH: u32 = STAGE / TERM / 16u * 16u; // terms staged at a time
const TILES: u32 = 2u * STAGE / TILE; // that the memory holds

// Two stages: (2, DEPTH, TERM), what is left of each unused; then the sums of as many slices as fit: (TILES, 4 HEIGHT, COLUMNS).
var<workgroup> memory: array<vec4<f32>, 2u * STAGE>;

@compute @workgroup_size(LANES * SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first_row = group.y * ROWS;
    let first_column = group.x * COLUMNS;
    let r = group.z;
    // Read once: a driver may read them again after every barrier.
    let inputs = args.inputs;
    let outputs = args.outputs;
    let terms = 4u * outputs;

    // What this invocation stages: a vec4 of four rows of dz, or of W. Rows past the end repeat the last one; their results
    // are not stored. Terms past the end are 0.
    let stages = index < DEPTH / 4u * TERM;
    let term = index / TERM;
    let place = term * 4u * TERM + index % TERM;
    let is_w = index % TERM >= HEIGHT;
    let row = 4u * select(first_row / 4u + index % TERM, first_column + index % TERM - HEIGHT, is_w);
    let last = select(pass_.rows, 4u * inputs, is_w) - 1u;
    let base = r * select(args.dz_stride, args.params_stride, is_w) + select(0u, args.weight, is_w);
    let at_first = base + min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(last)) * outputs + term;

    let slice = index / LANES;
    let across = index % LANES % (COLUMNS / 2u);
    let down = index % LANES / (COLUMNS / 2u);
    // Four rows and a vec4 of each, by the first and the second half of the tile's rows, and of its columns.
    var sums00 = mat4x4<f32>();
    var sums01 = mat4x4<f32>();
    var sums10 = mat4x4<f32>();
    var sums11 = mat4x4<f32>();
    var next = four_rows(at_first, is_w, stages && term < outputs);
    for (var first = 0u; first < terms; first += DEPTH) {
        let stage = first / DEPTH % 2u * STAGE;
        if stages {
            put_block(stage + place, next);
        }
        workgroupBarrier();
        // These are on their way while those are added up.
        let k = first / 4u + DEPTH / 4u;
        next = four_rows(at_first + k, is_w, stages && k + term < outputs);
        for (var i = 0u; i < DEPTH / SLICES; i++) {
            let at = stage + (i * SLICES + slice) * TERM;
            let a0 = memory[at + down];
            let a1 = memory[at + HEIGHT / 2u + down];
            let b0 = memory[at + HEIGHT + across];
            let b1 = memory[at + HEIGHT + COLUMNS / 2u + across];
            sums00 = outer(sums00, a0, b0);
            sums01 = outer(sums01, a0, b1);
            sums10 = outer(sums10, a1, b0);
            sums11 = outer(sums11, a1, b1);
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
        let input = first_column + i % COLUMNS;
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
}

fn four_rows(at: vec4<u32>, is_w: bool, is_there: bool) -> mat4x4<f32> {
    if is_there && is_w {
        return mat4x4(load(params[at.x]), load(params[at.y]), load(params[at.z]), load(params[at.w]));
    }
    if is_there {
        return mat4x4(load(dz[at.x]), load(dz[at.y]), load(dz[at.z]), load(dz[at.w]));
    }
    return mat4x4<f32>();
}

// Stages four terms of four rows, term by term.
fn put_block(at: u32, block: mat4x4<f32>) {
    let terms = transpose(block);
    memory[at] = terms[0];
    memory[at + TERM] = terms[1];
    memory[at + 2u * TERM] = terms[2];
    memory[at + 3u * TERM] = terms[3];
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

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
