enable subgroups;

// As linear.wgsl, for devices with subgroups of eight invocations or more: each invocation loads a row of a of its own, and
// hands it to the others, instead of all of them loading every row.
//
// On Mesa's software driver every load costs: 128x3072x512 takes 10.1 ms instead of 24.5, and 512x512x512 5.4 ms with 64
// rows and one column, 6.0 with 32 and two, 9.2 with 8 and two: 50, 45 and 29 GFLOP/s. The sums have the same order, and so
// the same bits.
//
// z = a · Wᵀ + b,  y = dropout(activation(z)) (+ a if RESIDUAL),  slope = activation'(z), 0 where y is dropped
//
// a: (R, room, inputs), W: (R, inputs, outputs), y and slope: (R, room, outputs), all in vec4s along the last axis.
//
// One workgroup makes ROWS rows of y and LANES * COLUMNS vec4s of each, its lanes side by side along the outputs, so
// that their loads of W are neighbours. One invocation holds ROWS x COLUMNS
// vec4s in registers. y: its rows, z: its replica.

override LANES: u32 = 32u;
const ROWS: u32 = 16u;
const COLUMNS: u32 = 2u;
const GROUPS: u32 = ROWS / 8u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) lane: vec3<u32>,
    @builtin(subgroup_invocation_id) id: u32,
) {
    let first_row = group.y * ROWS;
    let first_column = group.x * LANES * COLUMNS + lane.x;
    let r = group.z;

    // Rows and columns past the end repeat the last one; their results are not stored.
    var row_at: array<u32, GROUPS>;
    for (var g = 0u; g < GROUPS; g++) {
        let row = first_row + 8u * g + id % 8u;
        row_at[g] = r * args.a_stride + min(row, pass_.rows - 1u) * args.inputs;
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = r * args.params_stride + args.weight + min(first_column + j * LANES, args.outputs - 1u);
    }

    // Drivers unroll a loop that counts up to the length of the array that it reads.
    var z: array<array<array<vec4<f32>, COLUMNS>, 8>, GROUPS>;
    for (var k = 0u; k < args.inputs; k++) {
        var w0: array<vec4<f32>, COLUMNS>;
        var w1: array<vec4<f32>, COLUMNS>;
        var w2: array<vec4<f32>, COLUMNS>;
        var w3: array<vec4<f32>, COLUMNS>;
        let k_at = 4u * k * args.outputs;
        for (var j = 0u; j < COLUMNS; j++) {
            w0[j] = load(params[column[j] + k_at]);
            w1[j] = load(params[column[j] + k_at + args.outputs]);
            w2[j] = load(params[column[j] + k_at + 2u * args.outputs]);
            w3[j] = load(params[column[j] + k_at + 3u * args.outputs]);
        }
        for (var g = 0u; g < GROUPS; g++) {
            let own = load(a[row_at[g] + k]);
            z[g][0] = accumulate(z[g][0], subgroupBroadcast(own, 0u), w0, w1, w2, w3);
            z[g][1] = accumulate(z[g][1], subgroupBroadcast(own, 1u), w0, w1, w2, w3);
            z[g][2] = accumulate(z[g][2], subgroupBroadcast(own, 2u), w0, w1, w2, w3);
            z[g][3] = accumulate(z[g][3], subgroupBroadcast(own, 3u), w0, w1, w2, w3);
            z[g][4] = accumulate(z[g][4], subgroupBroadcast(own, 4u), w0, w1, w2, w3);
            z[g][5] = accumulate(z[g][5], subgroupBroadcast(own, 5u), w0, w1, w2, w3);
            z[g][6] = accumulate(z[g][6], subgroupBroadcast(own, 6u), w0, w1, w2, w3);
            z[g][7] = accumulate(z[g][7], subgroupBroadcast(own, 7u), w0, w1, w2, w3);
        }
    }

    for (var j = 0u; j < COLUMNS; j++) {
        let output = first_column + j * LANES;
        if output < args.outputs {
            let bias = load(params[r * args.params_stride + args.bias + output]);
            for (var g = 0u; g < GROUPS; g++) {
                for (var i = 0u; i < 8u; i++) {
                    let row = first_row + 8u * g + i;
                    if row < pass_.rows {
                        finish(r, row, output, z[g][i][j] + bias);
                    }
                }
            }
        }
    }
}

fn accumulate(
    z: array<vec4<f32>, COLUMNS>,
    x: vec4<f32>,
    w0: array<vec4<f32>, COLUMNS>,
    w1: array<vec4<f32>, COLUMNS>,
    w2: array<vec4<f32>, COLUMNS>,
    w3: array<vec4<f32>, COLUMNS>,
) -> array<vec4<f32>, COLUMNS> {
    var sum = z;
    for (var j = 0u; j < COLUMNS; j++) {
        sum[j] = fma(vec4(x.w), w3[j], fma(vec4(x.z), w2[j], fma(vec4(x.y), w1[j], fma(vec4(x.x), w0[j], sum[j]))));
    }
    return sum;
}
