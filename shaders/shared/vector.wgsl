// Kernels over vectors of (R, P): one invocation takes one vec4 of one replica. z: its replica.

struct Args {
    params: u32,  // vec4s of one replica's vectors
    first: u32,   // the first of them that is taken
    trained: u32, // end of those that are taken
    decayed: u32, // end of those that the weight decay acts on
}

@group(0) @binding(0) var<storage, read> args: Args;

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    // Long vectors take several rows of workgroups.
    let i = args.first + id.y * groups.x * LANES + id.x;
    if i < args.trained {
        take(id.z, i, id.z * args.params + i);
    }
}
