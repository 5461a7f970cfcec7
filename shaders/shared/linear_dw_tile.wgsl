// The workgroups of linear_dw.wgsl, where each makes whole sums, and of linear_dw_split.wgsl, where one of PARTS.

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) lane: vec3<u32>,
) {
    // Rows of tiles beyond what y may hold lie side by side along x.
    let across = (args.outputs + LANES * COLUMNS - 1u) / (LANES * COLUMNS);
    let first_row = (group.x / across * groups.y + group.y) * ROWS;
    let first_column = group.x % across * LANES * COLUMNS + lane.x;
    let r = group.z / PARTS;
    let part = group.z % PARTS;

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
    let samples = (pass_.rows + PARTS - 1u) / PARTS;
    let end = min((part + 1u) * samples, pass_.rows);
    for (var sample = part * samples; sample < end; sample++) {
        var d: array<vec4<f32>, COLUMNS>;
        for (var j = 0u; j < COLUMNS; j++) {
            d[j] = load(dz[column[j] + sample * args.outputs]);
            db[j] += d[j];
        }
        for (var i = 0u; i < ROWS; i++) {
            sums[i] = accumulate(sums[i], load(a[row[i] + sample * args.inputs]), d);
        }
    }

    end_tile(part, r, first_row, first_column, &sums, &db);
}
