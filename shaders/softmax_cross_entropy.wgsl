// loss = −Σ_c q_c ln softmax(z)_c,  dz = (softmax(z) − q) / batch,  q = (1−ε) onehot + ε/C
//
// With MIXUP, onehot is that of the sample times its share plus that of its partner times the rest, and the answer is
// right if it is that of the larger share.
//
// One invocation makes one row: its loss, whether its largest logit is the label's, and its dz. x: its row, z: its
// replica.

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
    outputs: u32,      // classes
    row_stride: u32,   // f32s of a row of z
    z_stride: u32,     // f32s of one replica's z and dz
    order_stride: u32, // entries of one replica's order; 0 if all share one
    room: u32,         // rows of one replica
    on: f32,           // q of the label: 1 − ε + ε/C
    off: f32,          // q of the others: ε/C
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> order: array<u32>;                // (R or 1, samples)
@group(0) @binding(2) var<storage, read> targets: array<u32>;              // (samples): labels
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
    let label = targets[order[r * args.order_stride + pass_.first + row]];
    var other = label;
    var share = 1.0;
    if MIXUP {
        let mixed = mix[r * args.room + row];
        other = targets[mixed.x];
        share = bitcast<f32>(mixed.y);
    }
    let at = r * args.z_stride + row * args.row_stride;

    var best = 0u;
    var top = z[at];
    for (var c = 1u; c < args.outputs; c++) {
        if z[at + c] > top {
            top = z[at + c];
            best = c;
        }
    }
    var sum = 0.0;
    var total = 0.0;
    for (var c = 0u; c < args.outputs; c++) {
        sum += exp(z[at + c] - top);
        total += z[at + c] - top;
    }
    // −Σ_c q_c (z_c − top − ln sum), with Σ_c q_c = 1
    let named = share * (z[at + label] - top) + (1.0 - share) * (z[at + other] - top);
    let loss = log(sum) - (args.on - args.off) * named - args.off * total;
    row_sums[r * args.room + row] = vec2(loss, f32(best == select(other, label, share >= 0.5)));

    let scale = 1.0 / f32(pass_.batch);
    for (var c = 0u; c < args.row_stride; c++) {
        let onehot = select(0.0, share, c == label) + select(0.0, 1.0 - share, c == other);
        let q = args.off + (args.on - args.off) * onehot;
        dz[at + c] = select(0.0, (exp(z[at + c] - top) / sum - q) * scale, c < args.outputs);
    }
}
