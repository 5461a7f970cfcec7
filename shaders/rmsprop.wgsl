// g ← clip·g + weight_decay·w,  v ← decay·v + fresh·g²,  d = √v + eps,
// or, centered,  m ← decay·m + fresh·g,  d = √(v − m²) + eps;  b ← momentum·b + g/d,  w ← w − step_size·b
//
// fresh = 1 − decay, computed in f64: next to 1, f32 would lose it.
// State: v, b, and if CENTERED m. One invocation updates one vec4 of one replica, or all those whose gradients it made
// (shared/update.wgsl).

override CENTERED: bool = false;

// Updates vec4 `at` by its gradient.
fn update(c: Coefficients, gradient: vec4<f32>, at: u32) {
    let w = params[at];
    let g = gradient + c.weight_decay * w;
    let v = c.decay * state[at] + c.fresh * g * g;
    state[at] = v;
    var variance = v;
    if CENTERED {
        let m = c.decay * state[at + 2u * vector] + c.fresh * g;
        state[at + 2u * vector] = m;
        variance = v - m * m;
    }
    let b = c.momentum * state[at + vector] + g / (sqrt(variance) + c.eps);
    state[at + vector] = b;
    keep(c, w - c.step_size * b, at);
}
