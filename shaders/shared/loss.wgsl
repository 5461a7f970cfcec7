// The sums of a loss over all rows of one replica, added to what is there from the step's earlier passes.
//
// One workgroup makes them: an invocation every LANES-th row, then all sum up pair by pair, an order that depends on nothing but
// the number of rows.

struct Args {
    outputs: u32,      // classes, or values
    columns: u32,      // vec4s of a row of z
    z_stride: u32,     // vec4s of one replica's z
    order_stride: u32, // entries of one replica's order; 0 if all share one
    room: u32,         // rows of one replica
    samples: u32,      // samples of the data set
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> order: array<u32>;               // (R or 1, samples)
@group(0) @binding(3) var<storage, read> mix: array<vec2<u32>>;           // (R, room): partner's sample, bits of the share
@group(0) @binding(4) var<storage, read_write> scaling: array<Scaling>;   // (R)
@group(0) @binding(5) var<storage, read_write> z: array<Stored>;          // (R, room, columns): z, then dz
@group(0) @binding(6) var<storage, read_write> metrics: array<vec4<f32>>; // (RING_ROWS, R)

override LANES: u32 = 64u;
override MIXUP: bool = false;
override WEIGHTED: bool = false;
alias Partial = vec2<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let r = group.z;
    let loss_scale = select(scaling[r].loss, scaling[r].next, pass_.accumulate == 0u);
    var sum = vec2<f32>();
    for (var row = lane.x; row < pass_.rows; row += LANES) {
        sum += of_row(r, row, loss_scale);
    }
    let sums = reduce(lane.x, sum);
    if lane.x == 0u {
        let at = ring_at(r);
        let before = select(metrics[at].xy, vec2<f32>(), pass_.accumulate == 0u);
        metrics[at] = vec4(before + sums, 0.0, loss_scale);
        scaling[r].loss = loss_scale;
    }
}

// What the sum of a step's losses is divided by: its samples, or with WEIGHTED what they count.
fn total(r: u32) -> f32 {
    if WEIGHTED {
        return coefficients[ring_at(r)].total;
    }
    return f32(pass_.batch);
}
