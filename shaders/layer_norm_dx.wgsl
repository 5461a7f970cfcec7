// g = γ ∘ dn,  dz = (g − mean(g) − x̂ ∘ mean(g ∘ x̂)) / √(variance + 1e-5), means being those over the row
//
// dn lies in dz's place. One workgroup makes one row: x the row, z its replica.

struct Args {
    outputs: u32,       // vec4s
    width: u32,         // outputs of a row
    params_stride: u32, // vec4s of one replica's params
    gamma: u32,         // offset in params, in vec4s
    z_stride: u32,      // vec4s of one replica's x̂ and dz
    room: u32,          // rows of one replica
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> params: array<vec4<f32>>;   // (R, P)
@group(0) @binding(2) var<storage, read> xhat: array<Stored>;        // (R, room, outputs)
@group(0) @binding(3) var<storage, read> inverse: array<f32>;        // (R, room)
@group(0) @binding(4) var<storage, read_write> dz: array<Stored>;    // (R, room, outputs): dn, then dz

const LANES: u32 = 64u;
alias Partial = vec2<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let row = group.x;
    let r = group.z;
    let z_at = r * args.z_stride + row * args.outputs;
    let gamma_at = r * args.params_stride + args.gamma;

    var sum = vec4<f32>();
    var product = vec4<f32>();
    for (var i = lane.x; i < args.outputs; i += LANES) {
        let g = params[gamma_at + i] * load(dz[z_at + i]);
        sum += g;
        product += g * load(xhat[z_at + i]);
    }
    let total = reduce(lane.x, vec2((sum.x + sum.y) + (sum.z + sum.w), (product.x + product.y) + (product.z + product.w)));
    let means = total / f32(args.width);
    let scale = inverse[r * args.room + row];
    for (var i = lane.x; i < args.outputs; i += LANES) {
        let is_output = 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(args.width);
        let value = (params[gamma_at + i] * load(dz[z_at + i]) - means.x - load(xhat[z_at + i]) * means.y) * scale;
        dz[z_at + i] = store(select(vec4<f32>(), value, is_output));
    }
}
