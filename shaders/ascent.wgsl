// factor = rho / ‖T g‖ over all that is trained, 0 where the norm is 0 or not finite; T is 1, or |w| + η (shared/ascent_size.wgsl)
//
// What an ascent multiplies T² g with. In the two dispatches of shared/norm.wgsl. z: its replica.

struct Args {
    params: u32,  // vec4s of one replica's vectors
    trained: u32, // end of those that are trained
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> params: array<vec4<f32>>;  // (R, P)
@group(0) @binding(2) var<storage, read> grads: array<vec4<f32>>;   // (R, P)
@group(0) @binding(3) var<storage, read_write> parts: array<f32>;   // (R, PARTS)
@group(0) @binding(4) var<storage, read_write> factors: array<f32>; // (R)

fn summand(at: u32) -> vec4<f32> {
    return size(params[at]) * grads[at];
}

fn take(r: u32, norm: f32) {
    let factor = coefficients[ring_at(r)].rho / norm;
    factors[r] = select(0.0, factor, norm > 0.0 && is_finite(norm) && is_finite(factor));
}

// Told by its bits, since drivers may take NaN for a number in comparisons.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}
