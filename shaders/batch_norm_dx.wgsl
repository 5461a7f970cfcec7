// dz = γ / √(variance + 1e-5) · (dn − loss scale · (dβ + x̂ ∘ dγ) / rows)
//
// With KEPT, mean and variance are the running statistics, and dz = γ / √(variance + 1e-5) · dn. dn lies in dz's place; dγ and dβ
// are those of `norm_dw`. One invocation makes one vec4: x its column, y its row, z its replica.

@group(0) @binding(1) var<storage, read> params: array<vec4<f32>>;   // (R, P)
@group(0) @binding(2) var<storage, read> grads: array<vec4<f32>>;    // (R, P)
@group(0) @binding(3) var<storage, read> xhat: array<Stored>;        // (R, room, outputs)
@group(0) @binding(4) var<storage, read> inverse: array<vec4<f32>>;  // (R, outputs)
@group(0) @binding(5) var<storage, read> scaling: array<Scaling>;    // (R)
@group(0) @binding(6) var<storage, read_write> dz: array<Stored>;    // (R, room, outputs): dn, then dz

override KEPT: bool = false;
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
    var means = (grads[params_at + args.beta] + load(xhat[at]) * grads[params_at + args.gamma]) / f32(pass_.rows);
    if KEPT {
        means = vec4<f32>();
    }
    dz[at] = store(gamma * inverse[r * args.outputs + output] * (load(dz[at]) - scaling[r].loss * means));
}
