// As linear_dw.wgsl, for devices whose workgroup memory is faster than their other caches: all invocations stage DEPTH terms of
// both factors there while they add up those before, so that each value is read once for a whole tile.
//
// On an H100 3072x2048x512 with SGD's update takes 199 µs with tiles of 32 x 64, instead of 430 at best with a and dz straight
// from storage. Not kept: 256 invocations, 218; arguments read where they are used, perhaps anew after every barrier, and an
// inner loop from the slice on, whose length a driver cannot tell, 282 with both. The sums alone, at the full clock, take 164
// with tiles of 64 x 64, as with two stages ahead; 227 with 128 sums of an invocation.
//
// dW = factor · aᵀ · dz,  db = factor · Σ_rows dz
//
// Both are added to what is there from the step's earlier passes; with an update, they are not written, but used up where
// they are made.
//
// a: (R, room, inputs), dz: (R, room, outputs), params: (R, P), all in vec4s along the last axis.
//
// One workgroup makes 4 * ROWS rows of dW (inputs) and COLUMNS vec4s of each (outputs). It has LANES invocations for each slice
// of the sum, which take every SLICES-th sample; an invocation holds eight rows and two vec4s of each in registers. The
// workgroups of the first rows sum db as well. y: its rows, z: its replica.

const ROWS: u32 = 16u;
const COLUMNS: u32 = 16u;
const HEIGHT: u32 = ROWS;
const DZ_AT: u32 = DEPTH * HEIGHT; // in a stage: a, (DEPTH, HEIGHT), then dz, (DEPTH, COLUMNS)

@compute @workgroup_size(LANES * SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first_row = group.y * ROWS;
    let first_column = group.x * COLUMNS;
    let r = group.z;
    // Read once: a driver may read them again after every barrier.
    let inputs = args.inputs;
    let outputs = args.outputs;
    let terms = pass_.rows;

    // What this invocation stages: up to two vec4s of samples of a, and of dz, of all samples the same columns. Columns past
    // the end repeat the last one; their results are not stored. Samples past the end are 0.
    let a_term = index / HEIGHT + vec2(0u, LANES * SLICES / HEIGHT);
    let a_at = r * args.a_stride + a_term * inputs + min(first_row + index % HEIGHT, inputs - 1u);
    let stages_a = a_term < vec2(DEPTH);
    let dz_term = index / COLUMNS + vec2(0u, LANES * SLICES / COLUMNS);
    let dz_at = r * args.dz_stride + dz_term * outputs + min(first_column + index % COLUMNS, outputs - 1u);
    let stages_dz = dz_term < vec2(DEPTH);
    var db = vec4<f32>();

    let slice = index / LANES;
    let corner = corner_of(index % LANES);
    // Four rows and a vec4 of each, by the first and the second half of the tile's rows, and of its columns.
    var sums00 = mat4x4<f32>();
    var sums01 = mat4x4<f32>();
    var sums10 = mat4x4<f32>();
    var sums11 = mat4x4<f32>();
    var a0 = of_a(a_at.x, stages_a.x && a_term.x < terms);
    var a1 = of_a(a_at.y, stages_a.y && a_term.y < terms);
    var dz0 = of_dz(dz_at.x, stages_dz.x && dz_term.x < terms);
    var dz1 = of_dz(dz_at.y, stages_dz.y && dz_term.y < terms);
    for (var first = 0u; first < terms; first += DEPTH) {
        let stage = first / DEPTH % 2u * STAGE;
        if stages_a.x {
            memory[stage + index] = a0;
        }
        if stages_a.y {
            memory[stage + index + LANES * SLICES] = a1;
        }
        if stages_dz.x {
            memory[stage + DZ_AT + index] = dz0;
        }
        if stages_dz.y {
            memory[stage + DZ_AT + index + LANES * SLICES] = dz1;
        }
        db += dz0 + dz1;
        workgroupBarrier();
        // These are on their way while those are added up.
        let next = first + DEPTH;
        a0 = of_a(a_at.x + next * inputs, stages_a.x && next + a_term.x < terms);
        a1 = of_a(a_at.y + next * inputs, stages_a.y && next + a_term.y < terms);
        dz0 = of_dz(dz_at.x + next * outputs, stages_dz.x && next + dz_term.x < terms);
        dz1 = of_dz(dz_at.y + next * outputs, stages_dz.y && next + dz_term.y < terms);
        for (var i = 0u; i < DEPTH / SLICES; i++) {
            let term = i * SLICES + slice;
            let at = stage + term * HEIGHT + corner.x;
            let upper = memory[at];
            let lower = memory[at + HEIGHT / 2u];
            let dz_place = stage + DZ_AT + term * COLUMNS + corner.y;
            let left = memory[dz_place];
            let right = memory[dz_place + COLUMNS / 2u];
            sums00 = outer(sums00, upper, left);
            sums01 = outer(sums01, upper, right);
            sums10 = outer(sums10, lower, left);
            sums11 = outer(sums11, lower, right);
        }
    }
    workgroupBarrier();

    add_slices(slice, corner, sums00, sums01, sums10, sums11);

    let factor = begin(r);
    // Read once, since drivers read again what the stores below might have changed.
    let c = coefficients[ring_at(r)];
    for (var i = index; i < TILE; i += LANES * SLICES) {
        let input = 4u * first_row + i / COLUMNS;
        let output = first_column + i % COLUMNS;
        if input < 4u * inputs && output < outputs {
            put(c, factor * sum(i), r * args.params_stride + args.weight + input * outputs + output);
        }
    }

    if group.y > 0u {
        return;
    }
    workgroupBarrier();
    memory[index] = db;
    workgroupBarrier();
    let output = first_column + index;
    if index < COLUMNS && output < outputs {
        db = vec4<f32>();
        for (var i = index; i < LANES * SLICES; i += COLUMNS) {
            db += memory[i];
        }
        put(of_bias(c), factor * db, r * args.params_stride + args.bias + output);
    }
}
