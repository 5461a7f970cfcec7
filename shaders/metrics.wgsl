// metrics[slot, r] = (Σ_rows loss, Σ_rows correct, ‖g‖, 0), added to what is there from the step's earlier passes
//
// One workgroup sums one replica's rows: each invocation every LANES-th one, then all of them pair by pair, an order
// that depends on nothing but the number of rows. z: its replica.

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

struct Args {
    room: u32, // rows of one replica
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> row_sums: array<vec2<f32>>;      // (R, room): loss, correct
@group(0) @binding(2) var<storage, read_write> metrics: array<vec4<f32>>; // (slots, R)
@group(1) @binding(0) var<uniform> pass_: Pass;

const LANES: u32 = 64u;
var<workgroup> partial: array<vec2<f32>, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let r = group.z;
    var sum = vec2<f32>();
    for (var row = lane.x; row < pass_.rows; row += LANES) {
        sum += row_sums[r * args.room + row];
    }
    partial[lane.x] = sum;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if lane.x < width {
            partial[lane.x] += partial[lane.x + width];
        }
        workgroupBarrier();
    }
    if lane.x == 0u {
        let at = pass_.slot * pass_.replicas + r;
        let before = select(metrics[at].xy, vec2<f32>(), pass_.accumulate == 0u);
        metrics[at] = vec4(before + partial[0], 0.0, 0.0);
    }
}
