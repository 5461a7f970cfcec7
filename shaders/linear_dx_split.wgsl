// As linear_dx.wgsl, but only a part of every sum; see linear_split.wgsl. The second pass is linear_dx_sum.wgsl.
//
// parts[p] = dz · W over the p-th part of the outputs
//
// dz: (R, room, outputs), W: (R, inputs, outputs), parts: (PARTS, R, rows, inputs), all in vec4s along the last axis.
//
// Tile and SLICES are those of linear_dx.wgsl, in shared/linear_dx_tile.wgsl. y: its rows, z: its replica and part.

@group(0) @binding(3) var<storage, read_write> parts: array<vec4<f32>>; // (PARTS, R, rows, inputs)

override PARTS: u32 = 2u;

fn put(part: u32, r: u32, row: u32, input: u32, sum: vec4<f32>) {
    parts[((part * pass_.replicas + r) * pass_.rows + row) * args.inputs + input] = sum;
}
