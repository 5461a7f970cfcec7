// The arguments of the forms of linear_dw.

struct Args {
    inputs: u32,        // vec4s
    outputs: u32,       // vec4s
    weight: u32,        // offset in params, in vec4s
    bias: u32,          // offset in params, in vec4s
    params_stride: u32, // vec4s of one replica's params
    a_stride: u32,      // vec4s of one replica's a
    dz_stride: u32,     // vec4s of one replica's dz
    decayed: u32,       // end of the params that the weight decay acts on, in vec4s
}

@group(0) @binding(0) var<storage, read> args: Args;
