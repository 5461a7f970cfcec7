// mean ← mean + softmax(z) / members, or mean + z / members unless SOFTMAX; after the last member, z ← ln mean, or mean
//
// An ensemble's prediction is the mean of its members'. Its logarithm stands in for the logits of one network: the
// softmax of ln p is p. One invocation takes one row: x its row, z its replica.

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
    row_stride: u32,  // f32s of a row of z and of mean
    z_stride: u32,    // f32s of one replica's z
    mean_stride: u32, // f32s of one replica's mean
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read_write> z: array<f32>;    // (R, room, row_stride)
@group(0) @binding(2) var<storage, read_write> mean: array<f32>; // (R, samples, row_stride)
@group(1) @binding(0) var<uniform> pass_: Pass;

override SOFTMAX: bool = true;
override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    let r = id.z;
    if row >= pass_.rows {
        return;
    }
    let at = r * args.z_stride + row * args.row_stride;
    let mean_at = r * args.mean_stride + (pass_.first + row) * args.row_stride;
    var top = z[at];
    var sum = 0.0;
    if SOFTMAX {
        for (var c = 1u; c < args.outputs; c++) {
            top = max(top, z[at + c]);
        }
        for (var c = 0u; c < args.outputs; c++) {
            sum += exp(z[at + c] - top);
        }
    }
    for (var c = 0u; c < args.outputs; c++) {
        var p = z[at + c];
        if SOFTMAX {
            p = exp(p - top) / sum;
        }
        p /= f32(pass_.members);
        if pass_.member > 0u {
            p += mean[mean_at + c];
        }
        mean[mean_at + c] = p;
        if pass_.member + 1u == pass_.members {
            // The smallest normal f32: a probability of 0 is that of no class.
            z[at + c] = select(p, log(max(p, 1.1754944e-38)), SOFTMAX);
        }
    }
}
