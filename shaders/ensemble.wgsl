// mean ← mean + softmax(z) / members, or mean + z / members unless SOFTMAX; after the last member, z ← ln mean, or mean
//
// An ensemble's prediction is the mean of its members'. Its logarithm stands in for the logits of one network: the
// softmax of ln p is p. One invocation takes one row: x its row, z its replica.

struct Args {
    outputs: u32,
    columns: u32,     // vec4s of a row of z and of mean
    z_stride: u32,    // vec4s of one replica's z
    mean_stride: u32, // vec4s of one replica's mean
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read_write> z: array<Stored>;       // (R, room, columns)
@group(0) @binding(2) var<storage, read_write> mean: array<vec4<f32>>; // (R, samples, columns)

override SOFTMAX: bool = true;
override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    let r = id.z;
    if row >= pass_.rows {
        return;
    }
    let at = r * args.z_stride + row * args.columns;
    let mean_at = r * args.mean_stride + (pass_.first + row) * args.columns;
    var top = load(z[at]).x;
    var sum = 0.0;
    if SOFTMAX {
        for (var j = 0u; j < args.columns; j++) {
            let most = select(vec4(top), load(z[at + j]), is_output(j));
            top = max(max(max(most.x, most.y), max(most.z, most.w)), top);
        }
        for (var j = 0u; j < args.columns; j++) {
            sum += dot(select(vec4<f32>(), exp(load(z[at + j]) - top), is_output(j)), vec4(1.0));
        }
    }
    for (var j = 0u; j < args.columns; j++) {
        var p = load(z[at + j]);
        if SOFTMAX {
            p = exp(p - top) / sum;
        }
        p /= f32(pass_.members);
        if pass_.member > 0u {
            p += mean[mean_at + j];
        }
        mean[mean_at + j] = select(mean[mean_at + j], p, is_output(j));
        if pass_.member + 1u == pass_.members {
            // The smallest normal f32: a probability of 0 is that of no class.
            let prediction = select(p, log(max(p, vec4(1.1754944e-38))), vec4(SOFTMAX));
            z[at + j] = store(select(vec4<f32>(), prediction, is_output(j)));
        }
    }
}
