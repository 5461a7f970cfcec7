// As linear_dx.wgsl, for devices whose subgroups multiply matrices; see linear_cooperative.wgsl.
//
// da = dz · W (+ above if RESIDUAL),  dx = da ∘ slope
//
// `above` is the gradient of the layer's output, which a residual connection hands down; KEEP writes da, for the layer
// below to do so in turn.
//
// dz: (R, room, outputs), W: (R, inputs, outputs), slope and dx: (R, room, inputs), all in vec4s along the last axis.
//
// One workgroup makes ROWS rows of dx and COLUMNS vec4s of each. y: its rows, z: its replica.

const ROWS: u32 = 32u;
const COLUMNS: u32 = 8u;
const HEIGHT: u32 = ROWS;
const DZ_STRIDE: u32 = DEPTH + 8u; // halves from row to row of a stage: 8 more, so that they start in different banks
const W_STRIDE: u32 = DEPTH + 8u;

var<workgroup> slices: array<f32, SUBGROUPS * SIDE * SIDE>; // (SLICES, DOWN, ACROSS, SIDE, SIDE)
var<workgroup> dz_stage: array<f16, ROWS * DZ_STRIDE>; // (ROWS, DEPTH)
var<workgroup> w_stage: array<f16, 4u * COLUMNS * W_STRIDE>; // (COLUMNS, DEPTH)

@compute @workgroup_size(SUBGROUPS * LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    let first_row = group.y * ROWS;
    let first_column = group.x * COLUMNS;
    let r = group.z;
    // Read once: a driver may read them again after every barrier.
    let inputs = args.inputs;
    let outputs = args.outputs;

    // What this invocation stages: up to four vec4s of each factor, of different rows the same columns. Rows past the
    // end repeat the last one; their results are not stored. Terms past the end are 0.
    let each = vec4(0u, 1u, 2u, 3u) * SUBGROUPS * LANES + index;
    let rows = each / (DEPTH / 4u);
    let column = index % (DEPTH / 4u);
    let stages_dz = rows < vec4(ROWS);
    let dz_places = rows * DZ_STRIDE + 4u * column;
    let dz_at = r * args.dz_stride + min(first_row + rows, vec4(pass_.rows - 1u)) * outputs + column;
    let stages_w = rows < vec4(4u * COLUMNS);
    let w_places = rows * W_STRIDE + 4u * column;
    let w_rows = min(4u * first_column + rows, vec4(4u * inputs - 1u));
    let w_at = r * args.params_stride + args.weight + w_rows * outputs + column;

    // Where subgroups are smaller than LANES there are more, which do what another does: WGSL lets none stand aside.
    let own = subgroup % SUBGROUPS;
    let slice = own / (DOWN * ACROSS);
    let down = own / ACROSS % DOWN * 2u * SIDE;
    let across = own % ACROSS * 2u * SIDE;
    var sums00: coop_mat8x8<f32, C>;
    var sums01: coop_mat8x8<f32, C>;
    var sums10: coop_mat8x8<f32, C>;
    var sums11: coop_mat8x8<f32, C>;
    var next_dz = four_of_dz(dz_at, stages_dz & vec4(column < outputs));
    var next_w = four_of_w(w_at, stages_w & vec4(column < outputs));
    for (var first = 0u; first < 4u * outputs; first += DEPTH) {
        put_dz(dz_places, stages_dz, next_dz);
        put_w(w_places, stages_w, next_w);
        workgroupBarrier();
        // These are on their way while those are multiplied.
        let next = first + DEPTH;
        next_dz = four_of_dz(dz_at + next / 4u, stages_dz & vec4(next / 4u + column < outputs));
        next_w = four_of_w(w_at + next / 4u, stages_w & vec4(next / 4u + column < outputs));
        for (var i = 0u; i < DEPTH / SLICES; i += SIDE) {
            let term = slice * DEPTH / SLICES + i;
            let dz_place = down * DZ_STRIDE + term;
            let w_place = across * W_STRIDE + term;
            let dz0 = coopLoadT<coop_mat8x8<f16, A>>(&dz_stage[dz_place], DZ_STRIDE);
            let dz1 = coopLoadT<coop_mat8x8<f16, A>>(&dz_stage[dz_place + SIDE * DZ_STRIDE], DZ_STRIDE);
            let w0 = coopLoad<coop_mat8x8<f16, B>>(&w_stage[w_place], W_STRIDE);
            let w1 = coopLoad<coop_mat8x8<f16, B>>(&w_stage[w_place + SIDE * W_STRIDE], W_STRIDE);
            sums00 = coopMultiplyAdd(dz0, w0, sums00);
            sums01 = coopMultiplyAdd(dz0, w1, sums01);
            sums10 = coopMultiplyAdd(dz1, w0, sums10);
            sums11 = coopMultiplyAdd(dz1, w1, sums11);
        }
        workgroupBarrier();
    }

    // dx's tile leaves the fragments by way of workgroup memory, a quarter at a time.
    for (var quarter = 0u; quarter < 4u; quarter++) {
        switch quarter {
            case 0u: { coopStoreT(sums00, &slices[own * SIDE * SIDE], SIDE); }
            case 1u: { coopStoreT(sums01, &slices[own * SIDE * SIDE], SIDE); }
            case 2u: { coopStoreT(sums10, &slices[own * SIDE * SIDE], SIDE); }
            default: { coopStoreT(sums11, &slices[own * SIDE * SIDE], SIDE); }
        }
        workgroupBarrier();
        for (var i = index; i < QUARTER; i += SUBGROUPS * LANES) {
            let place = in_tile(quarter, i);
            let row = first_row + place.x;
            let input = first_column + place.y;
            if row < pass_.rows && input < inputs {
                finish(r, row, input, sum(i));
            }
        }
        workgroupBarrier();
    }
}
