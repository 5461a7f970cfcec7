// g ← clip·g + weight_decay·w,  v ← momentum·v + gain·g,  w ← w − step_size·v
// or, with Nesterov's momentum,  w ← w − step_size·(g + momentum·v)
//
// The vectors of state are v. Of a whole vector, or of a weight gradient where it is made.

override NESTEROV: bool = false;

// Updates vec4 `at` by its gradient.
fn update(c: Coefficients, gradient: vec4<f32>, at: u32) {
    let w = params[at];
    let g = gradient + c.weight_decay * w;
    let v = c.momentum * state[at] + c.gain * g;
    state[at] = v;
    keep(c, w - c.step_size * select(v, g + c.momentum * v, NESTEROV), at);
}
