// As linear.wgsl, for devices whose subgroups multiply matrices: fragments of SIDE x SIDE halves, summed up in f32.
//
// z = a · Wᵀ + b,  y = dropout(activation(z)) (+ a if RESIDUAL),  slope = activation'(z), 0 where y is dropped
//
// a: (R, room, inputs), W: (R, inputs, outputs), y and slope: (R, room, outputs), all in vec4s along the last axis.
//
// On an H100 2048x3072x512 takes 57 µs, and 512x3072x512 33; their weight gradients take 64 and 25. Not kept, since they are
// slower in all: two stages in turn with one barrier each, 54 and 27, but 91 and 32; eight subgroups to a tile and 64 terms a
// stage, 65 and 30, and 88 and 31.
//
// Fragments have names, since drivers may keep arrays of them in memory: on an H100 the probe of the peak ran at 29 TFLOP/s with
// an array of sums, and runs at 432 without.
//
// One workgroup makes ROWS rows of y and COLUMNS vec4s of each. It has four subgroups, of which each makes two by two fragments
// of the tile; where the tile has fewer, they cut the sum into slices. All invocations stage DEPTH terms of both factors in
// workgroup memory while they multiply those before, with zeros past the ends, so that shapes need not be multiples of
// anything. y: its rows, z: its replica.

const ROWS: u32 = 32u;
const COLUMNS: u32 = 8u;
const HEIGHT: u32 = ROWS;
const A_STRIDE: u32 = DEPTH + 8u; // halves from row to row of a stage: 8 more, so that they start in different banks
const W_STRIDE: u32 = 4u * COLUMNS + 8u;

var<workgroup> a_stage: array<f16, ROWS * A_STRIDE>; // (ROWS, DEPTH)
var<workgroup> w_stage: array<f16, DEPTH * W_STRIDE>; // (DEPTH, COLUMNS)
var<workgroup> slices: array<f32, SUBGROUPS * SIDE * SIDE>; // (SLICES, DOWN, ACROSS, SIDE, SIDE)

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
    let terms = 4u * inputs;
    let outputs = args.outputs;

    // What this invocation stages: up to four vec4s of each factor, of different rows the same columns. Rows and
    // columns past the end repeat the last one; their results are not stored. Terms past the end are 0.
    let each = vec4(0u, 1u, 2u, 3u) * SUBGROUPS * LANES + index;
    let a_rows = each / (DEPTH / 4u);
    let a_column = index % (DEPTH / 4u);
    let stages_a = a_rows < vec4(ROWS);
    let a_places = a_rows * A_STRIDE + 4u * a_column;
    let a_at = r * args.a_stride + min(first_row + a_rows, vec4(pass_.rows - 1u)) * inputs + a_column;
    let w_rows = each / COLUMNS;
    let w_column = index % COLUMNS;
    let stages_w = w_rows < vec4(DEPTH);
    let w_places = w_rows * W_STRIDE + 4u * w_column;
    let w_at = r * args.params_stride + args.weight + w_rows * outputs + min(first_column + w_column, outputs - 1u);

    // Where subgroups are smaller than LANES there are more, which do what another does: WGSL lets none stand aside.
    let own = subgroup % SUBGROUPS;
    let slice = own / (DOWN * ACROSS);
    let down = own / ACROSS % DOWN * 2u * SIDE;
    let across = own % ACROSS * 2u * SIDE;
    var sums00: coop_mat8x8<f32, C>;
    var sums01: coop_mat8x8<f32, C>;
    var sums10: coop_mat8x8<f32, C>;
    var sums11: coop_mat8x8<f32, C>;
    var next_a = four_of_a(a_at, stages_a & vec4(a_column < inputs));
    var next_w = four_of_w(w_at, stages_w & (w_rows < vec4(terms)));
    for (var first = 0u; first < terms; first += DEPTH) {
        put_a(a_places, stages_a, next_a);
        put_w(w_places, stages_w, next_w);
        workgroupBarrier();
        // These are on their way while those are multiplied.
        let next = first + DEPTH;
        next_a = four_of_a(a_at + next / 4u, stages_a & vec4(next / 4u + a_column < inputs));
        next_w = four_of_w(w_at + next * outputs, stages_w & (next + w_rows < vec4(terms)));
        for (var i = 0u; i < DEPTH / SLICES; i += SIDE) {
            let term = slice * DEPTH / SLICES + i;
            let a_place = down * A_STRIDE + term;
            let w_place = term * W_STRIDE + across;
            let a0 = coopLoadT<coop_mat8x8<f16, A>>(&a_stage[a_place], A_STRIDE);
            let a1 = coopLoadT<coop_mat8x8<f16, A>>(&a_stage[a_place + SIDE * A_STRIDE], A_STRIDE);
            let w0 = coopLoadT<coop_mat8x8<f16, B>>(&w_stage[w_place], W_STRIDE);
            let w1 = coopLoadT<coop_mat8x8<f16, B>>(&w_stage[w_place + SIDE], W_STRIDE);
            sums00 = coopMultiplyAdd(a0, w0, sums00);
            sums01 = coopMultiplyAdd(a0, w1, sums01);
            sums10 = coopMultiplyAdd(a1, w0, sums10);
            sums11 = coopMultiplyAdd(a1, w1, sums11);
        }
        workgroupBarrier();
    }

    // y's tile leaves the fragments by way of workgroup memory, a quarter at a time.
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
            let output = first_column + place.y;
            if row < pass_.rows && output < outputs {
                finish(r, row, output, sum(i) + load(params[r * args.params_stride + args.bias + output]));
            }
        }
        workgroupBarrier();
    }
}
