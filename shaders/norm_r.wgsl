// rx̂ = inverse (rz − mean(rz) − x̂ mean(x̂ ∘ rz)),  rinverse = −inverse² mean(x̂ ∘ rz), means being those over the row
//
// How a layer normalisation's x̂ and 1/√(variance + ε) move with the weights; with BATCH, under running statistics that stay,
// rx̂ = inverse ∘ rz, and rinverse is not written. rz lies in rxhat, or with SUM is the sum of that and `other`. One workgroup
// makes one row: x the row, z its replica.

@group(0) @binding(1) var<storage, read> xhat: array<Stored>;           // (R, room, outputs)
@group(0) @binding(2) var<storage, read> inverse: array<f32>;           // (R, room); BATCH: (R, 4 outputs)
@group(0) @binding(3) var<storage, read> other: array<Stored>;          // (R, room, outputs), read if SUM
@group(0) @binding(4) var<storage, read_write> rxhat: array<Stored>;    // (R, room, outputs): rz, then rx̂
@group(0) @binding(5) var<storage, read_write> rinverse: array<f32>;    // (R, room)

override BATCH: bool = false;
override SUM: bool = false;
const LANES: u32 = 64u;
alias Partial = vec2<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let row = group.x;
    let r = group.z;
    let z_at = r * args.z_stride + row * args.outputs;

    var sum = vec4<f32>();
    var product = vec4<f32>();
    for (var i = lane.x; i < args.outputs; i += LANES) {
        let rz = tangent(z_at + i);
        sum += rz;
        product += rz * load(xhat[z_at + i]);
    }
    let total = reduce(lane.x, vec2((sum.x + sum.y) + (sum.z + sum.w), (product.x + product.y) + (product.z + product.w)));
    let means = total / f32(args.width);
    let scale = inverse[r * args.room + row];
    for (var i = lane.x; i < args.outputs; i += LANES) {
        let is_output = 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(args.width);
        var value = (tangent(z_at + i) - means.x - load(xhat[z_at + i]) * means.y) * scale;
        if BATCH {
            let at = 4u * (r * args.outputs + i);
            value = tangent(z_at + i) * vec4(inverse[at], inverse[at + 1u], inverse[at + 2u], inverse[at + 3u]);
        }
        rxhat[z_at + i] = store(select(vec4<f32>(), value, is_output));
    }
    if !BATCH && lane.x == 0u {
        rinverse[r * args.room + row] = -(scale * scale) * means.y;
    }
}

// rz of four outputs.
fn tangent(at: u32) -> vec4<f32> {
    if SUM {
        return load(rxhat[at]) + load(other[at]);
    }
    return load(rxhat[at]);
}
