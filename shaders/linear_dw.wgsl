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
// replica. The sums are made in shared/linear_dw_tile.wgsl.

const PARTS: u32 = 1u; // the whole sum

fn end_tile(
    part: u32,
    r: u32,
    first_row: u32,
    first_column: u32,
    sums: ptr<function, array<Sums, ROWS>>,
    db: ptr<function, array<vec4<f32>, COLUMNS>>,
) {
    put_tile(r, first_row, first_column, sums, db);
}
