// mean ← mean + k (w − mean)
//
// k = 1 / (n + 1) for the sample n of SWA. One invocation takes one vec4 of one replica.

@group(0) @binding(1) var<storage, read> params: array<vec4<f32>>;     // (R, P)
@group(0) @binding(2) var<storage, read_write> mean: array<vec4<f32>>; // (R, P)

fn take(r: u32, i: u32, at: u32) {
    mean[at] += coefficients[ring_at(r)].swa * (params[at] - mean[at]);
}
