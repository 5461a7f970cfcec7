// As linear_dx.wgsl, for devices whose workgroup memory is faster than their other caches: all invocations stage DEPTH terms of
// both factors there while they add up those before, so that each value is read once for a whole tile.
//
// On an H100 2048x512x256 takes 29 µs with tiles of 64 x 64, instead of 63 at best with dz and W straight from storage, and of 34
// with rows that are transposed as they are staged.
//
// da = dz · W (+ above if RESIDUAL),  dx = da ∘ slope
//
// `above` is the gradient of the layer's output, which a residual connection hands down; KEEP writes da, for the layer
// below to do so in turn.
//
// dz: (R, room, outputs), W: (R, inputs, outputs), slope and dx: (R, room, inputs), all in vec4s along the last axis.
//
// One workgroup makes ROWS rows of dx and COLUMNS vec4s of each. It has LANES invocations for each slice of the sum, which take
// every SLICES-th term; an invocation holds eight rows and two vec4s of each in registers. y: its rows, z: its replica.

const ROWS: u32 = 64u;
const COLUMNS: u32 = 16u;
const HEIGHT: u32 = ROWS / 4u;
const W_AT: u32 = ROWS * BLOCKS; // in a stage: dz, (ROWS, BLOCKS), then W, (4 COLUMNS, BLOCKS)

@compute @workgroup_size(LANES * SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first_row = group.y * ROWS;
    let first_column = group.x * COLUMNS;
    let r = group.z;
    // Read once: a driver may read them again after every barrier.
    let inputs = args.inputs;
    let outputs = args.outputs;
    let terms = 4u * outputs;

    // What this invocation stages: two vec4s of rows of dz, or one, and two of W. Rows past the end repeat the last one;
    // their results are not stored. Terms past the end are 0.
    let row = index / BLOCKS + vec2(0u, LANES * SLICES / BLOCKS);
    let term = index % BLOCKS;
    let dz_at = r * args.dz_stride + min(first_row + row, vec2(pass_.rows - 1u)) * outputs + term;
    let has_two = LANES * SLICES < W_AT;
    let w_row = min(4u * first_column + row, vec2(4u * inputs - 1u));
    let w_at = r * args.params_stride + args.weight + w_row * outputs + term;
    let staged = vec2(place(row.x, term), place(row.y, term));

    let slice = index / LANES;
    let corner = corner_of(index % LANES);
    // Four rows and a vec4 of each, by the first and the second half of the tile's rows, and of its columns.
    var sums00 = mat4x4<f32>();
    var sums01 = mat4x4<f32>();
    var sums10 = mat4x4<f32>();
    var sums11 = mat4x4<f32>();
    var dz0 = of_dz(dz_at.x, term < outputs);
    var dz1 = of_dz(dz_at.y, has_two && term < outputs);
    var w0 = of_w(w_at.x, term < outputs);
    var w1 = of_w(w_at.y, term < outputs);
    for (var first = 0u; first < terms; first += DEPTH) {
        let stage = first / DEPTH % 2u * STAGE;
        memory[stage + staged.x] = dz0;
        if has_two {
            memory[stage + staged.y] = dz1;
        }
        memory[stage + W_AT + staged.x] = w0;
        memory[stage + W_AT + staged.y] = w1;
        workgroupBarrier();
        // These are on their way while those are added up.
        let next = (first + DEPTH) / 4u;
        dz0 = of_dz(dz_at.x + next, next + term < outputs);
        dz1 = of_dz(dz_at.y + next, has_two && next + term < outputs);
        w0 = of_w(w_at.x + next, next + term < outputs);
        w1 = of_w(w_at.y + next, next + term < outputs);
        for (var i = 0u; i < BLOCKS / SLICES; i++) {
            let block = i * SLICES + slice;
            let upper = four_rows(stage, corner.x, block);
            let lower = four_rows(stage, HEIGHT / 2u + corner.x, block);
            let left = four_rows(stage + W_AT, corner.y, block);
            let right = four_rows(stage + W_AT, COLUMNS / 2u + corner.y, block);
            sums00 = add_block(sums00, upper, left);
            sums01 = add_block(sums01, upper, right);
            sums10 = add_block(sums10, lower, left);
            sums11 = add_block(sums11, lower, right);
        }
    }
    workgroupBarrier();

    add_slices(slice, corner, sums00, sums01, sums10, sums11);

    for (var i = index; i < TILE; i += LANES * SLICES) {
        let row = first_row + i / COLUMNS;
        let input = first_column + i % COLUMNS;
        if row < pass_.rows && input < inputs {
            finish(r, row, input, sum(i));
        }
    }
}
