// ascended ← w + factor · T² g, or w where the factor is 0,  g ← 0
//
// The ascent before an update, with the factor of ascent.wgsl and the T of shared/ascent_size.wgsl. The gradient of what has
// ascended is added to g, as that of a further pass of the step. One invocation takes one vec4 of one replica.

@group(0) @binding(1) var<storage, read> factors: array<f32>;              // (R)
@group(0) @binding(2) var<storage, read> params: array<vec4<f32>>;         // (R, P)
@group(0) @binding(3) var<storage, read_write> grads: array<vec4<f32>>;    // (R, P)
@group(0) @binding(4) var<storage, read_write> ascended: array<vec4<f32>>; // (R, P)

fn take(r: u32, i: u32, at: u32) {
    let w = params[at];
    let t = size(w);
    let factor = factors[r];
    ascended[at] = select(w + factor * (t * (t * grads[at])), w, factor == 0.0);
    grads[at] = vec4<f32>();
}
