enable f16;
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
    var sums: array<coop_mat8x8<f32, C>, SUMS>;
    for (var j = 0u; j < SUMS; j++) {
        sums[j] = coopLoadT<coop_mat8x8<f32, C>>(&starts[j * SIDE * SIDE], SIDE);
    }
    for (var i = 0u; i < ROUNDS; i++) {
        for (var j = 0u; j < SUMS; j++) {
            sums[j] = coopMultiplyAdd(a, b, sums[j]);
        }
    }
    for (var j = 0u; j < SUMS; j++) {
        coopStoreT(sums[j], &out[(group.x * SUMS + j) * SIDE * SIDE], SIDE);
    }
}
