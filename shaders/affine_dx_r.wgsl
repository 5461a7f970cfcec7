// dx̂ = γ ∘ dn,  rdx̂ = γ ∘ rdn + vγ ∘ dn
//
// The gradient of x̂, and how it moves as the weights move along v; dn lies in dz's place, rdn in rdz's. One invocation makes one
// vec4: x its column, y its row, z its replica.

@group(0) @binding(1) var<storage, read> params: array<vec4<f32>>; // (R, P)
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>;      // (R, P)
@group(0) @binding(3) var<storage, read_write> dz: array<Stored>;  // (R, room, outputs): dn, then dx̂
@group(0) @binding(4) var<storage, read_write> rdz: array<Stored>; // (R, room, outputs): rdn, then rdx̂

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= args.outputs || id.y >= pass_.rows {
        return;
    }
    let at = id.z * args.z_stride + id.y * args.outputs + id.x;
    let gamma_at = id.z * args.params_stride + args.gamma + id.x;
    let gamma = params[gamma_at];
    let dn = load(dz[at]);
    rdz[at] = store(gamma * load(rdz[at]) + v[gamma_at] * dn);
    dz[at] = store(gamma * dn);
}
