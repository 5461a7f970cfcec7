// y = dropout(activation(n)) (+ a if RESIDUAL),  slope = activation'(n), 0 where y is dropped
//
// What `linear` does by itself where no normalisation comes between; n lies in y. One invocation makes one vec4: x its
// column, y its row, z its replica.

struct Args {
    outputs: u32,  // vec4s
    a_stride: u32, // vec4s of one replica's a; 0 if all share one
    y_stride: u32, // vec4s of one replica's y
    purpose: u32,  // of dropout's random numbers
    width: u32,    // outputs, without the padding of the last vec4
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> a: array<Stored>;           // (R or 1, room, outputs), read if RESIDUAL
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;     // (R, room, outputs): n, then y
@group(0) @binding(3) var<storage, read_write> slope: array<Stored>; // (R, room, outputs)

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < args.outputs && id.y < pass_.rows {
        finish(id.z, id.y, id.x, load(y[id.z * args.y_stride + id.y * args.outputs + id.x]));
    }
}
