// The workgroups of linear_dx.wgsl, where each makes whole sums, and of linear_dx_split.wgsl, where one of PARTS.

override LANES: u32 = 32u;
override SLICES: u32 = 1u;
const ROWS: u32 = 16u;

// What all slices but the first summed up.
var<workgroup> slices: array<vec4<f32>, LANES * ROWS * (SLICES - 1u) + 1u>;

@compute @workgroup_size(LANES, SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let first_row = group.y * ROWS;
    let column = group.x * LANES + lane.x;
    let r = group.z / PARTS;
    let part = group.z % PARTS;

    // Rows and columns past the end repeat the last one; their results are not stored.
    var row_at: array<u32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        row_at[i] = r * args.dz_stride + min(first_row + i, pass_.rows - 1u) * args.outputs;
    }
    let w_at = r * args.params_stride + args.weight + 4u * min(column, args.inputs - 1u) * args.outputs;

    var sum: array<vec4<f32>, ROWS>;
    // Every slice of every part takes as many terms of the sum.
    let slice = (args.outputs + PARTS * SLICES - 1u) / (PARTS * SLICES);
    let start = (part * SLICES + lane.y) * slice;
    let end = min(start + slice, args.outputs);
    for (var k = start; k < end; k++) {
        // Four rows of W, transposed: one vec4 along the inputs for each of four outputs.
        let w = transpose(mat4x4<f32>(
            load(params[w_at + k]),
            load(params[w_at + args.outputs + k]),
            load(params[w_at + 2u * args.outputs + k]),
            load(params[w_at + 3u * args.outputs + k]),
        ));
        for (var i = 0u; i < ROWS; i++) {
            let d = load(dz[row_at[i] + k]);
            sum[i] = fma(vec4(d.w), w[3], fma(vec4(d.z), w[2], fma(vec4(d.y), w[1], fma(vec4(d.x), w[0], sum[i]))));
        }
    }

    if SLICES > 1u {
        if lane.y > 0u {
            for (var i = 0u; i < ROWS; i++) {
                slices[((lane.y - 1u) * ROWS + i) * LANES + lane.x] = sum[i];
            }
        }
        workgroupBarrier();
        if lane.y > 0u {
            return;
        }
        for (var s = 0u; s < SLICES - 1u; s++) {
            for (var i = 0u; i < ROWS; i++) {
                sum[i] += slices[(s * ROWS + i) * LANES + lane.x];
            }
        }
    }

    if column < args.inputs {
        for (var i = 0u; i < ROWS; i++) {
            let row = first_row + i;
            if row < pass_.rows {
                put(part, r, row, column, sum[i]);
            }
        }
    }
}
