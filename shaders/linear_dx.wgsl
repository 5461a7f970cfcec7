// da = dz · W (+ above if RESIDUAL),  dx = da ∘ slope
//
// `above` is the gradient of the layer's output, which a residual connection hands down; KEEP writes da, for the layer
// below to do so in turn.
//
// dz: (R, room, outputs), W: (R, inputs, outputs), slope and dx: (R, room, inputs), all in vec4s along the last axis.
//
// One workgroup makes ROWS rows of dx and LANES vec4s of each, its lanes side by side along the inputs. One invocation
// holds ROWS vec4s in registers and reads four rows of W for them. y: its rows, z: its replica. SLICES are those of
// linear.wgsl. The sums are made in shared/linear_dx_tile.wgsl.

const PARTS: u32 = 1u; // the whole sum

fn put(part: u32, r: u32, row: u32, input: u32, sum: vec4<f32>) {
    finish(r, row, input, sum);
}
