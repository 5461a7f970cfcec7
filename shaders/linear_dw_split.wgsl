// As linear_dw.wgsl, but only a part of every sum; see linear_split.wgsl. The second pass is linear_dw_sum.wgsl.
//
// parts[p] = aᵀ · dz, and in a last row Σ_rows dz, over the p-th part of the samples
//
// a: (R, room, inputs), dz: (R, room, outputs), parts: (PARTS, R, inputs + 1, outputs), all in vec4s along the last axis.
//
// The tile is that of linear_dw.wgsl, in shared/linear_dw_tile.wgsl. y: its rows, z: its replica and part.

@group(0) @binding(3) var<storage, read_write> parts: array<vec4<f32>>; // (PARTS, R, inputs + 1, outputs)

override PARTS: u32 = 2u;

fn end_tile(
    part: u32,
    r: u32,
    first_row: u32,
    first_column: u32,
    sums: ptr<function, array<Sums, ROWS>>,
    db: ptr<function, array<vec4<f32>, COLUMNS>>,
) {
    let inputs = args.inputs;
    let outputs = args.outputs;
    let first = (part * pass_.replicas + r) * (4u * inputs + 1u) * outputs;
    for (var j = 0u; j < COLUMNS; j++) {
        let output = first_column + j * LANES;
        if first_row == 0u && output < outputs {
            parts[first + 4u * inputs * outputs + output] = (*db)[j];
        }
        for (var i = 0u; i < ROWS; i++) {
            let input = first_row + i;
            if input < inputs && output < outputs {
                let at = first + 4u * input * outputs + output;
                parts[at] = (*sums)[i].dw0[j];
                parts[at + outputs] = (*sums)[i].dw1[j];
                parts[at + 2u * outputs] = (*sums)[i].dw2[j];
                parts[at + 3u * outputs] = (*sums)[i].dw3[j];
            }
        }
    }
}
