enable subgroups;

// As linear_dw.wgsl, for passes of at most SAMPLES samples on devices with subgroups of eight invocations or more: dz of all
// samples stays in registers while the rows of dW pass by, each used up before the next is made, so that a workgroup takes
// as many rows as it likes. The sums have the same order, and so the same bits.
//
// Of eight samples, each invocation loads one of a, and hands it to the others; fewer than eight are loaded by all. With
// eight or more, the outputs must fill the tiles: a lane that stores nothing might run ahead of the others, and then not be
// there when the next row is handed round.
//
// On Mesa's software driver, with SGD's update: 1x3072x512 takes 2.3 ms instead of 3.2, eight replicas of 16x784x256 3.1
// instead of 4.4, of 32x784x256 4.7 instead of 5.5. Not kept: choosing between the two ways to load a in the kernel, since
// that driver runs both; loading and storing two values at once as a u64, which saves a fifth at batch 1, but which few
// devices have.
//
// dW = factor · aᵀ · dz,  db = factor · Σ_rows dz
//
// Both are added to what is there from the step's earlier passes; with an update, they are not written, but used up where
// they are made.
//
// a: (R, room, inputs), dz: (R, room, outputs), params: (R, P), all in vec4s along the last axis.
//
// One workgroup makes 4 * ROWS rows of dW (inputs) and LANES * COLUMNS vec4s of each (outputs), its lanes side by side
// along the outputs. One invocation holds SAMPLES x COLUMNS vec4s of dz and 4 x COLUMNS of dW in registers. The workgroups
// of the first rows sum db as well, since they read all of dz. y: its rows, z: its replica.

const SAMPLES: u32 = 8u;
const EIGHTS: u32 = (SAMPLES + 7u) / 8u; // of samples

// dz of eight samples.
alias Eight = array<array<vec4<f32>, COLUMNS>, 8>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) lane: vec3<u32>,
    @builtin(subgroup_invocation_id) id: u32,
) {
    let first_row = group.y * ROWS;
    let first_column = group.x * LANES * COLUMNS + lane.x;
    let r = group.z;
    let inputs = args.inputs;
    let outputs = args.outputs;
    let last_sample = pass_.rows - 1u;

    // Samples past the end repeat the last one of a, and have a dz of 0. Columns past the end repeat the last one; their
    // results are not stored.
    var d: array<Eight, EIGHTS>;
    var db: array<vec4<f32>, COLUMNS>;
    for (var eight = 0u; eight < EIGHTS; eight++) {
        for (var s = 0u; s < 8u; s++) {
            let sample = 8u * eight + s;
            let row = r * args.dz_stride + min(sample, last_sample) * outputs;
            for (var j = 0u; j < COLUMNS; j++) {
                let column = min(first_column + j * LANES, outputs - 1u);
                let own = select(vec4<f32>(), load(dz[row + column]), sample <= last_sample);
                d[eight][s][j] = own;
                db[j] += own;
            }
        }
    }

    let factor = begin(r);
    // Read once, since drivers read again what the stores below might have changed.
    let c = coefficients[ring_at(r)];
    if first_row == 0u {
        put_bias(r, first_column, factor, c, db);
    }
    let first_a = r * args.a_stride;
    let weight = r * args.params_stride + args.weight;
    let last_row = min(first_row + ROWS, inputs);
    for (var input = first_row; input < last_row; input++) {
        var sum: Sums;
        if SAMPLES < 8u {
            for (var s = 0u; s < SAMPLES; s++) {
                sum = accumulate(sum, load(a[first_a + min(s, last_sample) * inputs + input]), d[0][s]);
            }
        } else {
            // Drivers unroll a loop that counts up to the length of the array that it reads.
            for (var eight = 0u; eight < EIGHTS; eight++) {
                let own = load(a[first_a + min(8u * eight + id % 8u, last_sample) * inputs + input]);
                sum = accumulate(sum, subgroupBroadcast(own, 0u), d[eight][0]);
                sum = accumulate(sum, subgroupBroadcast(own, 1u), d[eight][1]);
                sum = accumulate(sum, subgroupBroadcast(own, 2u), d[eight][2]);
                sum = accumulate(sum, subgroupBroadcast(own, 3u), d[eight][3]);
                sum = accumulate(sum, subgroupBroadcast(own, 4u), d[eight][4]);
                sum = accumulate(sum, subgroupBroadcast(own, 5u), d[eight][5]);
                sum = accumulate(sum, subgroupBroadcast(own, 6u), d[eight][6]);
                sum = accumulate(sum, subgroupBroadcast(own, 7u), d[eight][7]);
            }
        }
        put_rows(weight + 4u * input * outputs, outputs, first_column, factor, c, sum);
    }
}
