// ‖g‖ over all that is trained, and what clipping multiplies the gradient with: min(1, max_norm / (‖g‖ + 1e-6))
//
// In two dispatches, in an order that depends on nothing but the length: each of PARTS workgroups sums the squares of
// every PARTS-th stretch of LANES vec4s, then one workgroup sums the parts. z: its replica.

struct Args {
    params: u32,   // vec4s of one replica's grads
    trained: u32,  // end of those that are trained
    max_norm: f32,
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> grads: array<vec4<f32>>;         // (R, P)
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;         // (R, PARTS)
@group(0) @binding(3) var<storage, read_write> scaling: array<Scaling>;   // (R)
@group(0) @binding(4) var<storage, read_write> metrics: array<vec4<f32>>; // (RING_ROWS, R)

const LANES: u32 = 64u;
const PARTS: u32 = 64u;
alias Partial = f32;

@compute @workgroup_size(LANES)
fn square(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let base = group.z * args.params;
    var sum = vec4<f32>();
    for (var i = group.x * LANES + lane.x; i < args.trained; i += PARTS * LANES) {
        let g = grads[base + i];
        sum += g * g;
    }
    let total = reduce(lane.x, (sum.x + sum.y) + (sum.z + sum.w));
    if lane.x == 0u {
        parts[group.z * PARTS + group.x] = total;
    }
}

@compute @workgroup_size(LANES)
fn root(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let r = group.z;
    var sum = 0.0;
    for (var i = lane.x; i < PARTS; i += LANES) {
        sum += parts[r * PARTS + i];
    }
    let norm = sqrt(reduce(lane.x, sum));
    if lane.x == 0u {
        let clip = args.max_norm / (norm + 1e-6);
        scaling[r].clip = select(1.0, clip, clip < 1.0);
        metrics[ring_at(r)].z = norm;
    }
}
