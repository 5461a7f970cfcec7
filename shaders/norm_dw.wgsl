// dγ = Σ_rows dn ∘ x̂ / loss scale,  dβ = Σ_rows dn / loss scale
//
// Of either normalisation. One workgroup makes COLUMNS vec4s of all rows. z: its replica.

@group(0) @binding(1) var<storage, read> xhat: array<Stored>;           // (R, room, outputs)
@group(0) @binding(2) var<storage, read> dn: array<Stored>;             // (R, room, outputs)
@group(0) @binding(3) var<storage, read> scaling: array<Scaling>;       // (R)
@group(0) @binding(4) var<storage, read_write> grads: array<vec4<f32>>; // (R, P)

alias Partial = mat2x4<f32>; // of dγ and of dβ

@compute @workgroup_size(COLUMNS, ROW_LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let column = group.x * COLUMNS + lane.x;
    let output = min(column, args.outputs - 1u);
    let r = group.z;
    var sums = Partial();
    for (var row = lane.y; row < pass_.rows; row += ROW_LANES) {
        let at = r * args.z_stride + row * args.outputs + output;
        let d = load(dn[at]);
        sums[0] += d * load(xhat[at]);
        sums[1] += d;
    }
    let totals = reduce(lane.xy, sums);
    if lane.y == 0u && column < args.outputs {
        let at = r * args.params_stride + output;
        let factor = 1.0 / scaling[r].loss;
        put(at + args.gamma, factor * totals[0]);
        put(at + args.beta, factor * totals[1]);
    }
}

fn put(at: u32, value: vec4<f32>) {
    if pass_.accumulate == 0u {
        grads[at] = value;
    } else {
        grads[at] += value;
    }
}
