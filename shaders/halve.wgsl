// working ← w, in half precision
//
// What the matrix products of mixed precision read. The updates write it beside the weights; this does it where the
// weights came by another way. One invocation takes one vec4 of one replica.

struct Pass {
    first: u32,
    rows: u32,
    batch: u32,
    slot: u32,
    accumulate: u32,
    streamed: u32,
    streamed_rows: u32,
    replicas: u32,
    member: u32,
    members: u32,
}

struct Args {
    params: u32,  // vec4s of one replica's vectors
    first: u32,   // the first of them that is updated
    trained: u32, // end of those that are trained
    decayed: u32, // not used
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> params: array<vec4<f32>>;     // (R, P)
@group(0) @binding(2) var<storage, read_write> working: array<Stored>; // (R, P)
@group(1) @binding(0) var<uniform> pass_: Pass;

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    // Long vectors take several rows of workgroups.
    let i = args.first + id.y * groups.x * LANES + id.x;
    if i >= args.trained {
        return;
    }
    let at = id.z * args.params + i;
    working[at] = store(params[at]);
}

alias Stored = vec4<f32>;

fn load(v: Stored) -> vec4<f32> {
    return v;
}

fn store(v: vec4<f32>) -> Stored {
    return v;
}
