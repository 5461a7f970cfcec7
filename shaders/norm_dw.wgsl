// dγ = Σ_rows dn ∘ x̂ / loss scale,  dβ = Σ_rows dn / loss scale
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

struct Scaling {
    factor: f32, // of the step's gradients: 1 / loss, or 0 if they overflowed and the step is skipped
    clip: f32,   // of the update's gradient
    loss: f32,   // of the step's loss
    next: f32,   // of the next step's loss
    steps: u32,  // without an overflow since the factor of the loss changed
    progress: u32, // of the look for overflows
}

struct Args {
    outputs: u32,       // vec4s
    params_stride: u32, // vec4s of one replica's grads
    gamma: u32,         // offset in grads, in vec4s
    beta: u32,          // offset in grads, in vec4s
    z_stride: u32,      // vec4s of one replica's x̂ and dn
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> xhat: array<Stored>;           // (R, room, outputs)
@group(0) @binding(2) var<storage, read> dn: array<Stored>;             // (R, room, outputs)
@group(0) @binding(3) var<storage, read> scaling: array<Scaling>;       // (R)
@group(0) @binding(4) var<storage, read_write> grads: array<vec4<f32>>; // (R, P)
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
        let d = load(dn[at]);
        sums.gamma += d * load(xhat[at]);
        sums.beta += d;
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
        let factor = 1.0 / scaling[r].loss;
        put(at + args.gamma, factor * partial[0][lane.x].gamma);
        put(at + args.beta, factor * partial[0][lane.x].beta);
    }
}

fn put(at: u32, value: vec4<f32>) {
    if pass_.accumulate == 0u {
        grads[at] = value;
    } else {
        grads[at] += value;
    }
}

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
