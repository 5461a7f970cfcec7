// The second pass of linear_dw_split.wgsl: adds the parts of every sum up in their order, and finishes as linear_dw.wgsl.
//
// dW = factor · Σ_p parts[p],  db = factor · Σ_p parts[p] of the last row
//
// parts: (PARTS, R, inputs + 1, outputs), params: (R, P), all in vec4s along the last axis.
//
// One invocation makes one vec4. y: its row, the last being the bias, z: its replica.

@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;        // (PARTS, R, inputs + 1, outputs)
@group(0) @binding(2) var<storage, read> scaling: array<Scaling>;        // (R)
@group(0) @binding(3) var<storage, read_write> params: array<vec4<f32>>; // (R, P); without an update, their gradient
@group(0) @binding(4) var<storage, read_write> state: array<vec4<f32>>;  // (vectors, R, P): the optimizer's, and the EMA
@group(0) @binding(5) var<storage, read_write> working: array<Stored>;   // (R, P), if MIXED

override LANES: u32 = 32u;
override PARTS: u32 = 2u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let output = id.x;
    let input = id.y;
    let r = id.z;
    let inputs = 4u * args.inputs;
    if output >= args.outputs || input > inputs {
        return;
    }
    var gradient = vec4<f32>();
    for (var part = 0u; part < PARTS; part++) {
        gradient += parts[((part * pass_.replicas + r) * (inputs + 1u) + input) * args.outputs + output];
    }
    let factor = begin(r);
    var c = coefficients[ring_at(r)];
    var at = r * args.params_stride + args.weight + input * args.outputs + output;
    if input == inputs {
        at = r * args.params_stride + args.bias + output;
        c = of_bias(c);
    }
    put(c, factor * gradient, at);
}
