// Activations, and their slopes.

override ACTIVATION: u32 = 0u; // identity, relu, gelu, gelu_tanh, silu, tanh, leaky_relu, elu, sigmoid

struct Activated {
    value: vec4<f32>,
    slope: vec4<f32>,
}

fn activate(z: vec4<f32>) -> Activated {
    switch ACTIVATION {
        case 1u: { // max(z, 0)
            return Activated(select(max(z, vec4(0.0)), z, is_nan(z)), select(vec4(0.0), vec4(1.0), z > vec4(0.0)));
        }
        case 2u: { // z Φ(z)
            let below = 0.5 * (1.0 + erf(z * 0.70710678118654752));
            let density = 0.3989422804014327 * exp(-0.5 * z * z);
            return Activated(z * below, below + z * density);
        }
        case 3u: { // z/2 (1 + tanh(√(2/π) (z + 0.044715 z³)))
            let t = tanh_(0.7978845608028654 * (z + 0.044715 * z * z * z));
            let inner_slope = 0.7978845608028654 * (1.0 + 0.134145 * z * z);
            return Activated(0.5 * z * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * z * (1.0 - t * t) * inner_slope);
        }
        case 4u: { // z σ(z); the bound keeps exp finite, which WGSL does not promise to survive
            let s = 1.0 / (1.0 + exp(min(-z, vec4(80.0))));
            return Activated(z * s, s * (1.0 + z * (1.0 - s)));
        }
        case 5u: {
            let t = tanh_(z);
            return Activated(t, 1.0 - t * t);
        }
        case 6u: { // z above 0, 0.01 z elsewhere
            let leak = select(vec4(0.01), vec4(1.0), z > vec4(0.0));
            return Activated(z * leak, leak);
        }
        case 7u: { // z above 0, e^z - 1 elsewhere
            let below = min(z, vec4(0.0));
            return Activated(select(exp_minus_1(below), z, (z > vec4(0.0)) | is_nan(z)), exp(below));
        }
        case 8u: { // σ(z), as above
            let s = 1.0 / (1.0 + exp(min(-z, vec4(80.0))));
            return Activated(select(s, z, is_nan(z)), s * (1.0 - s));
        }
        default: {
            return Activated(z, vec4(1.0));
        }
    }
}

// By their bits, since drivers may take NaN for a number in comparisons.
fn is_nan(z: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(z) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
}

// e^z - 1 of z up to 0. Near 0 the difference has no digits left; seven terms of the series are off by 2e-8 of it at -1/4.
fn exp_minus_1(z: vec4<f32>) -> vec4<f32> {
    let series = z * (1.0 + z / 2.0 * (1.0 + z / 3.0 * (1.0 + z / 4.0 * (1.0 + z / 5.0 * (1.0 + z / 6.0)))));
    return select(exp(z) - 1.0, series, z > vec4(-0.25));
}

// Drivers may compute tanh by exponentials that overflow; from 9 on it is 1 in f32.
fn tanh_(z: vec4<f32>) -> vec4<f32> {
    return tanh(clamp(z, vec4(-9.5), vec4(9.5)));
}

// Abramowitz and Stegun (1964), 7.1.26: the error is at most 1.5e-7, about that of f32 next to 1.
fn erf(z: vec4<f32>) -> vec4<f32> {
    let t = 1.0 / (1.0 + 0.3275911 * abs(z));
    let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return sign(z) * (1.0 - p * exp(-z * z));
}
