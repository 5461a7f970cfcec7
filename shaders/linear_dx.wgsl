// da = dz · W (+ above if RESIDUAL),  dx = da ∘ slope
//
// `above` is the gradient of the layer's output, which a residual connection hands down; KEEP writes da, for the layer
// below to do so in turn.
//
// dz: (R, room, outputs), W: (R, inputs, outputs), slope and dx: (R, room, inputs), all in vec4s along the last axis.
//
// One workgroup makes ROWS rows of dx and LANES vec4s of each, its lanes side by side along the inputs. One invocation
// holds ROWS vec4s in registers and reads four rows of W for them. y: its rows, z: its replica. SLICES are those of
// linear.wgsl.

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

override LANES: u32 = 32u;
override SLICES: u32 = 1u;
override RESIDUAL: bool = false;
override KEEP: bool = false;
const ROWS: u32 = 16u;

// What all slices but the first summed up.
var<workgroup> slices: array<vec4<f32>, LANES * ROWS * (SLICES - 1u) + 1u>;

@compute @workgroup_size(LANES, SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let first_row = group.y * ROWS;
    let column = group.x * LANES + lane.x;
    let r = group.z;

    // Rows and columns past the end repeat the last one; their results are not stored.
    var row_at: array<u32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        row_at[i] = r * args.dz_stride + min(first_row + i, pass_.rows - 1u) * args.outputs;
    }
    let w_at = r * args.params_stride + args.weight + 4u * min(column, args.inputs - 1u) * args.outputs;

    var sum: array<vec4<f32>, ROWS>;
    let slice = (args.outputs + SLICES - 1u) / SLICES;
    let end = min((lane.y + 1u) * slice, args.outputs);
    for (var k = lane.y * slice; k < end; k++) {
        // Four rows of W, transposed: one vec4 along the inputs for each of four outputs.
        let w = transpose(mat4x4<f32>(
            load(params[w_at + k]),
            load(params[w_at + args.outputs + k]),
            load(params[w_at + 2u * args.outputs + k]),
            load(params[w_at + 3u * args.outputs + k]),
        ));
        for (var i = 0u; i < ROWS; i++) {
            let d = load(dz[row_at[i] + k]);
            sum[i] = fma(vec4(d.w), w[3], fma(vec4(d.z), w[2], fma(vec4(d.y), w[1], fma(vec4(d.x), w[0], sum[i]))));
        }
    }

    if SLICES > 1u {
        if lane.y > 0u {
            for (var i = 0u; i < ROWS; i++) {
                slices[((lane.y - 1u) * ROWS + i) * LANES + lane.x] = sum[i];
            }
        }
        workgroupBarrier();
        if lane.y > 0u {
            return;
        }
        for (var s = 0u; s < SLICES - 1u; s++) {
            for (var i = 0u; i < ROWS; i++) {
                sum[i] += slices[(s * ROWS + i) * LANES + lane.x];
            }
        }
    }

    if column < args.inputs {
        for (var i = 0u; i < ROWS; i++) {
            let row = first_row + i;
            if row < pass_.rows {
                let at = r * args.dx_stride + row * args.inputs + column;
                if RESIDUAL {
                    sum[i] += load(above[at]);
                }
                if KEEP {
                    da[at] = store(sum[i]);
                }
                dx[at] = store(sum[i] * load(slope[at]));
            }
        }
    }
}

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
