enable f16;
enable wgpu_cooperative_matrix;

// How many multiply-adds a second by cooperative matrices of halves, summed up in f32: each subgroup keeps eight sums, so
// that none waits for the one before it.

@group(0) @binding(0) var<storage, read_write> out: array<f32>;

override ROUNDS: u32 = 64u;
const SIDE: u32 = 8u; // as in coop_mat8x8

var<workgroup> halves: array<f16, SIDE * SIDE>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    for (var i = index; i < SIDE * SIDE; i += 64u) {
        halves[i] = 1e-3h;
    }
    workgroupBarrier();
    let a = coopLoadT<coop_mat8x8<f16, A>>(&halves[0], SIDE);
    let b = coopLoadT<coop_mat8x8<f16, B>>(&halves[0], SIDE);
    var sums: array<coop_mat8x8<f32, C>, 8>;
    for (var i = 0u; i < ROUNDS; i++) {
        for (var j = 0u; j < 8u; j++) {
            sums[j] = coopMultiplyAdd(a, b, sums[j]);
        }
    }
    for (var j = 0u; j < 8u; j++) {
        coopStoreT(sums[j], &out[group.x * SIDE * SIDE], SIDE);
    }
}
