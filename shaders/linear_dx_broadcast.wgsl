enable subgroups;

// As linear_dx.wgsl, for devices with subgroups of eight invocations or more: each invocation loads a row of dz of its own,
// and hands it to the others, instead of all of them loading every row. The sums have the same order, and so the same
// bits.
//
// da = dz · W (+ above if RESIDUAL),  dx = da ∘ slope
//
// `above` is the gradient of the layer's output, which a residual connection hands down; KEEP writes da, for the layer
// below to do so in turn.
//
// dz: (R, room, outputs), W: (R, inputs, outputs), slope and dx: (R, room, inputs), all in vec4s along the last axis.
//
// One workgroup makes ROWS rows of dx and LANES vec4s of each, its lanes side by side along the inputs. One invocation
// holds ROWS vec4s in registers and reads four rows of W for them. y: its rows, z: its replica.

override LANES: u32 = 32u;
const ROWS: u32 = 16u;
const GROUPS: u32 = ROWS / 8u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) lane: vec3<u32>,
    @builtin(subgroup_invocation_id) id: u32,
) {
    let first_row = group.y * ROWS;
    let column = group.x * LANES + lane.x;
    let r = group.z;

    // Rows and columns past the end repeat the last one; their results are not stored.
    var row_at: array<u32, GROUPS>;
    for (var g = 0u; g < GROUPS; g++) {
        let row = first_row + 8u * g + id % 8u;
        row_at[g] = r * args.dz_stride + min(row, pass_.rows - 1u) * args.outputs;
    }
    let w_at = r * args.params_stride + args.weight + 4u * min(column, args.inputs - 1u) * args.outputs;

    // Drivers unroll a loop that counts up to the length of the array that it reads.
    var sum: array<array<vec4<f32>, 8>, GROUPS>;
    for (var k = 0u; k < args.outputs; k++) {
        // Four rows of W, transposed: one vec4 along the inputs for each of four outputs.
        let w = transpose(mat4x4<f32>(
            load(params[w_at + k]),
            load(params[w_at + args.outputs + k]),
            load(params[w_at + 2u * args.outputs + k]),
            load(params[w_at + 3u * args.outputs + k]),
        ));
        for (var g = 0u; g < GROUPS; g++) {
            let own = load(dz[row_at[g] + k]);
            sum[g][0] = accumulate(sum[g][0], subgroupBroadcast(own, 0u), w);
            sum[g][1] = accumulate(sum[g][1], subgroupBroadcast(own, 1u), w);
            sum[g][2] = accumulate(sum[g][2], subgroupBroadcast(own, 2u), w);
            sum[g][3] = accumulate(sum[g][3], subgroupBroadcast(own, 3u), w);
            sum[g][4] = accumulate(sum[g][4], subgroupBroadcast(own, 4u), w);
            sum[g][5] = accumulate(sum[g][5], subgroupBroadcast(own, 5u), w);
            sum[g][6] = accumulate(sum[g][6], subgroupBroadcast(own, 6u), w);
            sum[g][7] = accumulate(sum[g][7], subgroupBroadcast(own, 7u), w);
        }
    }

    if column < args.inputs {
        for (var g = 0u; g < GROUPS; g++) {
            for (var i = 0u; i < 8u; i++) {
                let row = first_row + 8u * g + i;
                if row < pass_.rows {
                    finish(r, row, column, sum[g][i]);
                }
            }
        }
    }
}

fn accumulate(sum: vec4<f32>, d: vec4<f32>, w: mat4x4<f32>) -> vec4<f32> {
    return fma(vec4(d.w), w[3], fma(vec4(d.z), w[2], fma(vec4(d.y), w[1], fma(vec4(d.x), w[0], sum))));
}
