// What the forms of linear read.

struct Args {
    inputs: u32,        // vec4s
    outputs: u32,       // vec4s
    weight: u32,        // offset in params, in vec4s
    bias: u32,          // offset in params, in vec4s
    params_stride: u32, // vec4s of one replica's params
    a_stride: u32,      // vec4s of one replica's a; 0 if all share one
    y_stride: u32,      // vec4s of one replica's y
    purpose: u32,       // of dropout's random numbers
    width: u32,         // outputs, without the padding of the last vec4
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> params: array<Stored>; // (R, P)
@group(0) @binding(2) var<storage, read> a: array<Stored>;      // (R or 1, room, inputs)
