// w ← shrink·w,  g ← clip·g + weight_decay·w,  m ← momentum·m + gain·g,  v ← decay·v + fresh·g²,
// w ← w − step_size · m / (√v / correction + eps), by the largest v so far if AMSGRAD
//
// step_size = lr / (1 − β₁ᵗ), correction = √(1 − β₂ᵗ), shrink = 1 − lr·weight_decay for AdamW.
// fresh = 1 − decay, computed in f64: next to 1, f32 would lose it.
// State: m, v, and with AMSGRAD the largest v. One invocation updates one vec4 of one replica, or all those whose gradients it
// made (shared/update.wgsl).

override AMSGRAD: bool = false;

// Updates vec4 `at` by its gradient.
fn update(c: Coefficients, gradient: vec4<f32>, at: u32) {
    let w = params[at] * c.shrink;
    let g = gradient + c.weight_decay * w;
    let m = c.momentum * state[at] + c.gain * g;
    var v = c.decay * state[at + vector] + c.fresh * g * g;
    state[at] = m;
    state[at + vector] = v;
    if AMSGRAD {
        v = max(state[at + 2u * vector], v);
        state[at + 2u * vector] = v;
    }
    keep(c, w - c.step_size * m / (sqrt(v) / c.correction + c.eps), at);
}
