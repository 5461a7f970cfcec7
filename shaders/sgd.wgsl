// g ← clip·g + weight_decay·w,  v ← momentum·v + gain·g,  w ← w − step_size·v
// or, with Nesterov's momentum,  w ← w − step_size·(g + momentum·v)
//
// State: v. One invocation updates one vec4 of one replica, or all those whose gradients it made (shared/update.wgsl).

override NESTEROV: bool = false;

// Updates vec4 `at` by its gradient.
fn update(c: Coefficients, gradient: vec4<f32>, at: u32) {
    let w = params[at];
    let g = gradient + c.weight_decay * w;
    let v = c.momentum * state[at] + c.gain * g;
    state[at] = v;
    keep(c, w - c.step_size * select(v, g + c.momentum * v, NESTEROV), at);
}
