// Weight gradients are used up by the optimizer's update where they are made.

var<private> is_skipped: bool; // the step, since its gradients overflowed

// What multiplies replica r's gradients.
fn begin(r: u32) -> f32 {
    let factor = scaling[r].factor;
    is_skipped = MIXED && factor == 0.0;
    vector = arrayLength(&params);
    return factor;
}

// Uses up the gradient of vec4 `at`.
fn put(c: Coefficients, gradient: vec4<f32>, at: u32) {
    if is_skipped {
        average(c, params[at], at);
    } else {
        update(c, gradient, at);
    }
}
