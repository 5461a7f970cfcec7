// As linear_dw.wgsl, for devices whose subgroups multiply matrices; see linear_cooperative.wgsl.
//
// dW = factor · aᵀ · dz,  db = factor · Σ_rows dz
//
// Both are added to what is there from the step's earlier passes; with an update, they are not written, but used up where
// they are made.
//
// a: (R, room, inputs), dz: (R, room, outputs), params: (R, P), all in vec4s along the last axis.
//
// One workgroup makes 4 * ROWS rows of dW (inputs) and COLUMNS vec4s of each (outputs). The workgroups of the first rows sum
// db as well, since they read all of dz: an invocation stages the same vec4 of every row, and so has its sum in registers.
// y: its rows, z: its replica.

const ROWS: u32 = 8u;
const COLUMNS: u32 = 8u;
const HEIGHT: u32 = 4u * ROWS;
const A_STRIDE: u32 = 4u * ROWS + 8u; // halves from row to row of a stage: 8 more, so that they start in different banks
const DZ_STRIDE: u32 = 4u * COLUMNS + 8u;

var<workgroup> a_stage: array<f16, DEPTH * A_STRIDE>; // (DEPTH, ROWS)
var<workgroup> dz_stage: array<f16, DEPTH * DZ_STRIDE>; // (DEPTH, COLUMNS)
// Fragments, (SLICES, DOWN, ACROSS, SIDE, SIDE); then the sums of db, a vec4 of each invocation.
var<workgroup> slices: array<f32, SUBGROUPS * max(SIDE * SIDE, 4u * LANES)>;

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
    let terms = pass_.rows;
    let inputs = args.inputs;
    let outputs = args.outputs;

    // What this invocation stages: up to four vec4s of each factor, of different samples the same columns. Columns
    // past the end repeat the last one; their results are not stored. Samples past the end are 0.
    let each = vec4(0u, 1u, 2u, 3u) * SUBGROUPS * LANES + index;
    let a_rows = each / ROWS;
    let a_column = index % ROWS;
    let stages_a = a_rows < vec4(DEPTH);
    let a_places = a_rows * A_STRIDE + 4u * a_column;
    let a_at = r * args.a_stride + a_rows * inputs + min(first_row + a_column, inputs - 1u);
    let dz_rows = each / COLUMNS;
    let dz_column = index % COLUMNS;
    let stages_dz = dz_rows < vec4(DEPTH);
    let dz_places = dz_rows * DZ_STRIDE + 4u * dz_column;
    let dz_at = r * args.dz_stride + dz_rows * outputs + min(first_column + dz_column, outputs - 1u);

    // Where subgroups are smaller than LANES there are more, which do what another does: WGSL lets none stand aside.
    let own = subgroup % SUBGROUPS;
    let slice = own / (DOWN * ACROSS);
    let down = own / ACROSS % DOWN * 2u * SIDE;
    let across = own % ACROSS * 2u * SIDE;
    var sums00: coop_mat8x8<f32, C>;
    var sums01: coop_mat8x8<f32, C>;
    var sums10: coop_mat8x8<f32, C>;
    var sums11: coop_mat8x8<f32, C>;
    var db = vec4<f32>();
    var next_a = four_of_a(a_at, stages_a & (a_rows < vec4(terms)));
    var next_dz = four_of_dz(dz_at, stages_dz & (dz_rows < vec4(terms)));
    for (var first = 0u; first < terms; first += DEPTH) {
        put_a(a_places, stages_a, next_a);
        put_dz(dz_places, stages_dz, next_dz);
        db += load(next_dz[0]) + load(next_dz[1]) + load(next_dz[2]) + load(next_dz[3]);
        workgroupBarrier();
        // These are on their way while those are multiplied.
        let next = first + DEPTH;
        next_a = four_of_a(a_at + next * inputs, stages_a & (next + a_rows < vec4(terms)));
        next_dz = four_of_dz(dz_at + next * outputs, stages_dz & (next + dz_rows < vec4(terms)));
        for (var i = 0u; i < DEPTH / SLICES; i += SIDE) {
            let term = slice * DEPTH / SLICES + i;
            let a_place = term * A_STRIDE + down;
            let dz_place = term * DZ_STRIDE + across;
            let a0 = coopLoad<coop_mat8x8<f16, A>>(&a_stage[a_place], A_STRIDE);
            let a1 = coopLoad<coop_mat8x8<f16, A>>(&a_stage[a_place + SIDE], A_STRIDE);
            let dz0 = coopLoadT<coop_mat8x8<f16, B>>(&dz_stage[dz_place], DZ_STRIDE);
            let dz1 = coopLoadT<coop_mat8x8<f16, B>>(&dz_stage[dz_place + SIDE], DZ_STRIDE);
            sums00 = coopMultiplyAdd(a0, dz0, sums00);
            sums01 = coopMultiplyAdd(a0, dz1, sums01);
            sums10 = coopMultiplyAdd(a1, dz0, sums10);
            sums11 = coopMultiplyAdd(a1, dz1, sums11);
        }
        workgroupBarrier();
    }

    let factor = begin(r);
    // Read once, since drivers read again what the stores below might have changed.
    let c = coefficients[ring_at(r)];

    // dW's tile leaves the fragments by way of workgroup memory, a quarter at a time.
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
            let input = 4u * first_row + place.x;
            let output = first_column + place.y;
            if input < 4u * inputs && output < outputs {
                put(c, factor * sum(i), r * args.params_stride + args.weight + input * outputs + output);
            }
        }
        workgroupBarrier();
    }

    if group.y > 0u {
        return;
    }
    for (var c = 0u; c < 4u; c++) {
        slices[4u * index + c] = db[c];
    }
    workgroupBarrier();
    let output = first_column + index;
    if index < COLUMNS && output < outputs {
        db = vec4<f32>();
        for (var i = index; i < SUBGROUPS * LANES; i += COLUMNS) {
            db += slice_at(i);
        }
        put(of_bias(c), factor * db, r * args.params_stride + args.bias + output);
    }
}
