// loss = mean_j (z_j − y_j)²,  dz = loss scale · 2 (z − y) / (batch · outputs)
// metrics[slot, r] = (Σ_rows loss, Σ_rows correct, 0, loss scale), added to what is there from the step's earlier passes
//
// With MIXUP, y is the sample's target times its share plus its partner's times the rest. An answer is right if the
// largest output is where the largest target is. dz takes z's place.
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
    outputs: u32,
    columns: u32,      // vec4s of a row of z
    z_stride: u32,     // vec4s of one replica's z
    order_stride: u32, // entries of one replica's order; 0 if all share one
    room: u32,         // rows of one replica
    on: f32,           // not used
    off: f32,          // not used
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> order: array<u32>;               // (R or 1, samples)
@group(0) @binding(2) var<storage, read> targets: array<f32>;             // (samples, outputs)
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

// A row's loss, and whether its largest output is where the largest target is; leaves its dz.
fn of_row(r: u32, row: u32, loss_scale: f32) -> vec2<f32> {
    let at = r * args.z_stride + row * args.columns;
    let y_at = order[r * args.order_stride + pass_.first + row] * args.outputs;
    var other_at = y_at;
    var share = 1.0;
    if MIXUP {
        let mixed = mix[r * args.room + row];
        other_at = mixed.x * args.outputs;
        share = bitcast<f32>(mixed.y);
    }
    let scale = loss_scale * 2.0 / (f32(pass_.batch) * f32(args.outputs));

    var sum = 0.0;
    var best_z = 0u;
    var top_z = 0.0;
    var best_y = 0u;
    var top_y = 0.0;
    for (var j = 0u; j < args.columns; j++) {
        let outputs = load(z[at + j]);
        var error = vec4<f32>();
        for (var i = 0u; i < 4u; i++) {
            let c = 4u * j + i;
            if c < args.outputs {
                let y = share * targets[y_at + c] + (1.0 - share) * targets[other_at + c];
                error[i] = outputs[i] - y;
                if c == 0u || outputs[i] > top_z {
                    best_z = c;
                    top_z = outputs[i];
                }
                if c == 0u || y > top_y {
                    best_y = c;
                    top_y = y;
                }
            }
        }
        sum += dot(error, error);
        z[at + j] = store(error * scale);
    }
    return vec2(sum / f32(args.outputs), f32(best_z == best_y));
}

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
