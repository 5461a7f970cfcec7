// What follows new weights: the working copy of mixed precision, and the EMA.

override EMA: u32 = 0u; // the vector of state that holds the mean; 0 for none
override MIXED: bool = false;

var<private> vector: u32; // vec4s of one vector of state

// Writes the new weights `at`, and what follows them.
fn keep(c: Coefficients, w: vec4<f32>, at: u32) {
    params[at] = w;
    if MIXED {
        working[at] = store(w);
    }
    average(c, w, at);
}

// The EMA takes the weights `at`, of a step that is skipped too.
fn average(c: Coefficients, w: vec4<f32>, at: u32) {
    if EMA > 0u && c.ema > 0.0 {
        let mean_at = at + EMA * vector;
        state[mean_at] += c.ema * (w - state[mean_at]);
    }
}
