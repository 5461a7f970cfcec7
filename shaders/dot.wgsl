// parts[p] = Σ x ∘ y over the p-th part of the vectors; x · y is the sum of all parts, which the host adds up
//
// In an order that depends on nothing but the length: each of PARTS workgroups sums the products of every PARTS-th stretch of
// LANES vec4s, then its invocations sum up pair by pair. z: its replica.

struct Args {
    params: u32, // vec4s of one replica's vectors
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // (R, P)
@group(0) @binding(2) var<storage, read> y: array<vec4<f32>>;       // (R, P)
@group(0) @binding(3) var<storage, read_write> parts: array<f32>;   // (R, PARTS)

const LANES: u32 = 64u;
const PARTS: u32 = 64u;
alias Partial = f32;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let base = group.z * args.params;
    var sum = vec4<f32>();
    for (var i = group.x * LANES + lane.x; i < args.params; i += PARTS * LANES) {
        sum += x[base + i] * y[base + i];
    }
    let total = reduce(lane.x, (sum.x + sum.y) + (sum.z + sum.w));
    if lane.x == 0u {
        parts[group.z * PARTS + group.x] = total;
    }
}
