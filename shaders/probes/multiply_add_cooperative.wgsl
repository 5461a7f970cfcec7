enable f16;
enable subgroups;
enable wgpu_cooperative_matrix;

// How many multiply-adds a second by cooperative matrices of halves, summed up in f32: each subgroup keeps eight sums, which
// begin and end apart, so that none waits for another and none is left out.

@group(0) @binding(0) var<storage, read_write> out: array<f32>; // (groups, SUMS, SIDE, SIDE), and last the subgroups of a group

override ROUNDS: u32 = 64u;
override LANES: u32 = 32u; // of a subgroup
const SIDE: u32 = 8u;      // as in coop_mat8x8
const SUMS: u32 = 8u;

var<workgroup> halves: array<f16, SIDE * SIDE>;
var<workgroup> starts: array<f32, SUMS * SIDE * SIDE>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    for (var i = index; i < SUMS * SIDE * SIDE; i += LANES) {
        starts[i] = f32(i);
        halves[i % (SIDE * SIDE)] = 1e-3h;
    }
    workgroupBarrier();
    // Subgroups may be smaller than LANES, and so more.
    if index == 0u {
        out[arrayLength(&out) - 1u] = f32(subgroups);
    }
    let a = coopLoadT<coop_mat8x8<f16, A>>(&halves[0], SIDE);
    let b = coopLoadT<coop_mat8x8<f16, B>>(&halves[0], SIDE);
    // By name: drivers keep an array of them in memory.
    var sum0 = coopLoadT<coop_mat8x8<f32, C>>(&starts[0u * SIDE * SIDE], SIDE);
    var sum1 = coopLoadT<coop_mat8x8<f32, C>>(&starts[1u * SIDE * SIDE], SIDE);
    var sum2 = coopLoadT<coop_mat8x8<f32, C>>(&starts[2u * SIDE * SIDE], SIDE);
    var sum3 = coopLoadT<coop_mat8x8<f32, C>>(&starts[3u * SIDE * SIDE], SIDE);
    var sum4 = coopLoadT<coop_mat8x8<f32, C>>(&starts[4u * SIDE * SIDE], SIDE);
    var sum5 = coopLoadT<coop_mat8x8<f32, C>>(&starts[5u * SIDE * SIDE], SIDE);
    var sum6 = coopLoadT<coop_mat8x8<f32, C>>(&starts[6u * SIDE * SIDE], SIDE);
    var sum7 = coopLoadT<coop_mat8x8<f32, C>>(&starts[7u * SIDE * SIDE], SIDE);
    for (var i = 0u; i < ROUNDS; i++) {
        sum0 = coopMultiplyAdd(a, b, sum0);
        sum1 = coopMultiplyAdd(a, b, sum1);
        sum2 = coopMultiplyAdd(a, b, sum2);
        sum3 = coopMultiplyAdd(a, b, sum3);
        sum4 = coopMultiplyAdd(a, b, sum4);
        sum5 = coopMultiplyAdd(a, b, sum5);
        sum6 = coopMultiplyAdd(a, b, sum6);
        sum7 = coopMultiplyAdd(a, b, sum7);
    }
    let at = group.x * SUMS * SIDE * SIDE;
    coopStoreT(sum0, &out[at + 0u * SIDE * SIDE], SIDE);
    coopStoreT(sum1, &out[at + 1u * SIDE * SIDE], SIDE);
    coopStoreT(sum2, &out[at + 2u * SIDE * SIDE], SIDE);
    coopStoreT(sum3, &out[at + 3u * SIDE * SIDE], SIDE);
    coopStoreT(sum4, &out[at + 4u * SIDE * SIDE], SIDE);
    coopStoreT(sum5, &out[at + 5u * SIDE * SIDE], SIDE);
    coopStoreT(sum6, &out[at + 6u * SIDE * SIDE], SIDE);
    coopStoreT(sum7, &out[at + 7u * SIDE * SIDE], SIDE);
}
