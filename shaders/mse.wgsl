// loss = mean_j (z_j − y_j)²,  dz = 2 (z − y) / (batch · outputs)
//
// With MIXUP, y is the sample's target times its share plus its partner's times the rest.
//
// One invocation makes one row: its loss, whether its largest output is where the largest target is, and its dz.
// x: its row, z: its replica.

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
    outputs: u32,
    row_stride: u32,   // f32s of a row of z
    z_stride: u32,     // f32s of one replica's z and dz
    order_stride: u32, // entries of one replica's order; 0 if all share one
    room: u32,         // rows of one replica
    on: f32,           // not used
    off: f32,          // not used
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> order: array<u32>;                // (R or 1, samples)
@group(0) @binding(2) var<storage, read> targets: array<f32>;              // (samples, outputs)
@group(0) @binding(3) var<storage, read> z: array<f32>;                    // (R, room, row_stride)
@group(0) @binding(4) var<storage, read> mix: array<vec2<u32>>;            // (R, room): partner's sample, bits of the share
@group(0) @binding(5) var<storage, read_write> dz: array<f32>;             // (R, room, row_stride)
@group(0) @binding(6) var<storage, read_write> row_sums: array<vec2<f32>>; // (R, room): loss, correct
@group(1) @binding(0) var<uniform> pass_: Pass;

override LANES: u32 = 64u;
override MIXUP: bool = false;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    let r = id.z;
    if row >= pass_.rows {
        return;
    }
    let at = r * args.z_stride + row * args.row_stride;
    let y_at = order[r * args.order_stride + pass_.first + row] * args.outputs;
    var other_at = y_at;
    var share = 1.0;
    if MIXUP {
        let mixed = mix[r * args.room + row];
        other_at = mixed.x * args.outputs;
        share = bitcast<f32>(mixed.y);
    }
    let scale = 2.0 / (f32(pass_.batch) * f32(args.outputs));

    var sum = 0.0;
    var best_z = 0u;
    var best_y = 0u;
    var top_y = 0.0;
    for (var j = 0u; j < args.row_stride; j++) {
        var error = 0.0;
        if j < args.outputs {
            let y = share * targets[y_at + j] + (1.0 - share) * targets[other_at + j];
            error = z[at + j] - y;
            best_z = select(best_z, j, z[at + j] > z[at + best_z]);
            if j == 0u || y > top_y {
                best_y = j;
                top_y = y;
            }
        }
        sum += error * error;
        dz[at + j] = error * scale;
    }
    row_sums[r * args.room + row] = vec2(sum / f32(args.outputs), f32(best_z == best_y));
}
