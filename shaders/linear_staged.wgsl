// As linear.wgsl, for devices whose workgroup memory is faster than their other caches: all invocations stage DEPTH terms of
// both factors there while they add up those before, so that each value is read once for a whole tile.
//
// On an H100 2048x3072x512 takes 225 µs with tiles of 64 x 64 or 32 x 32, instead of 307 at best with a and W straight from
// storage. The sums alone, at its full clock, take 177 µs. Not kept there: rows of a that are transposed as they are staged, 330;
// 256 invocations, 291; lanes in rows of eight, 182; two stages ahead, 184; 128 sums of an invocation instead of 64, 195;
// three times the memory for 32 terms of tiles of 128 x 64, 170; two parts of every sum with such tiles, 157 and a second pass.
//
// z = a · Wᵀ + b,  y = dropout(activation(z)) (+ a if RESIDUAL),  slope = activation'(z), 0 where y is dropped
//
// a: (R, room, inputs), W: (R, inputs, outputs), y and slope: (R, room, outputs), all in vec4s along the last axis.
//
// One workgroup makes ROWS rows of y and COLUMNS vec4s of each. It has LANES invocations for each slice of the sum, which take
// every SLICES-th term; an invocation holds eight rows and two vec4s of each in registers. y: its rows, z: its replica.

const ROWS: u32 = 64u;
const COLUMNS: u32 = 16u;
const HEIGHT: u32 = ROWS / 4u;
const W_AT: u32 = ROWS * BLOCKS; // in a stage: a, (ROWS, BLOCKS), then W, (DEPTH, COLUMNS)

@compute @workgroup_size(LANES * SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first_row = group.y * ROWS;
    let first_column = group.x * COLUMNS;
    let r = group.z;
    // Read once: a driver may read them again after every barrier.
    let inputs = args.inputs;
    let outputs = args.outputs;
    let terms = 4u * inputs;

    // What this invocation stages: two vec4s of rows of a, or one, and two of W. Rows and columns past the end repeat the
    // last one; their results are not stored. Terms past the end are 0.
    let a_row = index / BLOCKS + vec2(0u, LANES * SLICES / BLOCKS);
    let a_term = index % BLOCKS;
    let a_at = r * args.a_stride + min(first_row + a_row, vec2(pass_.rows - 1u)) * inputs + a_term;
    let a_place = vec2(place(a_row.x, a_term), place(a_row.y, a_term));
    let has_two = LANES * SLICES < W_AT;
    let w_term = index / COLUMNS + vec2(0u, LANES * SLICES / COLUMNS);
    let w_column = min(first_column + index % COLUMNS, outputs - 1u);
    let w_at = r * args.params_stride + args.weight + w_term * outputs + w_column;
    let w_place = W_AT + index + vec2(0u, LANES * SLICES);

    let slice = index / LANES;
    let corner = corner_of(index % LANES);
    // Four rows and a vec4 of each, by the first and the second half of the tile's rows, and of its columns.
    var sums00 = mat4x4<f32>();
    var sums01 = mat4x4<f32>();
    var sums10 = mat4x4<f32>();
    var sums11 = mat4x4<f32>();
    var a0 = of_a(a_at.x, a_term < inputs);
    var a1 = of_a(a_at.y, has_two && a_term < inputs);
    var w0 = of_w(w_at.x, w_term.x < terms);
    var w1 = of_w(w_at.y, w_term.y < terms);
    for (var first = 0u; first < terms; first += DEPTH) {
        let stage = first / DEPTH % 2u * STAGE;
        memory[stage + a_place.x] = a0;
        if has_two {
            memory[stage + a_place.y] = a1;
        }
        memory[stage + w_place.x] = w0;
        memory[stage + w_place.y] = w1;
        workgroupBarrier();
        // These are on their way while those are added up.
        let next = first + DEPTH;
        a0 = of_a(a_at.x + next / 4u, next / 4u + a_term < inputs);
        a1 = of_a(a_at.y + next / 4u, has_two && next / 4u + a_term < inputs);
        w0 = of_w(w_at.x + next * outputs, next + w_term.x < terms);
        w1 = of_w(w_at.y + next * outputs, next + w_term.y < terms);
        for (var i = 0u; i < BLOCKS / SLICES; i++) {
            let block = i * SLICES + slice;
            let upper = four_rows(stage, corner.x, block);
            let lower = four_rows(stage, HEIGHT / 2u + corner.x, block);
            let at = stage + W_AT + 4u * block * COLUMNS + corner.y;
            let left = four_terms(at);
            let right = four_terms(at + COLUMNS / 2u);
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
        let output = first_column + i % COLUMNS;
        if row < pass_.rows && output < outputs {
            finish(r, row, output, sum(i) + load(params[r * args.params_stride + args.bias + output]));
        }
    }
}

// A vec4 of columns, of four terms.
fn four_terms(at: u32) -> mat4x4<f32> {
    return mat4x4(memory[at], memory[at + COLUMNS], memory[at + 2u * COLUMNS], memory[at + 3u * COLUMNS]);
}
