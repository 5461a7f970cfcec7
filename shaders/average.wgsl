// mean ← mean + k (w − mean)
//
// k is that of SWA or of the EMA. One invocation takes one vec4 of one replica.

override IS_EMA: bool = false;

@group(0) @binding(1) var<storage, read> params: array<vec4<f32>>;     // (R, P)
@group(0) @binding(2) var<storage, read_write> mean: array<vec4<f32>>; // (R, P)

fn take(r: u32, i: u32, at: u32) {
    let c = coefficients[ring_at(r)];
    let k = select(c.swa, c.ema, IS_EMA);
    if k > 0.0 {
        mean[at] += k * (params[at] - mean[at]);
    }
}
