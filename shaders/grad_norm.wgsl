// ‖g‖ over all that is trained, and what clipping multiplies the gradient with: min(1, max_norm / (‖g‖ + 1e-6))
//
// In the two dispatches of shared/norm.wgsl. z: its replica.

struct Args {
    params: u32,   // vec4s of one replica's grads
    trained: u32,  // end of those that are trained
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> grads: array<vec4<f32>>;         // (R, P)
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;         // (R, PARTS)
@group(0) @binding(3) var<storage, read_write> scaling: array<Scaling>;   // (R)
@group(0) @binding(4) var<storage, read_write> metrics: array<vec4<f32>>; // (RING_ROWS, R)

fn summand(at: u32) -> vec4<f32> {
    return grads[at];
}

fn take(r: u32, norm: f32) {
    let clip = coefficients[ring_at(r)].max_norm / (norm + 1e-6);
    scaling[r].clip = select(1.0, clip, clip < 1.0);
    metrics[ring_at(r)].z = norm;
}
