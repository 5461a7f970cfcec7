// x̂ = (z − mean) / √(variance + 1e-5),  n = γ x̂ + β, mean and variance being those of the row
//
// z lies in x̂'s place. One workgroup makes one row: x the row, z its replica.

struct Args {
    outputs: u32,       // vec4s
    width: u32,         // outputs of a row
    params_stride: u32, // vec4s of one replica's params
    gamma: u32,         // offset in params, in vec4s
    beta: u32,          // offset in params, in vec4s
    z_stride: u32,      // vec4s of one replica's z and n
    room: u32,          // rows of one replica
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> params: array<vec4<f32>>;     // (R, P)
@group(0) @binding(2) var<storage, read_write> xhat: array<Stored>;    // (R, room, outputs): z, then x̂
@group(0) @binding(3) var<storage, read_write> n: array<Stored>;       // (R, room, outputs)
@group(0) @binding(4) var<storage, read_write> inverse: array<f32>;    // (R, room): 1/√(variance + 1e-5)

const LANES: u32 = 64u;
alias Partial = f32;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let row = group.x;
    let r = group.z;
    let z_at = r * args.z_stride + row * args.outputs;
    let params_at = r * args.params_stride;
    let width = f32(args.width);

    // The padding of z is 0.
    var sum = vec4<f32>();
    for (var i = lane.x; i < args.outputs; i += LANES) {
        sum += load(xhat[z_at + i]);
    }
    let mean = reduce(lane.x, (sum.x + sum.y) + (sum.z + sum.w)) / width;
    sum = vec4<f32>();
    for (var i = lane.x; i < args.outputs; i += LANES) {
        let d = load(xhat[z_at + i]) - mean;
        sum += select(vec4<f32>(), d * d, 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(args.width));
    }
    let scale = 1.0 / sqrt(reduce(lane.x, (sum.x + sum.y) + (sum.z + sum.w)) / width + 1e-5);
    if lane.x == 0u {
        inverse[r * args.room + row] = scale;
    }
    for (var i = lane.x; i < args.outputs; i += LANES) {
        let is_output = 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(args.width);
        let normed = select(vec4<f32>(), (load(xhat[z_at + i]) - mean) * scale, is_output);
        xhat[z_at + i] = store(normed);
        n[z_at + i] = store(params[params_at + args.gamma + i] * normed + params[params_at + args.beta + i]);
    }
}
