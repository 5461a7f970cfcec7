// The arguments of what carries along how the values of a layer move with the weights.

struct Args {
    outputs: u32,       // vec4s of a row
    width: u32,         // outputs, without the padding of the last vec4
    params_stride: u32, // vec4s of one replica's params and v
    gamma: u32,         // offset in params and v, in vec4s
    beta: u32,          // offset in params and v, in vec4s
    z_stride: u32,      // vec4s of one replica's rows
    room: u32,          // rows of one replica
}

@group(0) @binding(0) var<storage, read> args: Args;
