// z = a · Wᵀ + b,  y = dropout(activation(z)) (+ a if RESIDUAL),  slope = activation'(z), 0 where y is dropped
//
// a: (R, room, inputs), W: (R, inputs, outputs), y and slope: (R, room, outputs), all in vec4s along the last axis.
//
// One workgroup makes ROWS rows of y and LANES * COLUMNS vec4s of each, its lanes side by side along the outputs, so
// that their loads of W are neighbours and their loads of a are all the same. One invocation holds ROWS x COLUMNS
// vec4s in registers. y: its rows, z: its replica. With SLICES, a workgroup has as many invocations for each lane, which
// take a part of the sum each, so that a small y keeps a large device busy.
//
// The sums are made in shared/linear_tile.wgsl.
//
// Not kept: loading each vec4 as two u64s, on Mesa's software driver, where every load costs: 1x3072x512 took 0.71 ms
// instead of 0.80, and the step no less.

const PARTS: u32 = 1u; // the whole sum

fn bias_of(r: u32, output: u32) -> vec4<f32> {
    return load(params[r * args.params_stride + args.bias + output]);
}

fn put(part: u32, r: u32, row: u32, output: u32, z: vec4<f32>, bias: vec4<f32>) {
    finish(r, row, output, z + bias);
}
