// g = dx̂ − mean(dx̂) − x̂ mean(x̂ ∘ dx̂),  dz = inverse g
// rdz = rinverse g + inverse (rdx̂ − mean(rdx̂) − rx̂ mean(x̂ ∘ dx̂) − x̂ mean(rx̂ ∘ dx̂ + x̂ ∘ rdx̂)), means being those over
// the row
//
// The gradient of a layer normalisation's input, and how it moves with the weights; with BATCH, under running statistics that stay,
// dz = inverse ∘ dx̂ and rdz = inverse ∘ rdx̂. dx̂ lies in dz's place, rdx̂ in rdz's. One workgroup makes one row: x the row, z its
// replica.

@group(0) @binding(1) var<storage, read> xhat: array<Stored>;      // (R, room, outputs)
@group(0) @binding(2) var<storage, read> inverse: array<f32>;      // (R, room); BATCH: (R, 4 outputs)
@group(0) @binding(3) var<storage, read> rxhat: array<Stored>;     // (R, room, outputs)
@group(0) @binding(4) var<storage, read> rinverse: array<f32>;     // (R, room)
@group(0) @binding(5) var<storage, read_write> dz: array<Stored>;  // (R, room, outputs): dx̂, then dz
@group(0) @binding(6) var<storage, read_write> rdz: array<Stored>; // (R, room, outputs): rdx̂, then rdz

override BATCH: bool = false;
const LANES: u32 = 64u;
alias Partial = vec4<f32>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let row = group.x;
    let r = group.z;
    let z_at = r * args.z_stride + row * args.outputs;

    // Of dx̂, x̂ ∘ dx̂, rdx̂, and rx̂ ∘ dx̂ + x̂ ∘ rdx̂.
    var sums = vec4<f32>();
    for (var i = lane.x; i < args.outputs; i += LANES) {
        let x = load(xhat[z_at + i]);
        let d = load(dz[z_at + i]);
        let rd = load(rdz[z_at + i]);
        sums += vec4(dot(d, vec4(1.0)), dot(x, d), dot(rd, vec4(1.0)), dot(load(rxhat[z_at + i]), d) + dot(x, rd));
    }
    let means = reduce(lane.x, sums) / f32(args.width);
    let scale = inverse[r * args.room + row];
    let rscale = rinverse[r * args.room + row];
    for (var i = lane.x; i < args.outputs; i += LANES) {
        let is_output = 4u * i + vec4(0u, 1u, 2u, 3u) < vec4(args.width);
        let x = load(xhat[z_at + i]);
        let d = load(dz[z_at + i]);
        let rd = load(rdz[z_at + i]);
        let g = d - means.x - x * means.y;
        var value = scale * g;
        var moved = rscale * g + scale * (rd - means.z - load(rxhat[z_at + i]) * means.y - x * means.w);
        if BATCH {
            let at = 4u * (r * args.outputs + i);
            let of_column = vec4(inverse[at], inverse[at + 1u], inverse[at + 2u], inverse[at + 3u]);
            value = of_column * d;
            moved = of_column * rd;
        }
        dz[z_at + i] = store(select(vec4<f32>(), value, is_output));
        rdz[z_at + i] = store(select(vec4<f32>(), moved, is_output));
    }
}
