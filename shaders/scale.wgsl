// x ← α x
//
// α is one number a replica. One invocation takes one vec4 of one replica.

@group(0) @binding(1) var<storage, read> alpha: array<f32>;         // (R)
@group(0) @binding(2) var<storage, read_write> x: array<vec4<f32>>; // (R, P)

fn take(r: u32, i: u32, at: u32) {
    x[at] = alpha[r] * x[at];
}
