// The second pass of linear_split.wgsl: adds the parts of every sum up in their order, and finishes as linear.wgsl.
//
// z = Σ_p parts[p] + b,  y = dropout(activation(z)) (+ a if RESIDUAL),  slope = activation'(z), 0 where y is dropped
//
// parts: (PARTS, R, rows, outputs), a: (R, room, inputs), y and slope: (R, room, outputs), all in vec4s along the last axis.
//
// One invocation makes one vec4. y: its row, z: its replica.

@group(0) @binding(3) var<storage, read> parts: array<vec4<f32>>;    // (PARTS, R, rows, outputs)
@group(0) @binding(4) var<storage, read_write> y: array<Stored>;     // (R, room, outputs)
@group(0) @binding(5) var<storage, read_write> slope: array<Stored>; // (R, room, outputs)

override LANES: u32 = 32u;
override PARTS: u32 = 2u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let output = id.x;
    let row = id.y;
    let r = id.z;
    if output >= args.outputs || row >= pass_.rows {
        return;
    }
    var z = vec4<f32>();
    for (var part = 0u; part < PARTS; part++) {
        z += parts[((part * pass_.replicas + r) * pass_.rows + row) * args.outputs + output];
    }
    finish(r, row, output, z + load(params[r * args.params_stride + args.bias + output]));
}
