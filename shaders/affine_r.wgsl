// rn = γ ∘ rx̂ + vγ ∘ x̂ + vβ
//
// How n = γ x̂ + β moves as the weights move along v. One invocation makes one vec4: x its column, y its row, z its replica.

@group(0) @binding(1) var<storage, read> params: array<vec4<f32>>; // (R, P)
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>;      // (R, P)
@group(0) @binding(3) var<storage, read> xhat: array<Stored>;      // (R, room, outputs)
@group(0) @binding(4) var<storage, read> rxhat: array<Stored>;     // (R, room, outputs)
@group(0) @binding(5) var<storage, read_write> rn: array<Stored>;  // (R, room, outputs)

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= args.outputs || id.y >= pass_.rows {
        return;
    }
    let at = id.z * args.z_stride + id.y * args.outputs + id.x;
    let params_at = id.z * args.params_stride + id.x;
    let along = v[params_at + args.gamma] * load(xhat[at]) + v[params_at + args.beta];
    rn[at] = store(params[params_at + args.gamma] * load(rxhat[at]) + along);
}
