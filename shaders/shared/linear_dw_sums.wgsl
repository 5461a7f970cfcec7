// The sums of an invocation: four rows of dW for each vec4 of inputs.

override LANES: u32 = 32u;
const ROWS: u32 = 8u;
const COLUMNS: u32 = 2u;

struct Sums {
    dw0: array<vec4<f32>, COLUMNS>,
    dw1: array<vec4<f32>, COLUMNS>,
    dw2: array<vec4<f32>, COLUMNS>,
    dw3: array<vec4<f32>, COLUMNS>,
}

fn accumulate(sums: Sums, x: vec4<f32>, d: array<vec4<f32>, COLUMNS>) -> Sums {
    var sum = sums;
    for (var j = 0u; j < COLUMNS; j++) {
        sum.dw0[j] = fma(vec4(x.x), d[j], sum.dw0[j]);
        sum.dw1[j] = fma(vec4(x.y), d[j], sum.dw1[j]);
        sum.dw2[j] = fma(vec4(x.z), d[j], sum.dw2[j]);
        sum.dw3[j] = fma(vec4(x.w), d[j], sum.dw3[j]);
    }
    return sum;
}
