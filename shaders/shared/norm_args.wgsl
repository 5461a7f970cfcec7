// The arguments of what normalisations do backward.

struct Args {
    outputs: u32,       // vec4s
    params_stride: u32, // vec4s of one replica's params and grads
    gamma: u32,         // offset in params and grads, in vec4s
    beta: u32,          // offset in params and grads, in vec4s
    z_stride: u32,      // vec4s of one replica's x̂ and of what is beside it
}

@group(0) @binding(0) var<storage, read> args: Args;
