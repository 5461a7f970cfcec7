// rdz = p ∘ (rz − Σ p ∘ rz) / batch,  p = softmax(z)
//
// How the gradient of the mean cross-entropy moves with the logits, of which label smoothing has no say; rz lies in rdz's place.
// One invocation makes the whole of a row: x the row, z its replica.

@group(0) @binding(1) var<storage, read> z: array<Stored>;         // (R, room, outputs)
@group(0) @binding(2) var<storage, read_write> rdz: array<Stored>; // (R, room, outputs): rz, then rdz

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    if row >= pass_.rows {
        return;
    }
    let at = id.z * args.z_stride + row * args.outputs;
    var top = load(z[at]).x;
    for (var j = 0u; j < args.outputs; j++) {
        let logits = select(vec4(top), load(z[at + j]), is_output(j));
        top = max(max(top, max(logits.x, logits.y)), max(logits.z, logits.w));
    }
    var sums = vec2<f32>(); // of exp(z − top) and of exp(z − top) rz
    for (var j = 0u; j < args.outputs; j++) {
        let power = powers(at, j, top);
        sums += vec2(dot(power, vec4(1.0)), dot(power, load(rdz[at + j])));
    }
    let mean = sums.y / sums.x;
    for (var j = 0u; j < args.outputs; j++) {
        let p = powers(at, j, top) / sums.x;
        rdz[at + j] = store(p * (load(rdz[at + j]) - mean) / f32(pass_.batch));
    }
}

// exp(z − top) of four outputs, 0 past the last.
fn powers(at: u32, j: u32, top: f32) -> vec4<f32> {
    let below = select(vec4<f32>(), load(z[at + j]) - top, is_output(j));
    return select(vec4<f32>(), exp(below), is_output(j));
}

// Which of four outputs are there.
fn is_output(j: u32) -> vec4<bool> {
    return 4u * j + vec4(0u, 1u, 2u, 3u) < vec4(args.width);
}
