// An optimizer's update of whole vectors, by the gradient that lies in grads.

@group(0) @binding(1) var<storage, read> scaling: array<Scaling>;        // (R)
@group(0) @binding(2) var<storage, read> grads: array<vec4<f32>>;        // (R, P)
@group(0) @binding(3) var<storage, read_write> params: array<vec4<f32>>; // (R, P)
@group(0) @binding(4) var<storage, read_write> state: array<vec4<f32>>;  // (vectors, R, P): the optimizer's, and the EMA
@group(0) @binding(5) var<storage, read_write> working: array<Stored>;   // (R, P), if MIXED

fn take(r: u32, i: u32, at: u32) {
    vector = arrayLength(&params);
    var c = coefficients[ring_at(r)];
    if i >= args.decayed {
        c.weight_decay = 0.0;
        c.shrink = 1.0;
    }
    if MIXED && scaling[r].factor == 0.0 {
        average(c, params[at], at);
    } else {
        update(c, scaling[r].clip * grads[at], at);
    }
}
