// slow ← slow + α (w − slow),  w ← slow
//
// The slow weights take a step towards the fast ones, which go on from there (Zhang et al., 2019). One invocation takes
// one vec4 of one replica.

@group(0) @binding(1) var<storage, read_write> params: array<vec4<f32>>; // (R, P)
@group(0) @binding(2) var<storage, read_write> slow: array<vec4<f32>>;   // (R, P)

fn take(r: u32, i: u32, at: u32) {
    let alpha = coefficients[ring_at(r)].lookahead;
    if alpha == 0.0 {
        return; // another replica's step
    }
    let w = slow[at] + alpha * (params[at] - slow[at]);
    slow[at] = w;
    params[at] = w;
}
