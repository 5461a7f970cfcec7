// The second derivatives of activations; 0 where the slope jumps.

fn second(z: vec4<f32>, first: Activated) -> vec4<f32> {
    switch ACTIVATION {
        case 2u: { // φ(z) (2 - z²)
            return 0.3989422804014327 * exp(-0.5 * z * z) * (2.0 - z * z);
        }
        case 3u: {
            let t = tanh_(0.7978845608028654 * (z + 0.044715 * z * z * z));
            let inner_slope = 0.7978845608028654 * (1.0 + 0.134145 * z * z);
            let inner_second = 0.21406444881780178 * z;
            let rest = 1.0 - t * t;
            return rest * inner_slope + 0.5 * z * rest * (inner_second - 2.0 * t * inner_slope * inner_slope);
        }
        case 4u: {
            let s = 1.0 / (1.0 + exp(min(-z, vec4(80.0))));
            return s * (1.0 - s) * (2.0 + z * (1.0 - 2.0 * s));
        }
        case 5u: {
            return -2.0 * first.value * first.slope;
        }
        case 7u: {
            return select(first.slope, vec4(0.0), z > vec4(0.0));
        }
        case 8u: {
            return first.slope * (1.0 - 2.0 * first.value);
        }
        default: {
            return vec4(0.0);
        }
    }
}
