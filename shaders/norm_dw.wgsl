// dγ = Σ_rows dn ∘ x̂,  dβ = Σ_rows dn
//
// Of either normalisation. One workgroup makes COLUMNS vec4s; invocation (c, i) of it takes every ROW_LANES-th row from
// i on, and sums go pair by pair. z: its replica.

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
    outputs: u32,       // vec4s
    params_stride: u32, // vec4s of one replica's grads
    gamma: u32,         // offset in grads, in vec4s
    beta: u32,          // offset in grads, in vec4s
    z_stride: u32,      // vec4s of one replica's x̂ and dn
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> xhat: array<vec4<f32>>;        // (R, room, outputs)
@group(0) @binding(2) var<storage, read> dn: array<vec4<f32>>;          // (R, room, outputs)
@group(0) @binding(3) var<storage, read_write> grads: array<vec4<f32>>; // (R, P)
@group(1) @binding(0) var<uniform> pass_: Pass;

const COLUMNS: u32 = 4u;
const ROW_LANES: u32 = 16u;
struct Sums {
    gamma: vec4<f32>,
    beta: vec4<f32>,
}
var<workgroup> partial: array<array<Sums, COLUMNS>, ROW_LANES>;

@compute @workgroup_size(COLUMNS, ROW_LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let column = group.x * COLUMNS + lane.x;
    let output = min(column, args.outputs - 1u);
    let r = group.z;
    var sums = Sums();
    for (var row = lane.y; row < pass_.rows; row += ROW_LANES) {
        let at = r * args.z_stride + row * args.outputs + output;
        sums.gamma += dn[at] * xhat[at];
        sums.beta += dn[at];
    }
    partial[lane.y][lane.x] = sums;
    workgroupBarrier();
    for (var width = ROW_LANES / 2u; width > 0u; width /= 2u) {
        if lane.y < width {
            partial[lane.y][lane.x].gamma += partial[lane.y + width][lane.x].gamma;
            partial[lane.y][lane.x].beta += partial[lane.y + width][lane.x].beta;
        }
        workgroupBarrier();
    }
    if lane.y == 0u && column < args.outputs {
        let at = r * args.params_stride + output;
        put(at + args.gamma, partial[0][lane.x].gamma);
        put(at + args.beta, partial[0][lane.x].beta);
    }
}

fn put(at: u32, value: vec4<f32>) {
    if pass_.accumulate == 0u {
        grads[at] = value;
    } else {
        grads[at] += value;
    }
}
