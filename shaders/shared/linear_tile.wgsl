// The workgroups of linear.wgsl, where each makes whole sums, and of linear_split.wgsl, where one of PARTS.

override LANES: u32 = 32u;
override SLICES: u32 = 1u;
const ROWS: u32 = 16u;
const COLUMNS: u32 = 2u;

// What all slices but the first summed up.
var<workgroup> slices: array<vec4<f32>, LANES * ROWS * COLUMNS * (SLICES - 1u) + 1u>;

@compute @workgroup_size(LANES, SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
    let first_row = group.y * ROWS;
    let first_column = group.x * LANES * COLUMNS + lane.x;
    let r = group.z / PARTS;
    let part = group.z % PARTS;

    // Rows and columns past the end repeat the last one; their results are not stored.
    var row_at: array<u32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        row_at[i] = r * args.a_stride + min(first_row + i, pass_.rows - 1u) * args.inputs;
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = r * args.params_stride + args.weight + min(first_column + j * LANES, args.outputs - 1u);
    }

    var z: array<array<vec4<f32>, COLUMNS>, ROWS>;
    // Every slice of every part takes as many terms of the sum.
    let slice = (args.inputs + PARTS * SLICES - 1u) / (PARTS * SLICES);
    let start = (part * SLICES + lane.y) * slice;
    let end = min(start + slice, args.inputs);
    for (var k = start; k < end; k++) {
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
        for (var i = 0u; i < ROWS; i++) {
            let x = load(a[row_at[i] + k]);
            for (var j = 0u; j < COLUMNS; j++) {
                z[i][j] = fma(vec4(x.w), w3[j], fma(vec4(x.z), w2[j], fma(vec4(x.y), w1[j], fma(vec4(x.x), w0[j], z[i][j]))));
            }
        }
    }

    if SLICES > 1u {
        if lane.y > 0u {
            for (var i = 0u; i < ROWS; i++) {
                for (var j = 0u; j < COLUMNS; j++) {
                    slices[(((lane.y - 1u) * ROWS + i) * COLUMNS + j) * LANES + lane.x] = z[i][j];
                }
            }
        }
        workgroupBarrier();
        if lane.y > 0u {
            return;
        }
        for (var s = 0u; s < SLICES - 1u; s++) {
            for (var i = 0u; i < ROWS; i++) {
                for (var j = 0u; j < COLUMNS; j++) {
                    z[i][j] += slices[((s * ROWS + i) * COLUMNS + j) * LANES + lane.x];
                }
            }
        }
    }

    for (var j = 0u; j < COLUMNS; j++) {
        let output = first_column + j * LANES;
        if output < args.outputs {
            let bias = bias_of(r, output);
            for (var i = 0u; i < ROWS; i++) {
                let row = first_row + i;
                if row < pass_.rows {
                    put(part, r, row, output, z[i][j], bias);
                }
            }
        }
    }
}
