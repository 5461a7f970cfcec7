// dz = γ / √(variance + 1e-5) · (dn − loss scale · (dβ + x̂ ∘ dγ) / rows)
//
// dn lies in dz's place; dγ and dβ are those of `norm_dw`. One invocation makes one vec4: x its column, y its row, z
// its replica.

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
    params_stride: u32, // vec4s of one replica's params and grads
    gamma: u32,         // offset in params and grads, in vec4s
    beta: u32,          // offset in grads, in vec4s
    z_stride: u32,      // vec4s of one replica's x̂ and dz
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> params: array<vec4<f32>>;   // (R, P)
@group(0) @binding(2) var<storage, read> grads: array<vec4<f32>>;    // (R, P)
@group(0) @binding(3) var<storage, read> xhat: array<Stored>;        // (R, room, outputs)
@group(0) @binding(4) var<storage, read> inverse: array<vec4<f32>>;  // (R, outputs)
@group(0) @binding(5) var<storage, read> scaling: array<Scaling>;    // (R)
@group(0) @binding(6) var<storage, read_write> dz: array<Stored>;    // (R, room, outputs): dn, then dz
@group(1) @binding(0) var<uniform> pass_: Pass;

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let output = id.x;
    let row = id.y;
    let r = id.z;
    if output >= args.outputs || row >= pass_.rows {
        return;
    }
    let at = r * args.z_stride + row * args.outputs + output;
    let params_at = r * args.params_stride + output;
    let gamma = params[params_at + args.gamma];
    let means = (grads[params_at + args.beta] + load(xhat[at]) * grads[params_at + args.gamma]) / f32(pass_.rows);
    dz[at] = store(gamma * inverse[r * args.outputs + output] * (load(dz[at]) - scaling[r].loss * means));
}

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
