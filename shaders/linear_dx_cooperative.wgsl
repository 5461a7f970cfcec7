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
// On an H100 no faster than f32: its driver keeps arrays of fragments in memory. The probe of the peak, which names each of
// its fragments, runs at 432 TFLOP/s there, and ran at 29 with an array.
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
override SLICES: u32 = 1u;
override RESIDUAL: bool = false;
override KEEP: bool = false;
const SIDE: u32 = 8u; // of a fragment, as in coop_mat8x8
const ROWS: u32 = 16u;
const COLUMNS: u32 = 4u;
const DEPTH: u32 = 2u * SIDE; // of the sum, staged at a time
const TILE: u32 = ROWS * COLUMNS; // vec4s
const DOWN: u32 = ROWS / SIDE;
const ACROSS: u32 = 4u * COLUMNS / SIDE;

var<workgroup> dz_stage: array<f16, SLICES * ROWS * DEPTH>;        // (SLICES, ROWS, DEPTH)
var<workgroup> w_stage: array<f16, SLICES * 4u * COLUMNS * DEPTH>; // (SLICES, COLUMNS, DEPTH)
var<workgroup> slices: array<f32, SLICES * 4u * TILE>;             // (SLICES, ROWS, COLUMNS)

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

    var dx_: array<array<coop_mat8x8<f32, C>, ACROSS>, DOWN>;
    for (var first = 0u; first < args.outputs; first += SLICES * DEPTH / 4u) {
        for (var i = index; i < SLICES * ROWS * DEPTH / 4u; i += LANES * SLICES) {
            let row = first_row + i / (DEPTH / 4u) % ROWS;
            let k = first + i / (ROWS * DEPTH / 4u) * (DEPTH / 4u) + i % (DEPTH / 4u);
            var d = Stored();
            if row < pass_.rows && k < args.outputs {
                d = dz[r * args.dz_stride + row * args.outputs + k];
            }
            for (var c = 0u; c < 4u; c++) {
                dz_stage[4u * i + c] = d[c];
            }
        }
        for (var i = index; i < SLICES * COLUMNS * DEPTH; i += LANES * SLICES) {
            let input = 4u * first_column + i / (DEPTH / 4u) % (4u * COLUMNS);
            let k = first + i / (COLUMNS * DEPTH) * (DEPTH / 4u) + i % (DEPTH / 4u);
            var w = Stored();
            if input < 4u * args.inputs && k < args.outputs {
                w = params[r * args.params_stride + args.weight + input * args.outputs + k];
            }
            for (var c = 0u; c < 4u; c++) {
                w_stage[4u * i + c] = w[c];
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += SIDE) {
            var w: array<coop_mat8x8<f16, B>, ACROSS>;
            for (var j = 0u; j < ACROSS; j++) {
                w[j] = coopLoad<coop_mat8x8<f16, B>>(&w_stage[(slice * 4u * COLUMNS + j * SIDE) * DEPTH + k], DEPTH);
            }
            for (var i = 0u; i < DOWN; i++) {
                let d = coopLoadT<coop_mat8x8<f16, A>>(&dz_stage[(slice * ROWS + i * SIDE) * DEPTH + k], DEPTH);
                for (var j = 0u; j < ACROSS; j++) {
                    dx_[i][j] = coopMultiplyAdd(d, w[j], dx_[i][j]);
                }
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < DOWN; i++) {
        for (var j = 0u; j < ACROSS; j++) {
            coopStoreT(dx_[i][j], &slices[((slice * ROWS + i * SIDE) * ACROSS + j) * SIDE], 4u * COLUMNS);
        }
    }
    workgroupBarrier();

    for (var i = index; i < TILE; i += LANES * SLICES) {
        let row = first_row + i / COLUMNS;
        let input = first_column + i % COLUMNS;
        if row < pass_.rows && input < args.inputs {
            let at = r * args.dx_stride + row * args.inputs + input;
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

alias Stored = vec4<f16>;

fn load(v: Stored) -> vec4<f32> {
    return vec4<f32>(v);
}

// What no half can hold becomes infinite, whichever way the device rounds.
fn store(v: vec4<f32>) -> Stored {
    return Stored(select(v, v * 1e38, abs(v) > vec4(65504.0)));
}
