// As linear.wgsl, but only a part of every sum, for few outputs that would leave a large device idle: a second pass,
// linear_sum.wgsl, adds the parts up in their order.
//
// parts[p] = a · Wᵀ over the p-th part of the inputs
//
// a: (R, room, inputs), W: (R, inputs, outputs), parts: (PARTS, R, rows, outputs), all in vec4s along the last axis.
//
// Tile and SLICES are those of linear.wgsl, in shared/linear_tile.wgsl. y: its rows, z: its replica and part.

@group(0) @binding(3) var<storage, read_write> parts: array<vec4<f32>>; // (PARTS, R, rows, outputs)

override PARTS: u32 = 2u;

// The second pass adds it.
fn bias_of(r: u32, output: u32) -> vec4<f32> {
    return vec4<f32>();
}

fn put(part: u32, r: u32, row: u32, output: u32, z: vec4<f32>, bias: vec4<f32>) {
    parts[((part * pass_.replicas + r) * pass_.rows + row) * args.outputs + output] = z;
}
