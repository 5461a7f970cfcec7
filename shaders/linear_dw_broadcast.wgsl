enable subgroups;

// As linear_dw.wgsl, for devices with subgroups of eight invocations or more: of eight samples, each invocation loads one of
// a, and hands it to the others, instead of all of them loading every sample. The sums have the same order, and so the
// same bits. On Mesa's software driver, 3072x128x512: 12 ms instead of 22, and 15 with 4 for ROWS.
//
// dW = factor · aᵀ · dz,  db = factor · Σ_rows dz
//
// Both are added to what is there from the step's earlier passes; with an update, they are not written, but used up where
// they are made.
//
// a: (R, room, inputs), dz: (R, room, outputs), params: (R, P), all in vec4s along the last axis.
//
// One workgroup makes 4 * ROWS rows of dW (inputs) and LANES * COLUMNS vec4s of each (outputs), its lanes side by side
// along the outputs. One invocation holds 4 * ROWS x COLUMNS vec4s in registers and reads ROWS vec4s of a and COLUMNS
// of dz a sample. The workgroups of the first rows sum db as well, since they read all of dz. y: its rows, z: its
// replica.

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
    var row: array<u32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        row[i] = r * args.a_stride + min(first_row + i, args.inputs - 1u);
    }
    var column: array<u32, COLUMNS>;
    for (var j = 0u; j < COLUMNS; j++) {
        column[j] = r * args.dz_stride + min(first_column + j * LANES, args.outputs - 1u);
    }

    var sums: array<Sums, ROWS>;
    var db: array<vec4<f32>, COLUMNS>;
    // Samples past the end repeat the last one of a, and have a dz of 0.
    for (var sample = 0u; sample < pass_.rows; sample += 8u) {
        var d: array<array<vec4<f32>, COLUMNS>, 8>;
        for (var s = 0u; s < 8u; s++) {
            let is_sample = sample + s < pass_.rows;
            let at = min(sample + s, pass_.rows - 1u) * args.outputs;
            for (var j = 0u; j < COLUMNS; j++) {
                d[s][j] = select(vec4<f32>(), load(dz[column[j] + at]), is_sample);
                db[j] += d[s][j];
            }
        }
        let own_sample = min(sample + id % 8u, pass_.rows - 1u);
        for (var i = 0u; i < ROWS; i++) {
            let own = load(a[row[i] + own_sample * args.inputs]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 0u), d[0]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 1u), d[1]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 2u), d[2]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 3u), d[3]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 4u), d[4]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 5u), d[5]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 6u), d[6]);
            sums[i] = accumulate(sums[i], subgroupBroadcast(own, 7u), d[7]);
        }
    }

    put_tile(r, first_row, first_column, &sums, &db);
}
