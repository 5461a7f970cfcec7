// y ← y + α x
//
// α is one number a replica. Multiplied and added by one `fma`, so that all devices that round it once have the same bits, those of
// the CPU's `mul_add`; WGSL lets a device round twice, and Mesa's software driver (22.3) does. One invocation takes one vec4 of one
// replica.

@group(0) @binding(1) var<storage, read> alpha: array<f32>;         // (R)
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;       // (R, P)
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>; // (R, P)

fn take(r: u32, i: u32, at: u32) {
    y[at] = fma(vec4(alpha[r]), x[at], y[at]);
}
