// The norm of one vector a replica, over all that is trained: `summand` gives its vec4s, and `take` takes the norm.
//
// In two dispatches, in an order that depends on nothing but the length: each of PARTS workgroups sums the squares of
// every PARTS-th stretch of LANES vec4s, then one workgroup sums the parts. z: its replica.

const LANES: u32 = 64u;
const PARTS: u32 = 64u;
alias Partial = f32;

@compute @workgroup_size(LANES)
fn square(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let base = group.z * args.params;
    var sum = vec4<f32>();
    for (var i = group.x * LANES + lane.x; i < args.trained; i += PARTS * LANES) {
        let g = summand(base + i);
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
        take(r, norm);
    }
}
