// z = c0 p + c1 q + c2 r
//
// What the first layer makes of the samples of a pass with weights that are a sum of multiples of three vectors, out of what it
// makes of them with each; c has three numbers a replica. One invocation makes one vec4: x its column, y its row, z its replica.

struct Args {
    outputs: u32,  // vec4s of a row
    z_stride: u32, // vec4s of one replica's z
}

@group(0) @binding(0) var<storage, read> args: Args;
@group(0) @binding(1) var<storage, read> c: array<f32>;          // (R, 3)
@group(0) @binding(2) var<storage, read> p: array<vec4<f32>>;    // (samples, outputs)
@group(0) @binding(3) var<storage, read> q: array<vec4<f32>>;    // (samples, outputs)
@group(0) @binding(4) var<storage, read> r: array<vec4<f32>>;    // (samples, outputs)
@group(0) @binding(5) var<storage, read_write> z: array<Stored>; // (R, room, outputs)

override LANES: u32 = 64u;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= args.outputs || id.y >= pass_.rows {
        return;
    }
    let of_sample = (pass_.first + id.y) * args.outputs + id.x;
    let sum = c[3u * id.z] * p[of_sample] + (c[3u * id.z + 1u] * q[of_sample] + c[3u * id.z + 2u] * r[of_sample]);
    z[id.z * args.z_stride + id.y * args.outputs + id.x] = store(sum);
}
