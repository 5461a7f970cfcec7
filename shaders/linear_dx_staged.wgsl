// As linear_dx.wgsl, for devices whose workgroup memory is faster than their other caches: all invocations stage DEPTH terms of
// both factors there while they add up those before, so that each value is read once for a whole tile.
//
// On an H100 2048x512x256 takes 29 µs with tiles of 64 x 64, instead of 63 at best with dz and W straight from storage, and of 34
// with rows that are transposed as they are staged.
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
override SLICES: u32 = 2u;
override RESIDUAL: bool = false;
override KEEP: bool = false;
const ROWS: u32 = 64u;
const COLUMNS: u32 = 16u;
const HEIGHT: u32 = ROWS / 4u; // vec4s along the tile's rows
const TILE: u32 = 4u * HEIGHT * COLUMNS; // vec4s
const STAGE: u32 = 512u; // vec4s: half of the memory that every device has
const DEPTH: u32 = STAGE / (HEIGHT + COLUMNS) / 16u * 16u; // terms staged at a time
const BLOCKS: u32 = DEPTH / 4u; // vec4s of a row's terms
const W_AT: u32 = ROWS * BLOCKS; // in a stage
const TILES: u32 = 2u * STAGE / TILE; // that the memory holds

// Two stages of dz, (ROWS, BLOCKS), and W, (4 COLUMNS, BLOCKS), what is left of each unused; then the sums of as many slices
// as fit: (TILES, ROWS, COLUMNS).
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

    // What this invocation stages: two vec4s of rows of dz, or one, and two of W. Rows past the end repeat the last one;
    // their results are not stored. Terms past the end are 0.
    let row = index / BLOCKS + vec2(0u, LANES * SLICES / BLOCKS);
    let term = index % BLOCKS;
    let dz_at = r * args.dz_stride + min(first_row + row, vec2(pass_.rows - 1u)) * outputs + term;
    let has_two = LANES * SLICES < W_AT;
    let w_row = min(4u * first_column + row, vec2(4u * inputs - 1u));
    let w_at = r * args.params_stride + args.weight + w_row * outputs + term;
    let staged = vec2(place(row.x, term), place(row.y, term));

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
    var dz0 = of_dz(dz_at.x, term < outputs);
    var dz1 = of_dz(dz_at.y, has_two && term < outputs);
    var w0 = of_w(w_at.x, term < outputs);
    var w1 = of_w(w_at.y, term < outputs);
    for (var first = 0u; first < terms; first += DEPTH) {
        let stage = first / DEPTH % 2u * STAGE;
        memory[stage + staged.x] = dz0;
        if has_two {
            memory[stage + staged.y] = dz1;
        }
        memory[stage + W_AT + staged.x] = w0;
        memory[stage + W_AT + staged.y] = w1;
        workgroupBarrier();
        // These are on their way while those are added up.
        let next = (first + DEPTH) / 4u;
        dz0 = of_dz(dz_at.x + next, next + term < outputs);
        dz1 = of_dz(dz_at.y + next, has_two && next + term < outputs);
        w0 = of_w(w_at.x + next, next + term < outputs);
        w1 = of_w(w_at.y + next, next + term < outputs);
        for (var i = 0u; i < BLOCKS / SLICES; i++) {
            let block = i * SLICES + slice;
            let upper = four_rows(stage, down, block);
            let lower = four_rows(stage, HEIGHT / 2u + down, block);
            let left = four_rows(stage + W_AT, across, block);
            let right = four_rows(stage + W_AT, COLUMNS / 2u + across, block);
            sums00 = add_block(sums00, upper, left);
            sums01 = add_block(sums01, upper, right);
            sums10 = add_block(sums10, lower, left);
            sums11 = add_block(sums11, lower, right);
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

fn of_dz(at: u32, is_there: bool) -> vec4<f32> {
    if is_there {
        return load(dz[at]);
    }
    return vec4<f32>();
}

fn of_w(at: u32, is_there: bool) -> vec4<f32> {
    if is_there {
        return load(params[at]);
    }
    return vec4<f32>();
}

// Where a vec4 of a staged row lies: what lanes read at once lies in different banks.
fn place(row: u32, block: u32) -> u32 {
    return row * BLOCKS + (block ^ (row / 4u % BLOCKS));
}

// A vec4 of terms of four rows, term by term.
fn four_rows(first: u32, height: u32, block: u32) -> mat4x4<f32> {
    let at = first + place(4u * height, block);
    return transpose(mat4x4(memory[at], memory[at + BLOCKS], memory[at + 2u * BLOCKS], memory[at + 3u * BLOCKS]));
}

// Adds four terms of four rows and of four columns, term by term.
fn add_block(sums: mat4x4<f32>, a: mat4x4<f32>, b: mat4x4<f32>) -> mat4x4<f32> {
    return outer(outer(outer(outer(sums, a[0], b[0]), a[1], b[1]), a[2], b[2]), a[3], b[3]);
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
