// loss = −Σ_c q_c ln softmax(z)_c,  dz = loss scale · (softmax(z) − q) / batch,  q = (1−ε) onehot + ε/C
// metrics[slot, r] = (Σ_rows loss, Σ_rows correct, 0, loss scale), added to what is there from the step's earlier passes
//
// With MIXUP, onehot is that of the sample times its share plus that of its partner times the rest, and the answer is
// right if it is that of the larger share. dz takes z's place.
//
// One workgroup makes all rows of one replica: an invocation every LANES-th one, then all sum up pair by pair, an order
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

struct Scaling {
    factor: f32, // of the step's gradients: 1 / loss, or 0 if they overflowed and the step is skipped
    clip: f32,   // of the update's gradient
    loss: f32,   // of the step's loss
    next: f32,   // of the next step's loss
    steps: u32,  // without an overflow since the factor of the loss changed
    progress: u32, // of the look for overflows
}

struct Args {
    outputs: u32,      // classes
    columns: u32,      // vec4s of a row of z
    z_stride: u32,     // vec4s of one replica's z
    order_stride: u32, // entries of one replica's order; 0 if all share one
    room: u32,         // rows of one replica
    on: f32,           // q of the label: 1 − ε + ε/C
    off: f32,          // q of the others: ε/C
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> order: array<u32>;               // (R or 1, samples)
@group(0) @binding(2) var<storage, read> targets: array<u32>;             // (samples): labels
@group(0) @binding(3) var<storage, read> mix: array<vec2<u32>>;           // (R, room): partner's sample, bits of the share
@group(0) @binding(4) var<storage, read_write> scaling: array<Scaling>;   // (R)
@group(0) @binding(5) var<storage, read_write> z: array<Stored>;          // (R, room, columns): z, then dz
@group(0) @binding(6) var<storage, read_write> metrics: array<vec4<f32>>; // (slots, R)
@group(1) @binding(0) var<uniform> pass_: Pass;

override LANES: u32 = 64u;
override MIXUP: bool = false;

var<workgroup> partial: array<vec2<f32>, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let r = group.z;
    let loss_scale = select(scaling[r].loss, scaling[r].next, pass_.accumulate == 0u);
    var sum = vec2<f32>();
    for (var row = lane.x; row < pass_.rows; row += LANES) {
        sum += of_row(r, row, loss_scale);
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
        metrics[at] = vec4(before + partial[0], 0.0, loss_scale);
        scaling[r].loss = loss_scale;
    }
}

// A row's loss, and whether its largest logit is the label's; leaves its dz.
fn of_row(r: u32, row: u32, loss_scale: f32) -> vec2<f32> {
    let label = targets[order[r * args.order_stride + pass_.first + row]];
    var other = label;
    var share = 1.0;
    if MIXUP {
        let mixed = mix[r * args.room + row];
        other = targets[mixed.x];
        share = bitcast<f32>(mixed.y);
    }
    let at = r * args.z_stride + row * args.columns;

    var best = 0u;
    var top = load(z[at]).x;
    for (var j = 0u; j < args.columns; j++) {
        let logits = load(z[at + j]);
        for (var i = 0u; i < 4u; i++) {
            if 4u * j + i < args.outputs && logits[i] > top {
                top = logits[i];
                best = 4u * j + i;
            }
        }
    }
    var sums = vec2<f32>(); // of exp(z − top) and of z − top
    for (var j = 0u; j < args.columns; j++) {
        let below = select(vec4<f32>(), load(z[at + j]) - top, is_class(j));
        let powers = select(vec4<f32>(), exp(below), is_class(j));
        sums += vec2(dot(powers, vec4(1.0)), dot(below, vec4(1.0)));
    }
    // −Σ_c q_c (z_c − top − ln sum), with Σ_c q_c = 1
    let named = share * (load(z[at + label / 4u])[label % 4u] - top) + (1.0 - share) * (load(z[at + other / 4u])[other % 4u] - top);
    let loss = log(sums.x) - (args.on - args.off) * named - args.off * sums.y;

    let scale = loss_scale / f32(pass_.batch);
    for (var j = 0u; j < args.columns; j++) {
        let c = 4u * j + vec4(0u, 1u, 2u, 3u);
        let onehot = select(vec4<f32>(), vec4(share), c == vec4(label)) + select(vec4<f32>(), vec4(1.0 - share), c == vec4(other));
        let q = args.off + (args.on - args.off) * onehot;
        let dz = (exp(load(z[at + j]) - top) / sums.x - q) * scale;
        z[at + j] = store(select(vec4<f32>(), dz, is_class(j)));
    }
    return vec2(loss, f32(best == select(other, label, share >= 0.5)));
}

// Which of four outputs are classes.
fn is_class(j: u32) -> vec4<bool> {
    return 4u * j + vec4(0u, 1u, 2u, 3u) < vec4(args.outputs);
}

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
