// Weight gradients go where the step's earlier passes left theirs, and are added to them.

// What multiplies replica r's gradients.
fn begin(r: u32) -> f32 {
    return scaling[r].factor;
}

// Writes the gradient of vec4 `at`.
fn put(c: Coefficients, gradient: vec4<f32>, at: u32) {
    if pass_.accumulate == 0u {
        params[at] = gradient;
    } else {
        params[at] += gradient;
    }
}
